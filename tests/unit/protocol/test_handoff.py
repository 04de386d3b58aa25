"""The handoff channel's words: what is said is read back, and nothing else gets through."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.protocol.handoff import (
    FROM_GUEST,
    FROM_HOST,
    MAX_MESSAGE,
    VERSION,
    Close,
    Counters,
    Failed,
    HandoffConnection,
    HandoffError,
    Hello,
    Listen,
    Listening,
    Message,
    Receiver,
    decode,
    encode,
)

KINDS = (Hello, Listen, Close, Listening, Failed, Counters)
VALUES = {
    "int": st.integers(0, 2**63 - 1),
    "str": st.text(st.characters(exclude_categories=["C", "Z"]), max_size=1024),
}
MESSAGES = st.one_of(*(st.builds(k, **{f.name: VALUES[str(f.type)] for f in fields(k)}) for k in KINDS))
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)


@given(MESSAGES)
def test_what_is_said_is_read_back(message: Message) -> None:
    packet = encode(message)
    assert len(packet) <= MAX_MESSAGE
    assert decode(packet, KINDS) == message


@given(st.binary(max_size=200) | st.dictionaries(st.text(), JSON).map(lambda d: json.dumps(d).encode()))
def test_anything_else_is_a_protocol_error(packet: bytes) -> None:
    with pytest.raises(HandoffError):
        decode(packet, KINDS)


@given(st.sampled_from(["id", "connections", "active", "received", "sent", "dropped", "error", "type"]), JSON)
def test_a_wrong_value_is_refused_or_of_the_right_kind(name: str, value: object) -> None:
    values = json.loads(encode(Counters("x", 1, 2, 3, 4, 5, "")))
    try:
        message = decode(json.dumps({**values, name: value}).encode(), KINDS)
    except HandoffError:
        return
    assert isinstance(message, Counters)
    assert type(getattr(message, name)) is type(value)


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert decode(encode(Failed("x", "\x1b[2Jred\n\ud800")), KINDS) == Failed("x", "?[2Jred??")


@pytest.mark.parametrize("packet", [b"[" * MAX_MESSAGE, b"9" * 5000, b" " * (MAX_MESSAGE + 1)])
def test_packets_meant_to_exhaust_are_refused(packet: bytes) -> None:
    with pytest.raises(HandoffError):
        decode(packet, KINDS)


def test_hello_comes_first_and_once() -> None:
    receiver = Receiver(FROM_HOST)
    with pytest.raises(HandoffError, match="unexpected message 'close'"):
        receiver.receive(encode(Close("x")))
    assert receiver.receive(encode(Hello())) == Hello()
    assert receiver.receive(encode(Close("x"))) == Close("x")
    with pytest.raises(HandoffError, match="unexpected message 'hello'"):
        receiver.receive(encode(Hello()))


def test_each_side_says_its_own_words_only() -> None:
    for kinds, other in ((FROM_HOST, Listening("x")), (FROM_GUEST, Listen("x", "y"))):
        with pytest.raises(HandoffError, match="unexpected"):
            decode(encode(other), kinds)


def test_another_version_is_named() -> None:
    with pytest.raises(HandoffError, match=f"version 1 of the channel, this side {VERSION}"):
        Receiver(FROM_GUEST).receive(encode(Hello(1)))


def test_a_descriptor_rides_along_and_unexpected_ones_are_closed() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader, writer = os.pipe()
    with one, other:
        sender, taker = HandoffConnection(one, FROM_GUEST), HandoffConnection(other, FROM_HOST, max_descriptors=1)
        sender.send(Hello())
        taker.receive()
        sender.send(Listen("x", "tcp:127.0.0.1:1"), writer)
        message, (descriptor,) = taker.receive()
        assert message == Listen("x", "tcp:127.0.0.1:1")
        os.write(descriptor, b"through")
        assert os.read(reader, 10) == b"through"
        os.close(descriptor)
        socket.send_fds(one, [encode(Close("x"))], [writer, writer, writer])
        os.close(writer)
        with pytest.raises(HandoffError, match="descriptors"):
            taker.receive()
        assert os.read(reader, 1) == b""
    os.close(reader)
