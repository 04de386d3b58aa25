"""Render chains as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterable

from ..chain import Chain, Hop, Trace
from .scene import chain_key
from .text_width import plain

_SIDES = ("host", "guest", "container")
_STYLES = (
    "classDef broken fill:#ffebe9,stroke:#cf222e,stroke-width:2px,color:#82071e",
    "classDef skipped stroke-dasharray:3 3,color:#57606a",
)
# Characters that mean something to Mermaid or to the HTML in its labels, and those that would end the label.
_ESCAPED = {ord(c): f"#{ord(c)};" for c in '"#<>&;`\\[]{}|'}


def chains(traces: Iterable[Trace]) -> str:
    """Return a ``flowchart LR`` with each hop once, however many chains share it, in the frame of its side."""
    unique_chains = {chain_key(chain): chain for trace in traces for chain in trace.chains}.values()
    nodes: dict[tuple[str, str, str], str] = {}
    edges: dict[str, None] = {}
    lines: dict[str, list[str]] = {side: [] for side in _SIDES}
    classes: dict[str, str] = {}
    for number, chain in enumerate(unique_chains):
        previous = ""
        for hop in chain.hops:
            key = hop.kind, *_identity(number, hop)
            if key not in nodes:
                nodes[key] = f"n{len(nodes)}"
                lines[hop.side].append(f"{nodes[key]}[{_label(chain, hop)}]")
            node = nodes[key]
            if hop.state in ("broken", "skipped"):
                classes[node] = hop.state
            if previous:
                edges[f"{previous} {_arrow(hop)} {node}"] = None
            previous = node
    frames = [line for side in _SIDES for line in _frame(side, lines[side])]
    styled = [f"class {node} {state}" for node, state in classes.items()]
    body = [*frames, *edges, *(_STYLES if styled else ()), *styled]
    return "\n".join(["flowchart LR", *(f"  {line}" for line in body)])


def _identity(number: int, hop: Hop) -> tuple[str, str]:
    """Return what makes hops of several chains the same: bridge, pair and container are shared if all is well."""
    shared = hop.kind in ("bridge", "veth", "container") and hop.state == "ok"
    return ("", hop.title) if shared else (str(number), hop.title)


def _label(chain: Chain, hop: Hop) -> str:
    lines = [hop.kind.replace("-", " "), hop.title]
    if hop.state == "broken" and chain.verdict:
        lines.append(chain.verdict.code)
    return '"' + "<br>".join(plain(line, 120).translate(_ESCAPED) for line in lines if line) + '"'


def _arrow(hop: Hop) -> str:
    if hop.state == "skipped":
        return "-.-"
    took = f"|{hop.microseconds:.0f} µs|" if hop.microseconds is not None else ""
    return f"--x{took}" if hop.state == "broken" else f"-->{took}"


def _frame(side: str, lines: list[str]) -> list[str]:
    return [f"subgraph {side}", *(f"  {line}" for line in lines), "end"] if lines else []
