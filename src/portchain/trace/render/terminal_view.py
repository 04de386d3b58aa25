"""Render chains and the machine for the terminal. Colours only repeat what words and signs say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.segment import Segment
from rich.text import Text

from ...protocol.container_states import STOPPED
from ..chain import Chain, Hop, Trace, Verdict
from ..model import Machine
from ..unpublished import unpublished_ports
from .rows import host_port, state_of
from .scene import ChainEnd, NetworkSegment, inside_port, process_of, scene
from .text_width import plain

_LEAST_WIDTH = 40  # columns
_SIGNS = {"ok": "●", "broken": "✗", "unknown": "?", "skipped": "○"}
_STYLES = {"ok": "green", "broken": "bold red", "unknown": "yellow", "skipped": "dim"}
_VERDICTS = {"whole": "green", "broken": "bold red", "unknown": "yellow"}
# For terminals that have only ASCII.
_ASCII = str.maketrans(
    {"●": "*", "✗": "x", "○": "o", "│": "|", "→": ">", "↔": "=", "…": "~", "µ": "u", "·": ",", "─": "-"}
    | dict.fromkeys("┐┘┤┬├└┌┴┼╴", "+")
)


class _Portable:
    """The same content in characters that the terminal has."""

    def __init__(self, content: RenderableType) -> None:
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        segments = console.render(self.content, options)
        if not options.ascii_only:
            yield from segments
            return
        for text, style, control in segments:
            yield Segment(text.translate(_ASCII).encode("ascii", "replace").decode(), style, control)


class _Beside:
    """``right`` beside a first line and, below that, beside ``rest``; both of the same width."""

    def __init__(self, first: Text, rest: Text, right: Text) -> None:
        self.first, self.rest, self.right = first, rest, right

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.update(width=max(20, options.max_width - self.first.cell_len), no_wrap=False, overflow="fold")
        for index, line in enumerate(console.render_lines(self.right, room, pad=False)):
            left = self.rest if index else self.first
            yield from (segment for segment in left.render(console) if segment.text)
            yield from line
            yield Segment.line()


def console() -> Console:
    """Return standard output's console, never too narrow to read, whatever COLUMNS says."""
    terminal = Console(highlight=False)
    terminal.width = max(_LEAST_WIDTH, terminal.width)
    return terminal


def show(result: Trace) -> None:
    """Print a trace, for people."""
    console().print(trace(result))


def trace(result: Trace) -> RenderableType:
    """Render each chain from top to bottom, from the host to the server."""
    parts: list[RenderableType] = []
    for chain in result.chains:
        parts += [*([""] if parts else []), *_chain(chain)]
    parts = parts or [Text("nothing is forwarded", style="dim")]
    return _Portable(Group(*parts, *(_note(str(unpublished), 0) for unpublished in result.unpublished)))


def _chain(chain: Chain) -> Iterator[RenderableType]:
    state = state_of(chain)
    owner = f" → {plain(chain.owner)}" if chain.owner else ""
    timed = any(hop.microseconds is not None for hop in chain.hops)
    label = "not published" if chain.verdict and chain.verdict.code == "not-published" else state
    yield Text.assemble((host_port(chain) + owner, "bold"), "  ", (label, _VERDICTS[state]))
    for side, hops in groupby(chain.hops, key=lambda hop: hop.side):
        yield Text(f"  {side}", style="dim")
        for hop in hops:
            yield _hop(hop, timed, last=hop is chain.hops[-1])
            if hop.state == "broken" and chain.verdict:
                yield _verdict(chain.verdict)
    if chain.probe:
        yield _whole_probe(chain.probe)
    for note in chain.notes:
        yield _note(note, 2)


def _note(text: str, indent: int) -> RenderableType:
    return Padding(Text(f"note: {plain(text)}", style="yellow"), (0, 0, 0, indent))


def _whole_probe(probe: dict[str, Any]) -> RenderableType:
    """Render the time of a probe's way back, and its total."""
    answers = {"end": "the server's end came", "silence": "no end in time", "reset": "reset by the server"}
    answer = answers.get(probe["answer"], plain(probe["answer"]))
    summary = f"{_number(probe['bytes'], 'byte')}, {answer}"
    has_back = probe["back"] is not None
    parts = [("and back", probe["back"], summary)] if has_back else []
    parts.append(("in all", probe["total"], "" if has_back else summary))
    return Text("\n".join(f"    {label:17}{took:6.0f} µs  {text}".rstrip() for label, took, text in parts), style="dim")


def _verdict(verdict: Verdict) -> RenderableType:
    text = Text.assemble(plain(verdict.text), "\n", ("→ ", "dim"), (plain(verdict.remedy), "bold"))
    title = Text(plain(verdict.code), style="bold red")
    panel = Panel(text, title=title, title_align="left", border_style="red", box=box.SQUARE, expand=False)
    return Padding(panel, (0, 0, 0, 2))


def _hop(hop: Hop, timed: bool, last: bool) -> RenderableType:
    """Render one hop: sign, kind and time at the left, what was seen at the right."""
    style, skipped = _STYLES[hop.state], hop.state == "skipped"
    took = f"{hop.microseconds:.0f} µs" if hop.microseconds is not None else ""
    kind = hop.kind.replace("-", " ").ljust(17) + (took.rjust(9) + "  " if timed else "")
    first = Text.assemble((f"  {_SIGNS[hop.state]} ", style), (kind, "" if hop.state == "ok" else style))
    rest = Text(("" if last else "  │").ljust(first.cell_len), style="dim")
    says = [plain(hop.says)] if hop.says and hop.state != "broken" else []
    says += [plain(hop.evidence)] if hop.evidence else []
    title = Text(plain(hop.title), style="dim" if skipped else "")
    below = Text("\n".join(says), style="dim")
    return _Beside(first, rest, Text("\n").join([part for part in (title, below) if part.plain]))


def machine(snapshot: Machine, traces: Sequence[Trace]) -> RenderableType:
    """Render the whole machine in a few lines: host ports, the guest's, rules, bridges and containers."""
    picture = scene(snapshot, traces)
    broken = sum(chain.verdict is not None for chain in picture.chains)
    all_whole = ("all reachable", "green") if picture.chains else ""
    parts: list[RenderableType] = [
        Text.assemble(
            (f"guest {plain(snapshot.host.guest)}", "bold"),
            f"  {plain(snapshot.host.guest_state)} · {_counted(snapshot)}{_number(len(picture.chains), 'port')}",
            ", " if picture.chains else "",
            (f"{broken} of them broken", "bold red") if broken else all_whole,
        )
    ]
    if snapshot.guest is None:
        parts.append(Text(plain(snapshot.guest_error), style="red"))
    widths = _widths(picture.chains)
    for segment in picture.segments:
        parts += ["", _segment_title(segment)]
        for end in segment.ends:
            parts += _end_lines(snapshot, end, widths)
    return _Portable(Group(*parts))


def _counted(snapshot: Machine) -> str:
    if snapshot.guest is None:
        return ""
    running = sum(container.state == "running" for container in snapshot.guest.containers)
    healthy = sum(service.state in ("running", "ended") for service in snapshot.guest.services)
    return f"{_number(healthy, 'service')} · {_number(running, 'container')} · "


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _widths(chains: Sequence[Chain]) -> tuple[int, int, int]:
    """Return the widths of the columns for host ports, the guest's ports and rules."""
    columns = (map(host_port, chains), (chain.target for chain in chains), map(_led_to, chains))
    host, target, rule = (min(22, max(map(len, column), default=0)) for column in columns)
    return host, target, rule


def _led_to(chain: Chain) -> str:
    return plain(chain.redirect_hop.title) if chain.redirect_hop else ""


def _segment_title(segment: NetworkSegment) -> Text:
    if segment.kind == "own":
        return Text("the guest's own network", style="cyan")
    if segment.kind == "none":
        return Text("no network", style="dim")
    network = segment.network
    about = f"  network {network.name}  {', '.join(network.subnets[:1])}" if network else ""
    down = "" if segment.link and segment.link.up else "  down"
    return Text.assemble((plain(segment.key), "bold cyan"), (plain(about), "cyan"), (down, "bold red"))


def _end_lines(snapshot: Machine, end: ChainEnd, widths: tuple[int, int, int]) -> list[RenderableType]:
    """Render a container's lines; its name is where its lines meet."""
    container = end.container
    if not end.chains:
        state = (
            f"  {container.status or container.state}"
            if container and container.state in STOPPED
            else "  publishes nothing"
        )
        not_published = unpublished_ports(snapshot.guest, container) if snapshot.guest and container else None
        state += f" of {', '.join(not_published.ports)}: {not_published.reason}" if not_published else ""
        return [Text.assemble("  ", (plain(end.name), "bold dim"), (plain(state), "dim"))]
    lines: list[RenderableType] = []
    middle = (len(end.chains) - 1) // 2
    for index, chain in enumerate(end.chains):
        line = _row(chain, widths)
        server = process_of(chain) if chain.verdict is None else ""
        name = plain(end.name, 24)
        line.append(f"─{_brace(index, len(end.chains), middle)} ", style=_line_style(chain))
        line.append(name if index == middle else " " * len(name), style="bold")
        line.append(f" {inside_port(snapshot, chain)} {plain(server, 20)}".rstrip(), style="dim")
        line.no_wrap, line.overflow = True, "ellipsis"
        lines.append(line)
        if chain.verdict:
            verdict = Text(f"✗ {plain(chain.verdict.code)}: {plain(chain.verdict.text)}", style="red")
            lines.append(Padding(verdict, (0, 0, 0, 4), expand=False))
    return lines


def _row(chain: Chain, widths: tuple[int, int, int]) -> Text:
    host, target, rule = widths
    style, target_title = _line_style(chain), _led_to(chain)
    return Text.assemble(
        ("✗ " if chain.verdict else "  ", style),
        (host_port(chain)[:host].ljust(host), "bold"),
        (" ──→ ", style),
        chain.target[:target].ljust(target),
        (" ──→ " if target_title else " ────", style),
        f"{target_title[:rule]:{rule}} " if target_title else ("─" * (rule + 1), style),
    )


def _line_style(chain: Chain) -> str:
    return "red" if chain.verdict else "blue"


def _brace(n: int, count: int, middle: int) -> str:
    """Return the sign at the end of the n-th of several lines that meet in the middle one."""
    if count == 1:
        return "─"
    if n == middle:
        return "┬" if n == 0 else "┼" if n < count - 1 else "┴"
    return "┐" if n == 0 else "┘" if n == count - 1 else "┤"
