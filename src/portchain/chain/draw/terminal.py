"""Chains and the machine for the terminal. What colours say, words and signs say as well."""

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

from ..model import Machine
from ..trace import Chain, Hop, Trace, Verdict
from .rows import host_port, state_of
from .scene import ENDED, Area, Place, inside_port, process_of, scene
from .text import plain

_SIGNS = {"ok": "●", "broken": "✗", "unknown": "?", "skipped": "○"}
_STYLES = {"ok": "green", "broken": "bold red", "unknown": "yellow", "skipped": "dim"}
_VERDICTS = {"whole": "green", "broken": "bold red", "unknown": "yellow"}
# For terminals that have only ASCII.
_ASCII = str.maketrans(
    {"●": "*", "✗": "x", "○": "o", "│": "|", "→": ">", "↔": "=", "…": "~", "µ": "u", "·": ",", "─": "-"}
    | dict.fromkeys("┐┘┤┬├└┌┴┼╴", "+")
)


class _Portable:
    """The same in characters that the terminal has."""

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
    """``right`` beside a first line and, below that, ``rest``; both as wide as each other."""

    def __init__(self, first: Text, rest: Text, right: Text) -> None:
        self.first, self.rest, self.right = first, rest, right

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.update(width=max(20, options.max_width - self.first.cell_len), no_wrap=False, overflow="fold")
        for n, line in enumerate(console.render_lines(self.right, room, pad=False)):
            left = self.rest if n else self.first
            yield from (one for one in left.render(console) if one.text)
            yield from line
            yield Segment.line()


def show(found: Trace) -> None:
    """Print a trace, for people."""
    Console(highlight=False).print(trace(found))


def trace(found: Trace) -> RenderableType:
    """Each chain from top to bottom, from the host to the server."""
    parts: list[RenderableType] = []
    for chain in found.chains:
        parts += [*([""] if parts else []), *_chain(chain)]
    return _Portable(Group(*parts) if parts else Text("nothing is forwarded", style="dim"))


def _chain(chain: Chain) -> Iterator[RenderableType]:
    state = state_of(chain)
    owner = f" → {plain(chain.owner)}" if chain.owner else ""
    timed = any(hop.microseconds is not None for hop in chain.hops)
    yield Text.assemble((host_port(chain) + owner, "bold"), "  ", (state, _VERDICTS[state]))
    for side, hops in groupby(chain.hops, key=lambda hop: hop.side):
        yield Text(f"  {side}", style="dim")
        for hop in hops:
            yield _hop(hop, timed, last=hop is chain.hops[-1])
            if hop.state == "broken" and chain.verdict:
                yield _verdict(chain.verdict)
    if chain.probe:
        yield _whole_probe(chain.probe)
    for note in chain.notes:
        yield Padding(Text(f"note: {plain(note)}", style="yellow"), (0, 0, 0, 2))


def _whole_probe(probe: dict[str, Any]) -> RenderableType:
    """What remains of a probe's time, and all of it."""
    answers = {"end": "the server's end came", "silence": "no end in time", "reset": "reset by the server"}
    answer = answers.get(probe["answer"], plain(probe["answer"]))
    said = f"{_number(probe['bytes'], 'byte')}, {answer}"
    back = probe["back"] is not None
    parts = [("and back", probe["back"], said)] if back else []
    parts.append(("in all", probe["total"], "" if back else said))
    return Text("\n".join(f"    {what:17}{took:6.0f} µs  {text}".rstrip() for what, took, text in parts), style="dim")


def _verdict(found: Verdict) -> RenderableType:
    said = Text.assemble(plain(found.text), "\n", ("→ ", "dim"), (plain(found.remedy), "bold"))
    title = Text(plain(found.code), style="bold red")
    panel = Panel(said, title=title, title_align="left", border_style="red", box=box.SQUARE, expand=False)
    return Padding(panel, (0, 0, 0, 2))


def _hop(hop: Hop, timed: bool, last: bool) -> RenderableType:
    """One hop: sign, kind and time at the left, what was seen at the right."""
    style, skipped = _STYLES[hop.state], hop.state == "skipped"
    took = f"{hop.microseconds:.0f} µs" if hop.microseconds is not None else ""
    kind = hop.kind.replace("-", " ").ljust(17) + (took.rjust(9) + "  " if timed else "")
    first = Text.assemble((f"  {_SIGNS[hop.state]} ", style), (kind, "" if hop.state == "ok" else style))
    rest = Text(("" if last else "  │").ljust(first.cell_len), style="dim")
    says = [plain(hop.says)] if hop.says and hop.state != "broken" else []
    says += [plain(hop.evidence)] if hop.evidence else []
    seen = Text(plain(hop.title), style="dim" if skipped else "")
    below = Text("\n".join(says), style="dim")
    return _Beside(first, rest, Text("\n").join([part for part in (seen, below) if part.plain]))


def machine(seen: Machine, traces: Sequence[Trace]) -> RenderableType:
    """The whole machine in a few lines: host ports, the guest's, rules, bridges and containers."""
    drawn = scene(seen, traces)
    broken = sum(one.verdict is not None for one in drawn.chains)
    reached = ("all reachable", "green") if drawn.chains else ""
    parts: list[RenderableType] = [
        Text.assemble(
            (f"guest {plain(seen.host.guest)}", "bold"),
            f"  {plain(seen.host.guest_state)} · {_counted(seen)}{_number(len(drawn.chains), 'port')}",
            ", " if drawn.chains else "",
            (f"{broken} of them broken", "bold red") if broken else reached,
        )
    ]
    if seen.guest is None:
        parts.append(Text(plain(seen.guest_error), style="red"))
    widths = _widths(drawn.chains)
    for area in drawn.areas:
        parts += ["", _area_title(area)]
        for place in area.places:
            parts += _place(seen, place, widths)
    return _Portable(Group(*parts))


def _counted(seen: Machine) -> str:
    if seen.guest is None:
        return ""
    running = sum(one.state == "running" for one in seen.guest.containers)
    fine = sum(one.state in ("running", "ended") for one in seen.guest.services)
    return f"{_number(fine, 'service')} · {_number(running, 'container')} · "


def _number(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _widths(chains: Sequence[Chain]) -> tuple[int, int, int]:
    """Of the columns for host ports, the guest's ports and rules."""
    columns = (map(host_port, chains), (one.target for one in chains), map(_led_to, chains))
    host, target, rule = (min(22, max(map(len, column), default=0)) for column in columns)
    return host, target, rule


def _led_to(chain: Chain) -> str:
    hop = chain.hop("nat")
    return plain(hop.title) if hop and hop.state != "skipped" else ""


def _area_title(area: Area) -> Text:
    if area.kind == "own":
        return Text("the guest's own network", style="cyan")
    if area.kind == "none":
        return Text("no network", style="dim")
    network = area.network
    about = f"  network {network.name}  {', '.join(network.subnets[:1])}" if network else ""
    down = "" if area.link and area.link.up else "  down"
    return Text.assemble((plain(area.key), "bold cyan"), (plain(about), "cyan"), (down, "bold red"))


def _place(seen: Machine, place: Place, widths: tuple[int, int, int]) -> list[RenderableType]:
    """A container's lines; its name is where its lines meet."""
    one = place.container
    if not place.chains:
        state = f"  {one.status or one.state}" if one and one.state in ENDED else "  publishes nothing"
        return [Text.assemble("  ", (plain(place.name), "bold dim"), (plain(state), "dim"))]
    lines: list[RenderableType] = []
    middle = (len(place.chains) - 1) // 2
    for n, chain in enumerate(place.chains):
        line = _row(chain, widths)
        server = process_of(chain) if chain.verdict is None else ""
        name = plain(place.name, 24)
        line.append(f"─{_brace(n, len(place.chains), middle)} ", style=_line_style(chain))
        line.append(name if n == middle else " " * len(name), style="bold")
        line.append(f" {inside_port(seen, chain)} {plain(server, 20)}".rstrip(), style="dim")
        line.no_wrap, line.overflow = True, "ellipsis"
        lines.append(line)
        if chain.verdict:
            verdict = Text(f"✗ {plain(chain.verdict.code)}: {plain(chain.verdict.text)}", style="red")
            lines.append(Padding(verdict, (0, 0, 0, 4), expand=False))
    return lines


def _row(chain: Chain, widths: tuple[int, int, int]) -> Text:
    host, target, rule = widths
    style, led = _line_style(chain), _led_to(chain)
    return Text.assemble(
        ("✗ " if chain.verdict else "  ", style),
        (host_port(chain)[:host].ljust(host), "bold"),
        (" ──→ ", style),
        chain.target[:target].ljust(target),
        (" ──→ " if led else " ────", style),
        f"{led[:rule]:{rule}} " if led else ("─" * (rule + 1), style),
    )


def _line_style(chain: Chain) -> str:
    return "red" if chain.verdict else "blue"


def _brace(n: int, count: int, middle: int) -> str:
    """The sign at the end of the n-th of several lines that meet in the middle one."""
    if count == 1:
        return "─"
    if n == middle:
        return "┬" if n == 0 else "┼" if n < count - 1 else "┴"
    return "┐" if n == 0 else "┘" if n == count - 1 else "┤"
