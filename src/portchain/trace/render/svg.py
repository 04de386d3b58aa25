"""Render the picture as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from ..chain import Trace
from ..model import Machine
from .layout import layout
from .scene import scene
from .shapes import WIDTH, Drawing, DrawnChain, Rect, Shape, Text, Wire


def picture(machine: Machine, traces: Iterable[Trace], *, whole: bool = True, embedded: bool = False) -> str:
    """Return the machine with its chains; without ``whole`` only what the chains go through.

    ``embedded`` is for a page that has `style` itself.
    """
    return _svg(layout(scene(machine, traces, whole=whole)), embedded)


def style() -> str:
    """Return the CSS of pictures and pages: colours for light and dark, then shapes."""
    folder = files(__package__)
    return "".join(folder.joinpath(name).read_text() for name in ("colours.css", "picture.css"))


def _svg(drawn: Drawing, embedded: bool) -> str:
    height = round(drawn.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {WIDTH:.0f} {height}" '
        f'width="{WIDTH:.0f}" height="{height}" role="img" aria-labelledby="picture-title picture-desc">',
        f'<title id="picture-title">{escape(drawn.title)}</title>',
        f'<desc id="picture-desc">{escape(drawn.description)}</desc>',
        "" if embedded else f"<style>{style()}</style>",
        f'<rect class="ground" width="{WIDTH:.0f}" height="{height}"/>',
        *map(_shape, drawn.below),
        *map(_chain, drawn.chains),
        *map(_shape, drawn.above),
        "</svg>\n",
    ]
    return "\n".join(part for part in parts if part)


def _chain(drawn: DrawnChain) -> str:
    title = escape(drawn.title)
    attributes = (
        f'data-port="{escape(drawn.port)}" data-protocol="{drawn.protocol}" data-place="{escape(drawn.listen)}"'
    )
    group = f'<g class="chain {drawn.state}" {attributes} tabindex="0" role="group" aria-label="{title}">'
    reach = "".join(f'<path class="reach" d="{_path(shape)}"/>' for shape in drawn.shapes if isinstance(shape, Wire))
    return f"{group}<title>{title}</title>{reach}{''.join(map(_shape, drawn.shapes))}</g>"


def _shape(shape: Shape) -> str:
    if isinstance(shape, Wire):
        return _wire(shape)
    if isinstance(shape, Text):
        return _text(shape)
    return _rect(shape)


def _rect(rect: Rect) -> str:
    size = f'x="{rect.left:g}" y="{rect.top:g}" width="{rect.width:g}" height="{rect.height:g}" rx="{rect.radius:g}"'
    return _titled(f'rect class="{rect.looks}" {size}', "rect", rect.title)


def _text(text: Text) -> str:
    anchor = ' text-anchor="end"' if text.end else ""
    start = f'text class="{text.looks}" x="{text.x:g}" y="{text.y:g}" font-size="{text.size:g}"{anchor}'
    title = f"<title>{escape(text.title)}</title>" if text.title and text.title != text.text else ""
    return f"<{start}>{title}{escape(text.text)}</text>"


def _titled(start: str, name: str, title: str) -> str:
    return f"<{start}><title>{escape(title)}</title></{name}>" if title else f"<{start}/>"


def _wire(wire: Wire) -> str:
    head = ""
    if wire.head:
        x, y = wire.to_x, wire.to_y
        head = f'<path class="head {wire.looks}" d="M{x - 7:g} {y - 4:g}L{x:g} {y:g}L{x - 7:g} {y + 4:g}z"/>'
    return f'<path class="line {wire.looks}" d="{_path(wire)}"/>{head}'


def _path(wire: Wire) -> str:
    end = wire.to_x - (6 if wire.head else 0)
    if wire.y == wire.to_y:
        return f"M{wire.x:g} {wire.y:g}H{end:g}"
    half = (wire.x + end) / 2
    return f"M{wire.x:g} {wire.y:g}C{half:g} {wire.y:g} {half:g} {wire.to_y:g} {end:g} {wire.to_y:g}"
