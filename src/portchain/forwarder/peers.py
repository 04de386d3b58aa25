"""The peers' words for forwards: gvproxy's and vpnkit's control interfaces. Pure.

Sources: containers/gvisor-tap-vsock pkg/services/forwarder/ports.go; moby/vpnkit go/pkg/vpnkit/{client,port}.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..mapping.forward import Endpoint, Forward
from .plan import read_forwards

_ENDS = ("out_ip", "out_port", "out_path", "in_ip", "in_port", "in_path")


def read_gvproxy(data: object) -> Forward:
    """``{"local": ":6443", "remote": "192.168.65.3:6443", "protocol": "tcp"}``; raise ValueError.

    ``protocol`` is tcp, udp or unix, ``local`` a path with unix. ``remote`` may also be ``tcp://…`` or ``unix:/path``.
    ``proxy_protocol`` is an addition of ours.
    """
    fields = _fields(data, ("local", "remote", "protocol", "proxy_protocol"))
    protocol, remote = fields.get("protocol") or "tcp", fields.get("remote", "")
    if remote.startswith("ssh-tunnel:"):
        raise ValueError(f"{remote}: the guest's sockets are reached directly; write unix:/path")
    remote = remote.replace("://", ":", 1)
    if protocol == "unix" and not remote.startswith(("tcp:", "unix:")):
        remote = f"tcp:{remote}"
    return _forward(fields.get("local", ""), remote, protocol, fields.get("proxy_protocol", ""))


def read_gvproxy_listen(data: object) -> Endpoint:
    """``{"local": ":6443", "protocol": "tcp"}``; raise ValueError."""
    fields = _fields(data, ("local", "protocol"))
    return Endpoint.parse(fields.get("local", ""), fields.get("protocol") or "tcp")


def list_gvproxy(forwards: Iterable[Forward]) -> list[dict[str, str]]:
    """The forwards as gvproxy lists them."""
    return [
        {
            "local": f.listen.place,
            "remote": f.target.place if f.listen.protocol == f.target.protocol != "unix" else str(f.target),
            "protocol": f.listen.protocol,
            **({"proxy_protocol": f.proxy_protocol} if f.proxy_protocol else {}),
        }
        for f in forwards
    ]


def read_vpnkit(data: object) -> Forward:
    """A port, ``{"proto": "tcp", "out_ip": "0.0.0.0", "out_port": 8080, "in_ip": "127.0.0.1", "in_port": 8080}``, or a
    pipe, ``{"proto": "unix", "out_path": "/run/…", "in_path": "/run/…"}``.

    The host's end is ``out``, the guest's ``in``; ``out_port`` 0 stands for any free port, and is for the caller to
    choose. An annotation is passed over. Raise ValueError.
    """
    fields = _fields(data, ("proto", *_ENDS, "annotation"))
    proto = fields.get("proto") or ("unix" if "out_path" in fields else "tcp")
    if proto == "unix":
        return _forward(fields.get("out_path", ""), f"unix:{fields.get('in_path', '')}", proto)
    out_ip, in_ip = fields.get("out_ip", ""), fields.get("in_ip", "")
    port = fields.get("out_port", "0")
    # Read with a port in place of 0, which no forward that is to be kept listens on.
    forward = _forward(_place(out_ip, "1" if port == "0" else port), _place(in_ip, fields.get("in_port", "0")), proto)
    return replace(forward, listen=replace(forward.listen, port=0)) if port == "0" else forward


def list_vpnkit(forwards: Iterable[Forward]) -> list[dict[str, str | int]]:
    """The forwards as vpnkit lists them."""
    return [{"proto": f.listen.protocol, **_end("out", f.listen), **_end("in", f.target)} for f in forwards]


def _end(side: str, endpoint: Endpoint) -> dict[str, str | int]:
    if endpoint.protocol == "unix":
        return {f"{side}_path": endpoint.address}
    return {f"{side}_ip": endpoint.address or "0.0.0.0", f"{side}_port": endpoint.port}


def _fields(data: object, known: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object with {', '.join(known)}")
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)}; the keys are {', '.join(known)}")
    return {key: str(value) for key, value in data.items()}


def _place(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _forward(listen: str, target: str, protocol: str, proxy_protocol: str = "") -> Forward:
    asked = {"listen": listen, "target": target, "protocol": protocol, "proxy_protocol": proxy_protocol}
    (forward,) = read_forwards([asked])
    return forward
