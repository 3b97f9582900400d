"""Reads YAML into frozen dataclasses by their type hints, and tells every mistake with its line and column.

The dataclass is the schema: its fields are the legal keys, its defaults the defaults, its types what is allowed.
``Rules`` add what a type cannot say. The same description gives the JSON Schema for editors.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from io import BytesIO
from typing import Final, TypeVar, Union, get_args, get_origin, get_type_hints

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.domain.errors import ConfigurationError

T = TypeVar("T")
_SIZE_LIMIT: Final = 1024 * 1024
_TAG: Final = "tag:yaml.org,2002:"
# Words that YAML 1.1 readers, and so people, take for true and false.
_FALSE_FRIENDS: Final = frozenset({"on", "off", "yes", "no", "y", "n"})


class _Wrong(Enum):
    WRONG = "wrong"


WRONG: Final = _Wrong.WRONG
"""Stands for a value whose problem has been noted."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value of a field must be beside its type. ``schema`` says the same as JSON Schema, where that can."""

    holds: Callable[[object], bool]
    allowed: str
    schema: Mapping[str, object] = field(default_factory=dict)


Cross = Callable[[object], Iterator[tuple[str, str]]]
"""Checks a whole value: (field, problem) for each thing that does not fit together."""


@dataclass(frozen=True, slots=True)
class Rules:
    """All go by (class, field) or class. ``keys`` are the legal keys of a mapping; ``required`` fields must be written
    though they have a default. ``argv`` names fields whose items are words of a command, where a number or ``true``
    is just text. ``given`` names fields that do not come from YAML."""

    fields: Mapping[tuple[type, str], Rule] = field(default_factory=dict)
    whole: Mapping[type, Cross] = field(default_factory=dict)
    keys: Mapping[tuple[type, str], tuple[str, ...]] = field(default_factory=dict)
    about: Mapping[tuple[type, str], str] = field(default_factory=dict)
    required: frozenset[tuple[type, str]] = frozenset()
    argv: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()
    forbidden_key: Callable[[str], str] = lambda _key: ""
    forbidden_text: Callable[[str], str] = lambda _text: ""


def load(raw: bytes, file: str, kind: type[T], rules: Rules, given: Mapping[str, object] | None = None) -> T:
    """The value that ``raw`` describes. Raises ConfigurationError with all problems, in the order of the file."""
    reader = _Reader(file, rules, dict(given or {}))
    node = _compose(raw, file)
    value = reader.dataclass(node, kind, "")
    if reader.problems or not isinstance(value, kind):
        raise ConfigurationError([text for _line, _column, text in sorted(reader.problems)])
    return value


def _compose(raw: bytes, file: str) -> Node:
    if len(raw) > _SIZE_LIMIT:
        raise ConfigurationError(f"{file}:1:1: is larger than {_SIZE_LIMIT} bytes: this is not a configuration")
    try:
        node = YAML(typ="safe", pure=True).compose(BytesIO(raw))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise ConfigurationError(f"{file}:{place}: is not YAML: {error.problem or error.context}") from error
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigurationError(f"{file}:1:1: is not YAML: {reason}") from error
    if node is None:
        raise ConfigurationError(f"{file}:1:1: is empty: at least one key is needed")
    return typing.cast("Node", node)


class _Reader:
    def __init__(self, file: str, rules: Rules, given: Mapping[str, object]) -> None:
        self.file = file
        self.rules = rules
        self.given = given
        self.problems: list[tuple[int, int, str]] = []

    def problem(self, node: Node, key: str, text: str) -> _Wrong:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self.problems.append((line, column, f"{self.file}:{line}:{column}: {key + ': ' if key else ''}{text}"))
        return WRONG

    # --- one method a shape ----------------------------------------------------------------------------------

    def dataclass(self, node: Node, kind: type, key: str) -> object:
        legal = _legal_fields(kind, self.rules)
        pairs = self._pairs(node, key, lambda name: _unknown_key(name, legal))
        if pairs is None:
            return WRONG
        found: dict[str, object] = {}
        for name, (_key_node, value_node) in pairs.items():
            if name in legal:
                found[name] = self._field(value_node, kind, name, legal[name].hint, _join(key, name))
        missing = [name for name, one in legal.items() if one.required and name not in pairs]
        for name in missing:
            self.problem(node, _join(key, name), "is missing")
        if missing or WRONG in found.values():
            return WRONG
        given = {name: value for name, value in self.given.items() if name in _field_names(kind)}
        value: object = kind(**found, **given)
        return value if self._fits_together(value, kind, pairs, node, key) else WRONG

    def _field(self, node: Node, kind: type, name: str, hint: object, key: str) -> object:
        keys = self.rules.keys.get((kind, name))
        value = self.value(node, hint, key, argv=name in self.rules.argv, keys=keys)
        rule = self.rules.fields.get((kind, name))
        if value is not WRONG and rule is not None and not rule.holds(value):
            return self.problem(node, key, f"{_shown(node)} is not allowed: {rule.allowed}")
        return value

    def _fits_together(
        self, value: object, kind: type, pairs: Mapping[str, tuple[Node, Node]], node: Node, key: str
    ) -> bool:
        cross = self.rules.whole.get(kind)
        problems = list(cross(value)) if cross is not None else []
        for name, text in problems:
            place = pairs[name][1] if name in pairs else node
            self.problem(place, _join(key, name), text)
        return not problems

    def value(
        self, node: Node, hint: object, key: str, *, argv: bool = False, keys: tuple[str, ...] | None = None
    ) -> object:
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            if _is_null(node):
                return None
            return self.value(node, next(one for one in get_args(hint) if one is not type(None)), key, argv=argv)
        if origin is tuple:
            return self._sequence(node, get_args(hint)[0], key, argv=argv)
        if origin is not None:
            key_hint, inner = get_args(hint)
            return self._mapping(node, key_hint, inner, key, keys)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self.dataclass(node, hint, key)
        return self._scalar(node, hint, key, argv=argv)

    def _sequence(self, node: Node, inner: object, key: str, *, argv: bool) -> object:
        if not isinstance(node, SequenceNode):
            hint = f": [{', '.join(node.value.split())}]" if isinstance(node, ScalarNode) and not _is_null(node) else ""
            return self.problem(node, key, f"{_shown(node)} is {_name_of(node)}, allowed is a list{hint}")
        values = [self.value(one, inner, f"{key}[{place}]", argv=argv) for place, one in enumerate(node.value)]
        return WRONG if WRONG in values else tuple(values)

    def _mapping(self, node: Node, key_hint: object, inner: object, key: str, keys: tuple[str, ...] | None) -> object:
        members = key_hint if isinstance(key_hint, type) and issubclass(key_hint, Enum) else None
        legal = keys or (tuple(str(one.value) for one in members) if members else None)
        pairs = self._pairs(node, key, lambda name: _unknown_key(name, legal) if legal is not None else "")
        if pairs is None:
            return WRONG
        found: dict[object, object] = {}
        for name, (_key_node, value_node) in pairs.items():
            value = self.value(value_node, inner, _join(key, name))
            if legal is None or name in legal:
                found[members(name) if members else name] = value
        return WRONG if WRONG in found.values() else found

    def _pairs(self, node: Node, key: str, refused: Callable[[str], str]) -> dict[str, tuple[Node, Node]] | None:
        if not isinstance(node, MappingNode):
            self.problem(node, key, f"{_shown(node)} is {_name_of(node)}, allowed is a mapping of keys to values")
            return None
        found: dict[str, tuple[Node, Node]] = {}
        for key_node, value_node in node.value:
            name = key_node.value if isinstance(key_node, ScalarNode) else ""
            text = self._key_problem(key_node, name, found) or refused(name)
            if text:
                self.problem(key_node, _join(key, name), text)
            found.setdefault(name, (key_node, value_node))
        return found

    def _key_problem(self, node: Node, name: str, found: Mapping[str, tuple[Node, Node]]) -> str:
        if not isinstance(node, ScalarNode):
            return "a key must be a word"
        if name in found:
            first = found[name][0].start_mark
            return f"stands here a second time, first in line {first.line + 1}: keep one"
        if _is_false_friend(node) or node.tag == f"{_TAG}bool":
            return f"{name} as a key is read as a truth value by many YAML readers: quote it, or use another key"
        return self.rules.forbidden_key(name)

    def _scalar(self, node: Node, hint: object, key: str, *, argv: bool) -> object:
        if not isinstance(node, ScalarNode) or _is_null(node):
            return self.problem(node, key, f"{_shown(node)} is {_name_of(node)}, allowed is {_name(hint)}")
        forbidden = self.rules.forbidden_text(node.value)
        if forbidden:
            return self.problem(node, key, forbidden)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return self._member(node, hint, key)
        parsed = node.value if argv and hint is str else _parsed(node, hint)
        if parsed is None:
            return self.problem(
                node, key, f"{_shown(node)} is {_name_of(node)}, allowed is {_name(hint)}{_mend(node, hint)}"
            )
        return parsed

    def _member(self, node: ScalarNode, hint: type[Enum], key: str) -> object:
        try:
            return hint(node.value)
        except ValueError:
            allowed = [str(one.value) for one in hint]
            return self.problem(node, key, f"{_shown(node)} is not allowed{_suggestion(node.value, allowed)}")


# --- scalars ---------------------------------------------------------------------------------------------


def _parsed(node: ScalarNode, hint: object) -> object | None:
    tag = str(node.tag).removeprefix(_TAG)
    if hint is str:
        return node.value if tag == "str" and not _is_false_friend(node) else None
    if hint is bool:
        return node.value.lower() == "true" if tag == "bool" else None
    if tag not in ("int", "float") or (hint is int and tag == "float"):
        return None
    try:
        number = int(node.value.replace("_", ""), 0) if tag == "int" else float(node.value)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return float(number) if hint is float else number


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and str(node.tag) == f"{_TAG}null"


def _is_false_friend(node: ScalarNode) -> bool:
    return node.style is None and node.value.lower() in _FALSE_FRIENDS


def _name_of(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, ScalarNode) and _is_false_friend(node):
        return "a truth value for many YAML readers"
    names = {"null": "nothing", "int": "a number", "float": "a number", "bool": "a truth value", "str": "a text"}
    return names.get(str(node.tag).removeprefix(_TAG), "a special value")


def _name(hint: object) -> str:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(str(one.value) for one in hint)
    names = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(typing.cast("type", hint), "another value")


def _mend(node: ScalarNode, hint: object) -> str:
    if hint is str:
        return f': quote it, "{node.value}"'
    return ""


def _shown(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        return "this"
    text = str(node.value)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


# --- keys ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    hint: object
    required: bool


def _field_names(kind: type) -> set[str]:
    return {one.name for one in dataclasses.fields(kind)}


def _legal_fields(kind: type, rules: Rules) -> dict[str, _Field]:
    hints = get_type_hints(kind)
    return {
        one.name: _Field(
            hints[one.name],
            (kind, one.name) in rules.required
            or (one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING),
        )
        for one in dataclasses.fields(kind)
        if one.name not in rules.given
    }


def _unknown_key(name: str, legal: typing.Collection[str]) -> str:
    return "" if name in legal else f"no such key{_suggestion(name, list(legal))}"


def _suggestion(name: str, allowed: typing.Sequence[str]) -> str:
    near = get_close_matches(name, allowed, n=1)
    return (
        f", did you mean {near[0]}? Allowed are {', '.join(allowed)}" if near else f": allowed are {', '.join(allowed)}"
    )


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


# --- JSON Schema -----------------------------------------------------------------------------------------


def json_schema(kind: type, rules: Rules, *, title: str) -> dict[str, object]:
    """JSON Schema (2020-12) of what ``load`` takes, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **_schema_of(kind, rules)}


def _schema_of(
    hint: object, rules: Rules, *, argv: bool = False, keys: tuple[str, ...] | None = None
) -> dict[str, object]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = next(one for one in get_args(hint) if one is not type(None))
        return {"anyOf": [_schema_of(inner, rules), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(get_args(hint)[0], rules, argv=argv)}
    if origin is not None:
        key_hint, inner = get_args(hint)
        legal = {"enum": list(keys)} if keys else _schema_of(key_hint, rules)
        return {"type": "object", "propertyNames": legal, "additionalProperties": _schema_of(inner, rules)}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _schema_of_dataclass(hint, rules)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [one.value for one in hint]}
    names_of_types = {str: "string", bool: "boolean", int: "integer", float: "number"}
    named = names_of_types[typing.cast("type", hint)]
    return {"type": ["string", "number", "boolean"] if argv else named}


def _schema_of_dataclass(kind: type, rules: Rules) -> dict[str, object]:
    legal = _legal_fields(kind, rules)
    properties: dict[str, object] = {}
    for name, one in legal.items():
        rule = rules.fields.get((kind, name))
        about = rules.about.get((kind, name))
        properties[name] = {
            **_schema_of(one.hint, rules, argv=name in rules.argv, keys=rules.keys.get((kind, name))),
            **(rule.schema if rule else {}),
            **({"description": about} if about else {}),
        }
    required = [name for name, one in legal.items() if one.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
