"""Who counts as a client, and where an answer goes."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from portchain.net.datagram_clients import RecentlyUsed, reply_peer

LIMIT, IDLE = 3, 10.0
CMSG = struct.pack("=QII", 28, 0, 8)


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0, 8)), max_size=60))
def test_the_latest_stay_as_many_as_there_is_room_for(uses: list[tuple[int, float]]) -> None:
    left: list[int] = []
    recent: RecentlyUsed[int, int] = RecentlyUsed(left.append, LIMIT, IDLE)
    now, model = 0.0, dict[int, float]()
    for key, pause in uses:
        now += pause
        recent.expire(now)
        model = {k: at for k, at in model.items() if now - at < IDLE}
        if recent.use(key, now) is None:
            recent.add(key, key, now)
        model.pop(key, None)
        model[key] = now
        model = dict(list(model.items())[-LIMIT:])
        assert len(recent) == len(model)
        assert all(recent.use(k, at) == k for k, at in model.items())
    recent.clear()
    assert sorted(set(left)) == sorted({key for key, _ in uses})


def test_an_answer_over_ipv4_names_the_local_address_and_no_interface() -> None:
    local, sent_to = socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.255")
    peer = b"address........." + CMSG + struct.pack("=I", 7) + local + sent_to
    assert reply_peer(peer, socket.AF_INET) == b"address........." + CMSG + bytes(4) + local + sent_to


def test_an_answer_over_ipv6_keeps_the_interface_where_the_address_needs_it() -> None:
    head, interface = b"x" * 28 + CMSG, struct.pack("=I", 7)

    def answer(address: str) -> bytes:
        return reply_peer(head + socket.inet_pton(socket.AF_INET6, address) + interface, socket.AF_INET6)[44:]

    assert answer("fe80::1") == socket.inet_pton(socket.AF_INET6, "fe80::1") + interface
    assert answer("2001:db8::1") == socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(4)
    assert answer("::ffff:192.0.2.1") == socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1") + bytes(4)
    assert answer("ff02::fb") == bytes(16) + interface
