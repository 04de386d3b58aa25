"""The peers' words for forwards: gvproxy's and vpnkit's control interfaces. Pure.

Sources: containers/gvisor-tap-vsock pkg/services/forwarder/ports.go; moby/vpnkit go/pkg/vpnkit/{client,port}.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..mapping.forward import Endpoint, Forward
from .plan import read_forwards


def read_gvproxy(data: object) -> Forward:
    """``{"local": ":6443", "remote": "192.168.65.3:6443", "protocol": "tcp"}``; raise ValueError."""
    fields = _fields(data, ("local", "remote", "protocol"))
    return _forward(fields.get("local", ""), fields.get("remote", ""), fields.get("protocol") or "tcp")


def read_gvproxy_listen(data: object) -> Endpoint:
    """``{"local": ":6443", "protocol": "tcp"}``; raise ValueError."""
    fields = _fields(data, ("local", "protocol"))
    return Endpoint.parse(fields.get("local", ""), fields.get("protocol") or "tcp")


def list_gvproxy(forwards: Iterable[Forward]) -> list[dict[str, str]]:
    """The forwards as gvproxy lists them."""
    return [{"local": f.listen.place, "remote": f.target.place, "protocol": f.listen.protocol} for f in forwards]


def read_vpnkit(data: object) -> Forward:
    """``{"proto": "tcp", "out_ip": "0.0.0.0", "out_port": 8080, "in_ip": "127.0.0.1", "in_port": 8080}``.

    The host's end is ``out``, the guest's ``in``; an annotation is passed over. Raise ValueError.
    """
    fields = _fields(data, ("proto", "out_ip", "out_port", "in_ip", "in_port", "annotation"))
    return _forward(
        _place(fields.get("out_ip", ""), fields.get("out_port", "0")),
        _place(fields.get("in_ip", ""), fields.get("in_port", "0")),
        fields.get("proto") or "tcp",
    )


def list_vpnkit(forwards: Iterable[Forward]) -> list[dict[str, str | int]]:
    """The forwards as vpnkit lists them."""
    return [
        {
            "proto": f.listen.protocol,
            "out_ip": f.listen.address or "0.0.0.0",
            "out_port": f.listen.port,
            "in_ip": f.target.address,
            "in_port": f.target.port,
        }
        for f in forwards
    ]


def _fields(data: object, known: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object with {', '.join(known)}")
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)}; the keys are {', '.join(known)}")
    return {key: str(value) for key, value in data.items()}


def _place(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _forward(listen: str, target: str, protocol: str) -> Forward:
    (forward,) = read_forwards([{"listen": listen, "target": target, "protocol": protocol}])
    return forward
