"""Packets: what is encoded is decoded, and anything else is an error that names what is wrong."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.protocol.packets import (
    MAX_DESCRIPTORS,
    MAX_PACKET,
    MAX_TEXT,
    Hello,
    Message,
    PacketConnection,
    ProtocolError,
    Receiver,
    close_all,
    decode,
    encode,
)
from support.mutations import mutated


@dataclass(frozen=True)
class Example(Message):
    """A message of each type of field."""

    name: str
    count: int


EXAMPLE = Example("x", 1)
KINDS = (Hello, Example)
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)
WORDS = (b'"', b"{", b"[" * 1000, b"1e999", b"-1", b"null", b"\\ud800", b'"type"', b'"hello"', b"9" * 5000, b"\xff")


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=MAX_TEXT), st.integers(0, 2**63 - 1))
def test_what_is_encoded_is_decoded(name: str, count: int) -> None:
    packet = encode(Example(name, count))
    assert len(packet) <= MAX_PACKET
    assert decode(packet, KINDS) == Example(name, count)


@given(st.text(min_size=MAX_TEXT, max_size=MAX_TEXT + 100))
def test_a_text_too_long_is_cut_by_its_sender(name: str) -> None:
    decoded = decode(encode(Example(name, 0)), KINDS)
    assert isinstance(decoded, Example)
    assert len(decoded.name) == MAX_TEXT


@given(st.binary(max_size=200) | st.dictionaries(st.text(), JSON).map(lambda values: json.dumps(values).encode()))
def test_anything_else_is_a_protocol_error(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(packet, KINDS)


@given(mutated(encode(EXAMPLE), WORDS))
def test_a_changed_packet_is_a_message_of_the_right_types_or_an_error(packet: bytes) -> None:
    try:
        message = decode(packet, KINDS)
    except ProtocolError as error:
        assert len(str(error)) < 200
        assert str(error).isprintable()
        return
    if isinstance(message, Example):
        assert message.name.isprintable()
        assert len(message.name) <= MAX_TEXT
        assert type(message.count) is int
        assert 0 <= message.count < 1 << 63


@given(st.sampled_from(["name", "count", "type", "other"]), JSON)
def test_a_wrong_value_is_refused_or_of_the_right_type(field: str, value: object) -> None:
    packet = json.dumps({"type": "example", "name": "x", "count": 1, field: value}).encode()
    try:
        message = decode(packet, KINDS)
    except ProtocolError:
        return
    assert isinstance(message, Example)
    assert type(getattr(message, field)) is type(value)


@pytest.mark.parametrize("packet", [b"[" * MAX_PACKET, b"9" * 5000, b" " * (MAX_PACKET + 1), b'{"a":' * 3000])
def test_packets_meant_to_exhaust_are_refused(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(packet, KINDS)


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert decode(encode(Example("\x1b[2Jred\n\ud800", 0)), KINDS) == Example("?[2Jred??", 0)


def connection(**options: int) -> tuple[socket.socket, PacketConnection, list[int]]:
    """A socket to send from, the connection that receives, and the descriptors that it discarded."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    discarded: list[int] = []
    receiver = Receiver((Example,), 3)
    receiver.receive(encode(Hello(3)))
    return one, PacketConnection(other, receiver, discard=discarded.extend, **options), discarded


@pytest.mark.parametrize("count", [1, 128, MAX_DESCRIPTORS])
def test_descriptors_come_with_a_message(count: int) -> None:
    sender, receiving, discarded = connection(max_descriptors=MAX_DESCRIPTORS)
    reader, writer = os.pipe()
    with sender, receiving.sock:
        socket.send_fds(sender, [encode(EXAMPLE)], [writer] * count)
        os.close(writer)
        message, descriptors = receiving.receive()
        assert (message, len(descriptors), discarded) == (EXAMPLE, count, [])
        assert not any(os.get_inheritable(descriptor) for descriptor in descriptors)
        close_all(descriptors)
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize("packet", [b"nonsense", b"x" * (MAX_PACKET + 1), encode(Hello(3))])
def test_descriptors_with_what_is_no_message_are_discarded(packet: bytes) -> None:
    sender, receiving, discarded = connection(max_descriptors=MAX_DESCRIPTORS)
    with sender, receiving.sock:
        socket.send_fds(sender, [packet], [0, 0])
        with pytest.raises(ProtocolError):
            receiving.receive()
    assert len(discarded) == 2
    close_all(discarded)


def test_descriptors_beyond_those_expected_end_the_connection() -> None:
    sender, receiving, discarded = connection(max_descriptors=1)
    reader, writer = os.pipe()
    with sender, receiving.sock:
        socket.send_fds(sender, [encode(EXAMPLE)], [writer] * 5)
        with pytest.raises(ProtocolError, match="descriptors"):
            receiving.receive()
        close_all(discarded)
        os.close(writer)
        assert os.read(reader, 1) == b"", "the kernel closed the others"
    os.close(reader)


def test_an_end_is_told_from_an_error() -> None:
    sender, receiving, _ = connection()
    with receiving.sock:
        sender.close()
        with pytest.raises(EOFError):
            receiving.receive()
