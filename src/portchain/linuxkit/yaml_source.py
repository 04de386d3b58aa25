"""YAML in which the line of each value is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]

MAX_SIZE = 1 << 20  # characters
MAX_DEPTH = 30  # of nested lists and mappings
MAX_VALUES = 5_000  # an alias counts as all values that it stands for


@dataclass(frozen=True)
class Problem:
    """A problem in a file; ``key_path`` leads to the value that is wrong."""

    file: str
    line: int
    key_path: KeyPath
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as it is printed in JSON."""
        return {"file": self.file, "line": self.line, "key": format_key_path(self.key_path), "text": self.text}

    def __str__(self) -> str:
        key = f"{format_key_path(self.key_path)}: " if self.key_path else ""
        return f"{self.file}:{self.line}: {key}{self.text}"


class GuestYamlError(Exception):
    """A guest's YAML cannot be used; ``problems`` say why."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def format_key_path(key_path: KeyPath) -> str:
    """Format a key path for people: ``services[2].binds[0]``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in key_path)
    return text.removeprefix(".")


class Source:
    """The content ``data`` of the YAML file called ``name``, and the line of each value."""

    def __init__(self, name: str, text: str) -> None:
        """Parse ``text``; raise GuestYamlError if it is not YAML, has a key twice, or is too large for a guest."""
        self.name = name
        self._lines: dict[KeyPath, int] = {}
        self._values = 0
        if len(text) > MAX_SIZE:
            raise GuestYamlError([Problem(name, 1, (), f"is longer than {MAX_SIZE} characters")])
        try:
            _check_size(text)
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            repeated = list(self._note_lines((), node))
            self.data: Any = None if node is None else loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise GuestYamlError([Problem(name, line, (), str(error.problem))]) from error
        except (yaml.YAMLError, ValueError) as error:
            raise GuestYamlError([Problem(name, 1, (), str(error))]) from error
        if repeated:
            raise GuestYamlError(repeated)

    def problem(self, key_path: KeyPath, text: str) -> Problem:
        """Make a problem of the value at ``key_path``, or of one that is missing there."""
        known = next((key_path[:end] for end in range(len(key_path), 0, -1) if key_path[:end] in self._lines), ())
        return Problem(self.name, self._lines.get(known, 1), key_path, text)

    def _note_lines(self, key_path: KeyPath, node: yaml.Node | None) -> Iterator[Problem]:
        if node is None:
            return
        self._values += 1
        if self._values > MAX_VALUES or len(key_path) > MAX_DEPTH:
            text = f"has more than {MAX_VALUES} values, or has aliases that stand for more, or for themselves"
            raise _too_large(text, node.start_mark)
        self._lines.setdefault(key_path, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield from self._note_lines((*key_path, number), item)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*key_path, str(key.value))
                if below in self._lines:
                    yield Problem(self.name, key.start_mark.line + 1, below, "is there twice")
                self._lines[below] = key.start_mark.line + 1
                yield from self._note_lines(below, value)


def _check_size(text: str) -> None:
    """Check the text's size event by event, before anything is built from it; raise yaml.MarkedYAMLError."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _too_large(f"has more than {MAX_DEPTH} lists and mappings within each other", event.start_mark)
        if number > 2 * MAX_VALUES:
            raise _too_large(f"has more than {MAX_VALUES} values", event.start_mark)


def _too_large(text: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=mark)
