"""YAML that knows on which line each value is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where: ``place`` leads to the value."""

    file: str
    line: int
    place: Place
    text: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"file": self.file, "line": self.line, "key": shown(self.place), "text": self.text}

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {f'{shown(self.place)}: ' if self.place else ''}{self.text}"


class GuestYamlError(Exception):
    """A guest's YAML cannot be used; ``problems`` says why, each with file, line and key."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def shown(place: Place) -> str:
    """A place for people: ``services[2].binds[0]``."""
    words = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return words.removeprefix(".")


class Source:
    """The text of the file called ``name``: ``data`` is its content."""

    def __init__(self, name: str, text: str) -> None:
        """Raises GuestYamlError where it is no YAML, or says a key twice."""
        self.name = name
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.data: Any = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise GuestYamlError([Problem(name, line, (), str(error.problem))]) from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise GuestYamlError([Problem(name, 1, (), str(error))]) from error
        self._lines: dict[Place, int] = {}
        twice = list(self._note((), node, ()))
        if twice:
            raise GuestYamlError(twice)

    def problem(self, place: Place, text: str) -> Problem:
        """A problem with the value at ``place``, or with what is missing there."""
        known = next((place[:end] for end in range(len(place), 0, -1) if place[:end] in self._lines), ())
        return Problem(self.name, self._lines.get(known, 1), place, text)

    def _note(self, place: Place, node: yaml.Node | None, above: tuple[yaml.Node, ...]) -> Iterator[Problem]:
        if node is None or node in above:
            return
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield from self._note((*place, number), item, (*above, node))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*place, str(key.value))
                if below in self._lines:
                    yield Problem(self.name, key.start_mark.line + 1, below, "is there twice")
                self._lines[below] = key.start_mark.line + 1
                yield from self._note(below, value, (*above, node))
