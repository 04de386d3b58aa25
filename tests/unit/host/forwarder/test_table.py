"""Who may have an endpoint, and what happens to the rest."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from portchain.host.forwarder.table import ForwardTable
from portchain.net.listening import BindError
from portchain.net.listening_sockets import list_sockets
from portchain.ports.forward import Endpoint, Forward
from portchain.protocol.handoff import Close, Closed, Listen
from support.host_ports import free_port

TARGET = "127.0.0.1:1"


def nothing() -> None:
    """Nothing to keep."""


@pytest.fixture
def changes() -> list[str]:
    return []


@pytest.fixture
def table(changes: list[str]) -> Iterator[ForwardTable]:
    table = ForwardTable(os.getuid(), changes.append)
    yield table
    table.close()


def states(table: ForwardTable) -> dict[str, str]:
    return {entry.origin: entry.state for entry in table}


@pytest.mark.parametrize(
    ("origin", "owner", "named"),
    [
        ("declared", "", "127.0.0.1:{port} is forwarded to 127.0.0.1:1 (declared)"),
        ("container:4f", "web", "container web publishes 127.0.0.1:{port}"),
    ],
)
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", ""])
def test_an_endpoint_that_another_has_names_the_owner(
    table: ForwardTable, origin: str, owner: str, named: str, address: str
) -> None:
    port = free_port()
    table.replace([Forward.parse(f"127.0.0.1:{port}", TARGET)], origin, nothing, owner)
    with pytest.raises(BindError) as refusal:
        table.replace([Forward.parse(f"{address}:{port}", "127.0.0.1:2")], "manual", nothing)
    shown = f"{address or '0.0.0.0'}:{port}"
    assert str(refusal.value) == (
        f"Ports are not available: exposing port TCP {shown} -> 0.0.0.0:0: listen tcp {shown}: "
        f"bind: address already in use: {named.format(port=port)}"
    )
    assert states(table) == {origin: "waiting"}


def test_what_is_added_while_another_has_it_gets_it_once_it_is_free(table: ForwardTable, changes: list[str]) -> None:
    forward = Forward.parse(f"127.0.0.1:{free_port()}", TARGET)
    name = str(forward.listen)
    table.add([forward], "container:1", "one")
    table.add([forward], "container:2", "two")
    assert states(table) == {"container:1": "waiting", "container:2": "failed"}
    assert [(row["origin"], row["owner"], row["error"] != "") for row in (e.as_dict() for e in table)] == [
        ("container", "one", False),
        ("container", "two", True),
    ]
    table.replace([], "container:1", nothing)
    assert isinstance(table.message_for(name)[0], Close)
    table.retry()
    assert states(table) == {"container:2": "waiting"}
    assert isinstance(table.message_for(name)[0], Listen)
    assert changes == [name, name, name]


def test_a_change_that_fails_leaves_all_as_it_was(table: ForwardTable) -> None:
    kept, fresh = (Forward.parse(f"127.0.0.1:{free_port()}", TARGET) for _ in range(2))
    wide = Forward.parse(f":{kept.listen.port}", TARGET)
    table.replace([kept], "declared", nothing)

    def cannot_save() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        table.replace([wide, fresh], "declared", cannot_save)
    assert [(e.forward, e.state) for e in table] == [(kept, "waiting")]
    with socket.create_server(("127.0.0.1", fresh.listen.port)):
        pass
    table.replace([wide, fresh], "declared", nothing)
    assert [(e.forward, e.state) for e in table] == [(wide, "waiting"), (fresh, "waiting")]


def test_another_target_keeps_the_listener(table: ForwardTable) -> None:
    forward = Forward.parse(f"127.0.0.1:{free_port()}", TARGET)
    table.replace([forward], "declared", nothing)
    before = table.message_for(str(forward.listen))[1]
    table.replace([Forward.parse(forward.listen.hostport, "127.0.0.1:9")], "declared", nothing)
    message, after = table.message_for(str(forward.listen))
    assert (message, after) == (Listen(str(forward.listen), "tcp:127.0.0.1:9"), before)


def test_a_stranger_in_the_way_is_looked_for_once(table: ForwardTable, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr("portchain.net.listening.find_holders", lambda wanted: looked.append(wanted) or {wanted[0]: []})
    with socket.create_server(("127.0.0.1", 0)) as held:
        forward = Forward.parse(f"127.0.0.1:{held.getsockname()[1]}", TARGET)
        table.add([forward], "declared")
        for _ in range(5):
            table.retry()
        (entry,) = table
        assert (entry.state, len(looked)) == ("failed", 1)
        assert "address already in use: a process that cannot be seen" in entry.error
    table.retry()
    assert (entry.state, entry.error) == ("waiting", "")


def test_many_origins_beside_many_forwards_come_and_go(table: ForwardTable) -> None:
    taken = {endpoint.port for endpoint in list_sockets().values()}
    ports = [port for port in range(10000, 20000) if port not in taken][:1000]
    table.replace([Forward.parse(f"127.7.0.1:{port}", TARGET) for port in ports], "declared", nothing)
    for port in ports[:500]:
        table.replace([Forward.parse(f"127.7.0.2:{port}", TARGET)], f"container:{port}", nothing)
    assert len(table.bound_names()) == 1500
    for port in ports[:500]:
        table.replace([], f"container:{port}", nothing)
    assert len(table.bound_names()) == 1000


def test_a_udp_endpoint_can_be_had_again_while_the_relay_still_holds_it(table: ForwardTable) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    forward = Forward.parse(f"udp:127.0.0.1:{port}", TARGET, "udp")
    table.replace([forward], "declared", nothing)
    with socket.socket(fileno=os.dup(table.message_for(str(forward.listen))[1][0])):
        wide = Forward.parse(f":{port}", TARGET, "udp")
        table.replace([wide], "declared", nothing)
        assert states(table) == {"declared": "waiting"}
        table.replace([], "declared", nothing)
        table.receive(Closed(str(forward.listen)))
        with pytest.raises(BindError, match="address already in use"):
            table.replace([wide], "declared", nothing)


def bound_inodes(port: int) -> list[int]:
    return [inode for inode, endpoint in list_sockets().items() if endpoint.port == port]


def test_a_reserved_endpoint_is_the_listener_of_the_forward_that_follows(table: ForwardTable) -> None:
    with table.reserving() as reserve:
        listen = reserve(Endpoint("tcp", "127.0.0.1", 0))
        reserved = bound_inodes(listen.port)
        table.replace([Forward(listen, Endpoint.parse(TARGET, "tcp"))], "manual", nothing)
    assert reserved and bound_inodes(listen.port) == reserved
    assert states(table) == {"manual": "waiting"}


def test_a_reserved_endpoint_that_no_forward_takes_is_free_again(table: ForwardTable) -> None:
    with table.reserving() as reserve:
        listen = reserve(Endpoint("udp", "127.0.0.1", 0))
        with pytest.raises(BindError):
            reserve(listen)
    assert not bound_inodes(listen.port)


def test_an_endpoint_of_another_forward_cannot_be_reserved(table: ForwardTable) -> None:
    port = free_port()
    table.replace([Forward.parse(f"127.0.0.1:{port}", TARGET)], "container:4f", nothing, "web")
    with table.reserving() as reserve, pytest.raises(BindError, match="container web publishes"):
        reserve(Endpoint("tcp", "", port))
