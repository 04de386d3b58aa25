"""The changes that turn present forwards into the wanted ones, and reading forwards from plain data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...ports.conflicts import Listeners
from ...ports.forward import Forward

_KEYS = ("listen", "target", "protocol", "proxy_protocol")


@dataclass(frozen=True)
class ForwardChanges:
    """The forwards to change, each kind in a tuple.

    ``open`` need a new listener, ``retarget`` keep their listener, ``close`` are no longer wanted. ``make_way`` are
    those of ``close`` that overlap with ``open`` and must be closed first.
    """

    open: tuple[Forward, ...]
    retarget: tuple[Forward, ...]
    close: tuple[Forward, ...]
    make_way: tuple[Forward, ...]

    @property
    def changed(self) -> bool:
        """Whether there is anything to change."""
        return bool(self.open or self.retarget or self.close)


def plan_changes(current: Iterable[Forward], wanted: Iterable[Forward]) -> ForwardChanges:
    """Return the changes from ``current`` to ``wanted``, each of which has a listen endpoint at most once."""
    before = {forward.listen: forward for forward in current}
    after = {forward.listen: forward for forward in wanted}
    opened = tuple(forward for listen, forward in after.items() if listen not in before)
    closed = tuple(forward for listen, forward in before.items() if listen not in after)
    new_listeners = Listeners(forward.listen for forward in opened)
    return ForwardChanges(
        open=opened,
        retarget=tuple(forward for listen, forward in after.items() if before.get(listen, forward) != forward),
        close=closed,
        make_way=tuple(forward for forward in closed if new_listeners.clashing(forward.listen)),
    )


def read_forwards(items: object) -> list[Forward]:
    """Read a list of ``{listen, target, protocol, proxy_protocol}``; the default protocol is tcp.

    Raise ValueError naming the item and what is wrong with it, also for two forwards that cannot both be bound.
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
    """Read one item; ``name`` is what messages call it. Raise ValueError."""
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
        raise ValueError(f"{name}: {listen} -> {target}: a udp socket needs a udp target, and only it may have one")
    if not target.address:
        raise ValueError(f"{name}: {target}: a target is an address and port, or unix:/path")
    if target.protocol != "unix" and target.port == 0:
        raise ValueError(f"{name}: {target}: port 0 is not a target")
    return forward
