"""What to bind, keep and close so that the declared forwards become the wanted ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..mapping.conflict import Listeners
from ..mapping.forward import Forward

_KEYS = ("listen", "target", "protocol", "proxy_protocol")


@dataclass(frozen=True)
class Plan:
    """``open`` needs a new listener, ``retarget`` keeps its listener, ``close`` is no longer wanted.

    ``make_way`` is the part of ``close`` that overlaps with ``open`` and has to be closed first.
    """

    open: tuple[Forward, ...]
    retarget: tuple[Forward, ...]
    close: tuple[Forward, ...]
    make_way: tuple[Forward, ...]

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.open or self.retarget or self.close)


def plan(current: Iterable[Forward], wanted: Iterable[Forward]) -> Plan:
    """The steps from ``current`` to ``wanted``; each holds a listen endpoint at most once."""
    have = {f.listen: f for f in current}
    want = {f.listen: f for f in wanted}
    opened = tuple(f for f in want.values() if f.listen not in have)
    closed = tuple(f for f in have.values() if f.listen not in want)
    coming = Listeners(f.listen for f in opened)
    return Plan(
        open=opened,
        retarget=tuple(f for f in want.values() if f.listen in have and have[f.listen] != f),
        close=closed,
        make_way=tuple(f for f in closed if coming.clashing(f.listen)),
    )


def read_forwards(items: object) -> list[Forward]:
    """Read a list of ``{listen, target, protocol, proxy_protocol}`` (protocol: tcp unless given).

    Raise ValueError naming the item and what is wrong with it; two forwards that cannot both be bound are refused too.
    """
    if not isinstance(items, list):
        raise ValueError("forwards: expected a list of {listen, target}")
    forwards = [_read_forward(item, f"forwards[{index}]") for index, item in enumerate(items)]
    listeners = Listeners()
    for index, forward in enumerate(forwards):
        for held in listeners.clashing(forward.listen):
            raise ValueError(
                f"forwards[{index}]: {forward.listen} and {held} cannot both be listened on: change one of them"
            )
        listeners.add(forward.listen)
    return forwards


def _read_forward(item: object, name: str) -> Forward:
    if not isinstance(item, Mapping):
        raise ValueError(f"{name}: expected {{listen, target}}, got {item!r}")
    unknown = sorted(set(map(str, item)) - set(_KEYS))
    if unknown:
        raise ValueError(f"{name}: unknown key {', '.join(unknown)}; the keys are {', '.join(_KEYS)}")
    try:
        protocol, proxy_protocol = str(item.get("protocol") or "tcp"), str(item.get("proxy_protocol") or "")
        forward = Forward.parse(str(item["listen"]), str(item["target"]), protocol, proxy_protocol)
    except KeyError as error:
        raise ValueError(f"{name}: {error.args[0]} is missing") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    listen, target = forward.listen, forward.target
    if listen.protocol != "unix" and listen.port == 0:
        raise ValueError(f"{name}: {listen}: a forward listens on a port from 1 to 65535")
    if (listen.protocol == "udp") != (target.protocol == "udp"):
        raise ValueError(f"{name}: {listen} -> {target}: udp leads to udp alone")
    if not target.address:
        raise ValueError(f"{name}: {target}: a target is an address and port, or unix:/path")
    if target.protocol != "unix" and target.port == 0:
        raise ValueError(f"{name}: {target}: port 0 is not a target")
    return forward
