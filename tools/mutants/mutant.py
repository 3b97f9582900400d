"""A mutant is a list of edits of the source; an edit that no longer fits is an error, so that drift is noticed."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class DoesNotFit(Exception):  # noqa: N818  # a sentence: the edit does not fit
    """An edit's old text is not in its file exactly once, or changes nothing that Python would notice."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One place: ``old`` stands in ``file`` exactly once and becomes ``new``."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """The code without one protection.

    ``flag``: the model's name for it, "" where the model has no such step. ``breaks``: invariants that the model says
    are lost. ``killers``: node ids of tests that go red, the fastest first. ``note``: what else covers it.
    """

    name: str
    protection: str
    flag: str
    removes: str
    breaks: str
    edits: tuple[Edit, ...]
    killers: tuple[str, ...]
    note: str = ""


def mutated(mutant: Mutant, root: Path) -> Mapping[str, str]:
    """The text of each file that the mutant changes, after the change. Raises DoesNotFit, which names the mutant."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for edit in mutant.edits:
        if edit.file not in before:
            before[edit.file] = after[edit.file] = _read(mutant, root / edit.file)
        count = after[edit.file].count(edit.old)
        if count != 1:
            raise DoesNotFit(f"{mutant.name}: its old text stands {count} times in {edit.file}, not once: {edit.old!r}")
        after[edit.file] = after[edit.file].replace(edit.old, edit.new)
    for file, text in after.items():
        if _meaning(mutant, file, text) == _meaning(mutant, file, before[file]):
            raise DoesNotFit(f"{mutant.name}: it changes nothing in {file}")
    return after


def _read(mutant: Mutant, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DoesNotFit(f"{mutant.name}: {error}") from error


def _meaning(mutant: Mutant, file: str, text: str) -> str:
    try:
        return ast.dump(ast.parse(text))
    except SyntaxError as error:
        raise DoesNotFit(f"{mutant.name}: {file} is no Python after it: {error}") from error
