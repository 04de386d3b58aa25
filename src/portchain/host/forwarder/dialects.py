"""Forwards in the JSON of gvproxy's and vpnkit's control interfaces. Pure.

As in those, keys may be in any case of letters, and unknown keys are ignored.
Sources: containers/gvisor-tap-vsock pkg/services/forwarder/ports.go; moby/vpnkit go/pkg/vpnkit/{client,port}.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...ports.forward import Endpoint, Forward
from .forward_changes import read_forwards

_GVPROXY = ("local", "remote", "protocol", "proxy_protocol")
_VPNKIT = ("proto", "out_ip", "out_port", "out_path", "in_ip", "in_port", "in_path")


def read_gvproxy(data: object) -> Forward:
    """Read ``{"local": ":6443", "remote": "192.168.65.3:6443", "protocol": "tcp"}``; raise ValueError.

    ``protocol`` is tcp, udp or unix; with unix, ``local`` is a path. ``remote`` may also be ``tcp://…`` or
    ``unix:/path``. ``proxy_protocol`` is portchain's addition.
    """
    fields = _fields(data, _GVPROXY)
    protocol, remote = fields.get("protocol") or "tcp", fields.get("remote", "")
    if remote.startswith("ssh-tunnel:"):
        raise ValueError(f"{remote}: the guest's sockets are reached directly; write unix:/path")
    remote = remote.replace("://", ":", 1)
    if protocol == "unix" and not remote.startswith(("tcp:", "unix:")):
        remote = f"tcp:{remote}"
    return _forward(fields.get("local", ""), remote, protocol, fields.get("proxy_protocol", ""))


def read_gvproxy_listen(data: object) -> Endpoint:
    """Read the host's end from ``{"local": ":6443", "protocol": "tcp"}`` or a whole forward; raise ValueError."""
    fields = _fields(data, _GVPROXY)
    return Endpoint.parse(fields.get("local", ""), fields.get("protocol") or "tcp")


def list_gvproxy(forwards: Iterable[Forward]) -> list[dict[str, str]]:
    """Return forwards as gvproxy lists them."""
    return [
        {
            "local": f.listen.hostport,
            "remote": f.target.hostport if f.listen.protocol == f.target.protocol != "unix" else str(f.target),
            "protocol": f.listen.protocol,
            **({"proxy_protocol": f.proxy_protocol} if f.proxy_protocol else {}),
        }
        for f in forwards
    ]


def read_vpnkit(data: object) -> Forward:
    """Read a port or a pipe of vpnkit's; raise ValueError.

    A port is ``{"proto": "tcp", "out_ip": "0.0.0.0", "out_port": 8080, "in_ip": "127.0.0.1", "in_port": 8080}``, a pipe
    is ``{"proto": "unix", "out_path": "/run/…", "in_path": "/run/…"}``. ``out`` is the host's end, ``in`` the guest's.
    ``out_port`` 0 stands for any free port, which the caller is to choose.
    """
    fields = _fields(data, _VPNKIT)
    proto = _proto(fields)
    if proto == "unix":
        return _forward(fields.get("out_path", ""), f"unix:{fields.get('in_path', '')}", proto)
    out_ip, in_ip = fields.get("out_ip", ""), fields.get("in_ip", "")
    port = fields.get("out_port", "0")
    # A forward may not listen on port 0, so it is read with another in its place.
    listen = _address_and_port(out_ip, "1" if port == "0" else port)
    forward = _forward(listen, _address_and_port(in_ip, fields.get("in_port", "0")), proto)
    return replace(forward, listen=replace(forward.listen, port=0)) if port == "0" else forward


def read_vpnkit_listen(data: object) -> Endpoint:
    """Read the host's end of a port or pipe, with or without the guest's; raise ValueError."""
    fields = _fields(data, _VPNKIT)
    proto = _proto(fields)
    if proto == "unix":
        return Endpoint.parse(fields.get("out_path", ""), proto)
    return Endpoint.parse(_address_and_port(fields.get("out_ip", ""), fields.get("out_port", "")), proto)


def list_vpnkit(forwards: Iterable[Forward]) -> list[dict[str, str | int]]:
    """Return forwards as vpnkit lists them."""
    return [{"proto": f.listen.protocol, **_end("out", f.listen), **_end("in", f.target)} for f in forwards]


def _end(side: str, endpoint: Endpoint) -> dict[str, str | int]:
    if endpoint.protocol == "unix":
        return {f"{side}_path": endpoint.address}
    return {f"{side}_ip": endpoint.address or "0.0.0.0", f"{side}_port": endpoint.port}


def _proto(fields: dict[str, str]) -> str:
    return fields.get("proto") or ("unix" if "out_path" in fields else "tcp")


def _fields(data: object, known: tuple[str, ...]) -> dict[str, str]:
    """Return the known keys of a JSON object, in lower case, with their values as text; raise ValueError."""
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object with {', '.join(known)}")
    fields = ((str(key).lower(), value) for key, value in data.items())
    return {key: str(value) for key, value in fields if key in known and value is not None}


def _address_and_port(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _forward(listen: str, target: str, protocol: str, proxy_protocol: str = "") -> Forward:
    item = {"listen": listen, "target": target, "protocol": protocol, "proxy_protocol": proxy_protocol}
    (forward,) = read_forwards([item])
    return forward
