"""The picture as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from ..model import Machine
from ..trace import Trace
from .layout import layout
from .scene import scene
from .shapes import WIDTH, Drawn, Picture, Rect, Shape, Text, Wire


def picture(machine: Machine, traces: Iterable[Trace], *, whole: bool = True, embedded: bool = False) -> str:
    """The machine with its chains, or without ``whole`` what the chains go through.

    ``embedded`` is for a page that has `style` itself.
    """
    return _svg(layout(scene(machine, traces, whole=whole)), embedded)


def style() -> str:
    """The CSS of pictures and pages: colours for light and dark, then shapes."""
    folder = files(__package__)
    return "".join(folder.joinpath(name).read_text() for name in ("colours.css", "picture.css"))


def _svg(drawn: Picture, embedded: bool) -> str:
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


def _chain(one: Drawn) -> str:
    title = escape(one.title)
    names = f'data-port="{escape(one.port)}" data-protocol="{one.protocol}" data-place="{escape(one.place)}"'
    head = f'<g class="chain {one.state}" {names} tabindex="0" role="group" aria-label="{title}"><title>{title}</title>'
    reach = "".join(f'<path class="reach" d="{_path(shape)}"/>' for shape in one.shapes if isinstance(shape, Wire))
    return f"{head}{reach}{''.join(map(_shape, one.shapes))}</g>"


def _shape(shape: Shape) -> str:
    if isinstance(shape, Wire):
        return _wire(shape)
    if isinstance(shape, Text):
        return _text(shape)
    return _rect(shape)


def _rect(one: Rect) -> str:
    size = f'x="{one.left:g}" y="{one.top:g}" width="{one.width:g}" height="{one.height:g}" rx="{one.radius:g}"'
    return _titled(f'rect class="{one.looks}" {size}', "rect", one.title)


def _text(one: Text) -> str:
    anchor = ' text-anchor="end"' if one.end else ""
    start = f'text class="{one.looks}" x="{one.x:g}" y="{one.y:g}" font-size="{one.size:g}"{anchor}'
    title = f"<title>{escape(one.title)}</title>" if one.title and one.title != one.text else ""
    return f"<{start}>{title}{escape(one.text)}</text>"


def _titled(start: str, name: str, title: str) -> str:
    return f"<{start}><title>{escape(title)}</title></{name}>" if title else f"<{start}/>"


def _wire(one: Wire) -> str:
    head = ""
    if one.head:
        x, y = one.to_x, one.to_y
        head = f'<path class="head {one.looks}" d="M{x - 7:g} {y - 4:g}L{x:g} {y:g}L{x - 7:g} {y + 4:g}z"/>'
    return f'<path class="line {one.looks}" d="{_path(one)}"/>{head}'


def _path(one: Wire) -> str:
    end = one.to_x - (6 if one.head else 0)
    if one.y == one.to_y:
        return f"M{one.x:g} {one.y:g}H{end:g}"
    half = (one.x + end) / 2
    return f"M{one.x:g} {one.y:g}C{half:g} {one.y:g} {half:g} {one.to_y:g} {end:g} {one.to_y:g}"
