"""The roles' variables as their argument_specs describe them, and checking values against these."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .value_kinds import ValueRule, display, yaml_hint

_LONGEST_NAME = 63
_TRUE, _FALSE = ("true", "yes", "on", "1", "y", "t"), ("false", "no", "off", "0", "n", "f")
_QUOTES = "'\""
_SCALARS = {"str": ValueRule("must be text", "text"), "path": ValueRule("must be an absolute path", "absolute path")}


@dataclass(frozen=True)
class RoleOption:
    """One variable, or one key of a mapping in a variable."""

    type: str
    elements: str = "str"
    rule: ValueRule | None = None
    choices: tuple[Any, ...] = ()
    options: Mapping[str, RoleOption] = field(default_factory=dict)
    required: bool = False
    default: Any = None

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> RoleOption:
        """Read an option of an argument_specs file; raise ValueError for a rule that cannot be parsed."""
        return cls(
            spec.get("type", "str"),
            spec.get("elements", "str"),
            ValueRule.find(spec["description"]),
            tuple(spec.get("choices", ())),
            {name: RoleOption.parse(option) for name, option in spec.get("options", {}).items()},
            spec.get("required", False),
            spec.get("default"),
        )

    def read(self, value: Any, label: str, problems: list[str]) -> Any:
        """Return the value in its type without its wrong parts, or None if nothing is left.

        Add a message, beginning with ``label``, to ``problems`` for each thing that is wrong.
        """
        try:
            if value is None:
                raise ValueError("there is no value; give one, or leave the line out")
            if self.type == "list":
                return self._list(value, label, problems)
            if self.type == "dict":
                return self._dict(value, label, problems)
            return self._scalar(value)
        except ValueError as error:
            problems.extend(f"{label}: {line}" for line in str(error).splitlines())
        return None

    def _scalar(self, value: Any) -> Any:
        """Read a value that is no list and no mapping; raise ValueError."""
        if self.type == "bool":
            return _parse_bool(value)
        if self.choices:
            if not isinstance(value, str) or value not in self.choices:
                one_of = "one of " if len(self.choices) > 1 else ""
                raise ValueError(f"{display(value)} must be {one_of}{_listed(self.choices)}{yaml_hint(value)}")
            return value
        result = (self.rule or _SCALARS[self.type]).read(value)
        if self.type == "int" and not isinstance(result, int):
            raise ValueError(f"{display(value)} must be a whole number")
        return result

    def _list(self, value: Any, label: str, problems: list[str]) -> list[Any]:
        """Read each element of a list, None for one that cannot be read; raise ValueError for another type."""
        if not isinstance(value, list | tuple):
            raise ValueError(f"{display(value)} must be a list, such as [{display(value)}]")
        element = RoleOption(self.elements, rule=self.rule, options=self.options)
        return [element.read(item, _element_label(label, index, item), problems) for index, item in enumerate(value)]

    def _dict(self, value: Any, label: str, problems: list[str]) -> dict[str, Any]:
        """Read a mapping without the keys that cannot be read; raise ValueError for another type."""
        if not isinstance(value, Mapping):
            raise ValueError(
                f"{display(value)} must be a mapping{f' of {_listed(self.options)}' if self.options else ''}"
            )
        if not self.options:
            element = RoleOption("raw", rule=self.rule or _SCALARS["str"])
            return {name: element.read(item, f"{label}: {name}", problems) for name, item in value.items()}
        problems.extend(f"{label}: {problem}" for problem in describe_unknown("key", value, self.options))
        for name, option in self.options.items():
            if option.required and name not in value:
                problems.append(f"{label}: the key {name} is missing")
        read = {name: option.read(value[name], f"{label}: {name}", problems) for name, option in self._given(value)}
        return {name: item for name, item in read.items() if item is not None}

    def _given(self, value: Mapping[str, Any]) -> Iterator[tuple[str, RoleOption]]:
        return ((name, option) for name, option in self.options.items() if name in value)


def read_specs(specs: Iterable[Mapping[str, Any]]) -> dict[str, RoleOption]:
    """Return the options in the parsed contents of argument_specs files, by name."""
    entry_points = [entry_point for spec in specs for entry_point in spec["argument_specs"].values()]
    options = (option for entry_point in entry_points for option in (entry_point.get("options") or {}).items())
    return {name: RoleOption.parse(option) for name, option in options}


def describe_unknown(what: str, given: Iterable[Any], known: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each of ``given`` that is not one of ``known``, with a suggestion."""
    names = list(known)
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(str(name), names, 1)
            suggestion = f"did you mean {close[0]}?" if close else f"there are {_listed(names)}"
            yield f"no {what} {display(name).strip(_QUOTES)}; {suggestion}"


def _parse_bool(value: Any) -> bool:
    word = str(value).lower() if isinstance(value, bool | int | str) else ""
    if word not in (*_TRUE, *_FALSE):
        raise ValueError(f"{display(value)} must be true or false")
    return word in _TRUE


def _element_label(label: str, index: int, element: Any) -> str:
    name = element.get("name") if isinstance(element, Mapping) else None
    usable = isinstance(name, str) and name.isprintable() and 0 < len(name) <= _LONGEST_NAME
    return f"{label} {name}" if usable else f"{label}[{index}]"


def _listed(items: Iterable[Any]) -> str:
    return ", ".join(str(item) or '""' for item in items)
