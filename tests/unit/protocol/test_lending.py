"""The messages by which a guest lends sockets: each side's own, checked field by field."""

from __future__ import annotations

import socket
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.protocol.lending import (
    KINDS,
    VERSION,
    Lend,
    Open,
    Opened,
    Refused,
    Unanswered,
    Want,
    from_guest,
    from_host,
    kind_of,
)
from portchain.protocol.packets import MAX_PACKET, Hello, Message, ProtocolError, Receiver, encode
from support.mutations import mutated

OF_HOST, OF_GUEST = (Want, Open, Unanswered), (Lend, Opened, Refused)
VALUES = {
    "int": st.integers(0, 2**63 - 1),
    "str": st.text(st.characters(exclude_categories=["C", "Z"]), max_size=1024),
}


def messages(kinds: tuple[type[Message], ...]) -> st.SearchStrategy[Message]:
    """Any message of some kinds."""
    return st.one_of(*(st.builds(kind, **{f.name: VALUES[str(f.type)] for f in fields(kind)}) for kind in kinds))


def greeted(receiver: Receiver) -> Receiver:
    """A receiver that has had its hello."""
    assert receiver.receive(encode(Hello(VERSION))) == Hello(VERSION)
    return receiver


@given(messages(OF_HOST), messages(OF_GUEST))
def test_what_is_sent_is_received_by_the_other_side_alone(of_host: Message, of_guest: Message) -> None:
    packets = encode(of_host), encode(of_guest)
    assert max(map(len, packets)) <= MAX_PACKET
    assert greeted(from_host()).receive(packets[0]) == of_host
    assert greeted(from_guest()).receive(packets[1]) == of_guest
    for receiver, packet in ((from_guest(), packets[0]), (from_host(), packets[1])):
        with pytest.raises(ProtocolError, match="unexpected message"):
            greeted(receiver).receive(packet)


@given(st.one_of(*(mutated(encode(message)) for message in (Lend("tcp4"), Opened(7), Refused(7, "no")))))
def test_whatever_a_guest_sends_is_one_of_its_messages_or_an_error(packet: bytes) -> None:
    try:
        message = greeted(from_guest()).receive(packet)
    except ProtocolError:
        return
    assert isinstance(message, OF_GUEST)
    for field in fields(message):
        assert type(getattr(message, field.name)).__name__ == field.type


def test_hello_comes_first_and_once() -> None:
    for message in (Lend("tcp4"), Opened(0), Refused(0, "x")):
        with pytest.raises(ProtocolError, match="unexpected message"):
            from_guest().receive(encode(message))
    with pytest.raises(ProtocolError, match="unexpected message 'hello'"):
        greeted(from_guest()).receive(encode(Hello(VERSION)))


def test_another_version_says_what_to_do() -> None:
    with pytest.raises(ProtocolError, match="install the same portchain"):
        from_guest().receive(encode(Hello(VERSION + 1)))


def test_each_kind_of_socket_is_found_by_protocol_and_family() -> None:
    for name, (family, kind, _) in KINDS.items():
        assert kind_of("tcp" if kind == socket.SOCK_STREAM else "udp", family) == name
