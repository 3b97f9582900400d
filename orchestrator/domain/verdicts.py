"""Verdicts: what an agent says of its own run. A claim, never a truth; gates are the truth.

Schema ``verdict/1`` (../contracts/agents). ``parse`` is strict and names every error by its path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final, Protocol

MAX_BYTES: Final = 256 * 1024
"""A verdict file larger than this is refused unread."""

VERDICT_PATH: Final = ".orchestrator/verdict.json"
RUN_ID_PATH: Final = ".orchestrator/run.json"
"""Where the launcher leaves the run id for ``orch verdict put``; beside the verdict, ignored by git."""


class VerdictKind(StrEnum):
    """The four answers an agent can give."""

    PASS = "pass"
    FAIL = "fail"
    NEEDS_CHANGES = "needs-changes"
    BLOCKED = "blocked"


class Severity(StrEnum):
    """How bad a finding is; a ``blocker`` contradicts a pass."""

    BLOCKER = "blocker"
    MAJOR = "major"
    MINOR = "minor"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Severity
    title: str
    detail: str
    file: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class Artifact:
    path: str
    kind: str
    description: str


@dataclass(frozen=True, slots=True)
class Verdict:
    run_id: str
    kind: VerdictKind
    summary: str
    findings: tuple[Finding, ...] = field(default=())
    artifacts: tuple[Artifact, ...] = field(default=())
    blocked_on: str | None = None


@dataclass(frozen=True, slots=True)
class InvalidVerdict:
    """``errors`` are lines ``path: what is wrong``, complete enough to be quoted to the agent."""

    errors: tuple[str, ...]


_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
"""JSON can name these by escapes; Postgres and UTF-8 refuse them."""
_QUOTE_LENGTH: Final = 80
_MOST_ERRORS: Final = 50
_ARTIFACT_KINDS: Final = ("document", "code", "test-report", "log", "other")


def parse(raw: bytes, run_id: str) -> Verdict | InvalidVerdict:
    """Read a verdict of the run ``run_id`` from ``raw``; every error found is named, none is guessed away."""
    if len(raw) > MAX_BYTES:
        return InvalidVerdict((f"$: is too large, at most {MAX_BYTES} bytes are allowed",))
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except _DuplicateKeyError as error:
        return InvalidVerdict((f"$: the key {_quoted(error.key)} stands twice in one object",))
    except (ValueError, RecursionError) as error:
        return InvalidVerdict((f"$: not JSON: {error}",))
    errors = _document_errors(document, run_id)
    if len(errors) > _MOST_ERRORS:
        errors = [*errors[:_MOST_ERRORS], f"$: and {len(errors) - _MOST_ERRORS} more"]
    return InvalidVerdict(tuple(errors)) if errors else _build(document)


class _DuplicateKeyError(ValueError):
    """A reader would take one of two values and drop the other without a word."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateKeyError(key)
        found[key] = value
    return found


def _document_errors(document: object, run_id: str) -> list[str]:
    errors = _object_errors(
        "$",
        document,
        {
            "schema": partial(_is, allowed=("verdict/1",)),
            "run_id": partial(_is, allowed=(run_id,)),
            "verdict": partial(_is, allowed=tuple(VerdictKind)),
            "summary": _text,
            "findings": partial(_each, check=_finding_errors),
            "artifacts": partial(_each, check=_artifact_errors),
            "blocked_on": partial(_text, nullable=True),
        },
    )
    return errors or _meaning_errors(document)


def _object_errors(path: str, value: object, checks: Mapping[str, _Check]) -> list[str]:
    """Exactly the keys of ``checks``, each value good. What is there is checked also when something is missing."""
    if not isinstance(value, dict):
        return [f"{path}: must be an object"]
    errors = [f"{path}.{key}: is missing" for key in checks if key not in value]
    errors += [f"{path}.{_shortened(key)}: is not allowed" for key in value if key not in checks]
    return errors + [one for key, check in checks.items() if key in value for one in check(f"{path}.{key}", value[key])]


def _meaning_errors(document: object) -> list[str]:
    """What no schema says: a verdict that contradicts itself."""
    assert isinstance(document, dict)
    kind, findings = document["verdict"], document["findings"]
    severities = [entry["severity"] for entry in findings]
    if kind == VerdictKind.NEEDS_CHANGES and not findings:
        return ["$.findings: needs-changes must name at least one finding"]
    if kind == VerdictKind.PASS and Severity.BLOCKER in severities:
        return ["$.findings: pass must not carry a finding of severity blocker"]
    if kind == VerdictKind.BLOCKED and not (document["blocked_on"] or "").strip():
        return ["$.blocked_on: blocked must say on what"]
    return []


def _is(path: str, value: object, allowed: tuple[str, ...]) -> list[str]:
    if value in allowed:
        return []
    return [f"{path}: is {_quoted(value)}, must be {' | '.join(repr(str(one)) for one in allowed)}"]


def _text(path: str, value: object, *, nullable: bool = False) -> list[str]:
    if value is None and nullable:
        return []
    if not isinstance(value, str):
        return [f"{path}: must be text{' or null' if nullable else ''}"]
    if _UNSTORABLE.search(value):
        return [f"{path}: holds a character that cannot be stored (NUL or half of a surrogate pair)"]
    return []


def _quoted(value: object) -> str:
    """What the agent wrote, short enough for an error line and on one line."""
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    printable = text if text.isprintable() else ascii(text)
    return printable if len(printable) <= _QUOTE_LENGTH else f"{printable[:_QUOTE_LENGTH]}…"


def _each(path: str, value: object, check: _Check) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: must be a list"]
    return [error for index, entry in enumerate(value) for error in check(f"{path}[{index}]", entry)]


def _finding_errors(path: str, value: object) -> list[str]:
    return _object_errors(
        path,
        value,
        {
            "severity": partial(_is, allowed=tuple(Severity)),
            "title": _text,
            "detail": _text,
            "file": partial(_text, nullable=True),
            "line": _line,
        },
    )


def _line(path: str, value: object) -> list[str]:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return [] if value is None or whole else [f"{path}: must be a whole number or null"]


def _artifact_errors(path: str, value: object) -> list[str]:
    checks: dict[str, _Check] = {"path": _relative, "kind": partial(_is, allowed=_ARTIFACT_KINDS), "description": _text}
    return _object_errors(path, value, checks)


def _relative(path: str, value: object) -> list[str]:
    if errors := _text(path, value):
        return errors
    if value and not str(value).startswith("/") and ".." not in str(value).split("/"):
        return []
    return [f"{path}: is {_quoted(value)}, must be relative and inside the worktree"]


def _build(document: dict[str, object]) -> Verdict:
    findings, artifacts = document["findings"], document["artifacts"]
    assert isinstance(findings, list)
    assert isinstance(artifacts, list)
    return Verdict(
        run_id=str(document["run_id"]),
        kind=VerdictKind(str(document["verdict"])),
        summary=str(document["summary"]),
        findings=tuple(Finding(**{**one, "severity": Severity(one["severity"])}) for one in findings),
        artifacts=tuple(Artifact(**one) for one in artifacts),
        blocked_on=None if document["blocked_on"] is None else str(document["blocked_on"]),
    )


class _Check(Protocol):
    """What one value must be; the errors, each with the path it was called with."""

    def __call__(self, path: str, value: object, /) -> list[str]: ...


def as_document(verdict: Verdict) -> dict[str, object]:
    """The verdict in the form it was filed in, as it is stored; ``parse`` reads it back."""
    return {
        "schema": "verdict/1",
        "run_id": verdict.run_id,
        "verdict": str(verdict.kind),
        "summary": verdict.summary,
        "findings": [{**asdict(one), "severity": str(one.severity)} for one in verdict.findings],
        "artifacts": [asdict(one) for one in verdict.artifacts],
        "blocked_on": verdict.blocked_on,
    }
