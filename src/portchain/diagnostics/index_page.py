"""The index page of a bundle, with links to everything in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from itertools import groupby
from urllib.parse import quote

from ..linux.evidence_archive import Item

_STYLE = """
:root { color-scheme: light dark; --accent: #1d63ed; --line: #8884; --warn: #b54708; }
@media (prefers-color-scheme: dark) { :root { --accent: #7aa7ff; --warn: #ffb020; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: left; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
a { color: var(--accent); }
.note { color: var(--warn); overflow-wrap: anywhere; }
dt { float: left; clear: left; width: 9rem; opacity: .7; }
dd { margin-left: 9rem; }
"""


def index(title: str, facts: Mapping[str, str], items: Iterable[Item]) -> str:
    """Return the page as HTML: ``facts`` at the top, then what is missing, then the items by folder."""
    by_path = sorted(items, key=lambda item: item.path)
    noted = [item for item in by_path if item.note]
    parts = [
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n<dl>",
        *(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()),
        "</dl>",
        "<p>Passwords, tokens and keys are left out where names give them away. Look before you pass it on.</p>",
    ]
    if noted:
        parts += ["<h2>What is missing</h2>", "<table>", *(_row(item, item.path) for item in noted), "</table>"]
    for folder, members in groupby(by_path, key=lambda item: _folder(item.path)):
        parts += [f"<h2>{escape(folder)}</h2>", "<table>"]
        parts += [_row(item, item.path.removeprefix(f"{folder}/")) for item in members]
        parts += ["</table>"]
    return "\n".join([*parts, "</html>", ""])


def _folder(path: str) -> str:
    return "/".join(path.split("/")[:2]) if path.count("/") > 1 else path.split("/", maxsplit=1)[0]


def _row(item: Item, name: str) -> str:
    link = f'<a href="{escape(quote(item.path))}">{escape(name)}</a>' if item.data else escape(name)
    note = f'<div class="note">{escape(item.note)}</div>' if item.note else ""
    size = f"{len(item.data):,} B" if item.data else ""
    return (
        f"<tr><td>{escape(item.title)}{note}</td><td>{link}</td>"
        f'<td class="number">{size}</td><td class="number">{item.seconds:.2f} s</td></tr>'
    )
