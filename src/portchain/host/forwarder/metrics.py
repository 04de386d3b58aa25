"""The forwards' counters in Prometheus' text format. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_FAMILIES = (
    ("connections_total", "counter", "Connections accepted.", "connections"),
    ("connections_active", "gauge", "Connections that are open.", "active"),
    ("received_bytes_total", "counter", "Bytes from clients to the target.", "received"),
    ("sent_bytes_total", "counter", "Bytes from the target to clients.", "sent"),
    ("dropped_datagrams_total", "counter", "Datagrams dropped: a buffer was full, or the client unknown.", "dropped"),
)


def exposition(guest: str, forwards: Iterable[Mapping[str, str | int]], connected: bool) -> str:
    """Return all metric families as text; ``forwards`` are as the control interface lists them."""
    rows = list(forwards)
    lines = _family("guest_connected", "gauge", "Whether the guest is there.")
    lines.append(_sample("guest_connected", {"guest": guest}, int(connected)))
    lines += _family("forward_up", "gauge", "Whether the forward is listened on and served.")
    lines += [_sample("forward_up", _labels(guest, row), int(row["state"] == "listening")) for row in rows]
    for name, kind, text, field in _FAMILIES:
        lines += _family(f"forward_{name}", kind, text)
        lines += [_sample(f"forward_{name}", _labels(guest, row), int(row[field])) for row in rows]
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP portchain_{name} {text}", f"# TYPE portchain_{name} {kind}"]


def _labels(guest: str, row: Mapping[str, str | int]) -> dict[str, str]:
    return {"guest": guest, **{key: str(row[key]) for key in ("listen", "protocol", "target", "origin", "owner")}}


def _sample(name: str, labels: Mapping[str, str], value: int) -> str:
    pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"portchain_{name}{{{pairs}}} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
