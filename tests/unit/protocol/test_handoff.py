"""The handoff between forwarder and relay: what is sent is received, with its socket, and nothing else gets through."""

from __future__ import annotations

import os
import socket
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.protocol.handoff import (
    VERSION,
    Close,
    Closed,
    Counters,
    Failed,
    GuestConnected,
    GuestLost,
    Listen,
    Listening,
    from_forwarder,
    from_relay,
)
from portchain.protocol.packets import MAX_PACKET, Hello, Message, PacketConnection, ProtocolError, decode, encode

KINDS = (Hello, Listen, Close, Listening, Closed, Failed, Counters, GuestConnected, GuestLost)
VALUES = {
    "int": st.integers(0, 2**63 - 1),
    "str": st.text(st.characters(exclude_categories=["C", "Z"]), max_size=1024),
}
MESSAGES = st.one_of(*(st.builds(k, **{f.name: VALUES[str(f.type)] for f in fields(k)}) for k in KINDS))


@given(MESSAGES)
def test_what_is_sent_is_received(message: Message) -> None:
    packet = encode(message)
    assert len(packet) <= MAX_PACKET
    assert decode(packet, KINDS) == message


def test_hello_comes_first_and_once() -> None:
    receiver = from_forwarder()
    with pytest.raises(ProtocolError, match="unexpected message 'close'"):
        receiver.receive(encode(Close("x")))
    assert receiver.receive(encode(Hello(VERSION))) == Hello(VERSION)
    assert receiver.receive(encode(Close("x"))) == Close("x")
    with pytest.raises(ProtocolError, match="unexpected message 'hello'"):
        receiver.receive(encode(Hello(VERSION)))


def test_each_side_sends_its_own_messages_only() -> None:
    for receiver, other in ((from_forwarder(), Listening("x")), (from_relay(), Listen("x", "y"))):
        receiver.receive(encode(Hello(VERSION)))
        with pytest.raises(ProtocolError, match="unexpected"):
            receiver.receive(encode(other))


def test_another_version_is_named() -> None:
    with pytest.raises(ProtocolError, match=f"version 1, this side {VERSION}: install the same portchain"):
        from_relay().receive(encode(Hello(1)))


def test_a_descriptor_comes_with_its_message_and_unexpected_ones_are_closed() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader, writer = os.pipe()
    with one, other:
        sender, taker = PacketConnection(one, from_relay()), PacketConnection(other, from_forwarder(), 1)
        sender.send(Hello(VERSION))
        taker.receive()
        sender.send(Listen("x", "tcp:127.0.0.1:1"), [writer])
        message, (descriptor,) = taker.receive()
        assert message == Listen("x", "tcp:127.0.0.1:1")
        os.write(descriptor, b"through")
        assert os.read(reader, 10) == b"through"
        os.close(descriptor)
        socket.send_fds(one, [encode(Close("x"))], [writer, writer, writer])
        os.close(writer)
        with pytest.raises(ProtocolError, match="descriptors"):
            taker.receive()
        assert os.read(reader, 1) == b""
    os.close(reader)
