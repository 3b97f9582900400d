"""Verdicts: what an agent says of its own run. A claim, never a truth; gates are the truth.

Schema ``verdict/1`` (../contracts/agents). ``parse`` is strict and names every error by its path.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
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


_ARTIFACT_KINDS: Final = ("document", "code", "test-report", "log", "other")
_TOP: Final = ("schema", "run_id", "verdict", "summary", "findings", "artifacts", "blocked_on")
_FINDING: Final = ("severity", "title", "detail", "file", "line")
_ARTIFACT: Final = ("path", "kind", "description")


def parse(raw: bytes, run_id: str) -> Verdict | InvalidVerdict:
    """Read a verdict of the run ``run_id`` from ``raw``; every error found is named, none is guessed away."""
    if len(raw) > MAX_BYTES:
        return InvalidVerdict((f"$: {len(raw)} bytes, at most {MAX_BYTES} are allowed",))
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        return InvalidVerdict((f"$: not JSON: {error}",))
    errors = list(_document_errors(document, run_id))
    return InvalidVerdict(tuple(errors)) if errors else _build(document)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"duplicate key {key!r}")
        found[key] = value
    return found


def _document_errors(document: object, run_id: str) -> list[str]:
    if not isinstance(document, dict):
        return ["$: must be an object"]
    errors = _key_errors("$", document, _TOP)
    if errors:
        return errors
    errors += _is("$.schema", document["schema"], ("verdict/1",))
    errors += _is("$.run_id", document["run_id"], (run_id,))
    errors += _is("$.verdict", document["verdict"], tuple(VerdictKind))
    errors += _text("$.summary", document["summary"])
    errors += _each("$.findings", document["findings"], _finding_errors)
    errors += _each("$.artifacts", document["artifacts"], _artifact_errors)
    errors += _text("$.blocked_on", document["blocked_on"], nullable=True)
    return errors or _meaning_errors(document)


def _meaning_errors(document: dict[str, object]) -> list[str]:
    kind, findings = document["verdict"], document["findings"]
    assert isinstance(findings, list)
    severities = [entry["severity"] for entry in findings]
    if kind == VerdictKind.NEEDS_CHANGES and not findings:
        return ["$.findings: needs-changes must name at least one finding"]
    if kind == VerdictKind.PASS and Severity.BLOCKER in severities:
        return ["$.findings: pass must not carry a finding of severity blocker"]
    if kind == VerdictKind.BLOCKED and not document["blocked_on"]:
        return ["$.blocked_on: blocked must say on what"]
    return []


def _key_errors(path: str, value: dict[str, object], keys: tuple[str, ...]) -> list[str]:
    missing = [f"{path}.{key}: is missing" for key in keys if key not in value]
    return missing + [f"{path}.{key}: is not allowed" for key in value if key not in keys]


def _is(path: str, value: object, allowed: tuple[str, ...]) -> list[str]:
    if value in allowed:
        return []
    return [f"{path}: is {value!r}, must be {' | '.join(repr(str(one)) for one in allowed)}"]


def _text(path: str, value: object, *, nullable: bool = False) -> list[str]:
    if value is None and nullable:
        return []
    return [] if isinstance(value, str) else [f"{path}: must be text{' or null' if nullable else ''}"]


def _each(path: str, value: object, check: _Check) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: must be a list"]
    return [error for index, entry in enumerate(value) for error in check(f"{path}[{index}]", entry)]


def _finding_errors(path: str, value: object) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: must be an object"]
    errors = _key_errors(path, value, _FINDING)
    if errors:
        return errors
    line = value["line"]
    errors += _is(f"{path}.severity", value["severity"], tuple(Severity))
    errors += _text(f"{path}.title", value["title"]) + _text(f"{path}.detail", value["detail"])
    errors += _text(f"{path}.file", value["file"], nullable=True)
    if line is not None and (not isinstance(line, int) or isinstance(line, bool)):
        errors.append(f"{path}.line: must be a whole number or null")
    return errors


def _artifact_errors(path: str, value: object) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: must be an object"]
    errors = _key_errors(path, value, _ARTIFACT)
    if errors:
        return errors
    errors += _is(f"{path}.kind", value["kind"], _ARTIFACT_KINDS)
    errors += _text(f"{path}.description", value["description"]) + _text(f"{path}.path", value["path"])
    return errors or _relative(f"{path}.path", str(value["path"]))


def _relative(path: str, value: str) -> list[str]:
    if value and not value.startswith("/") and ".." not in value.split("/"):
        return []
    return [f"{path}: is {value!r}, must be relative and inside the worktree"]


def _build(document: dict[str, object]) -> Verdict:
    findings, artifacts = document["findings"], document["artifacts"]
    assert isinstance(findings, list) and isinstance(artifacts, list)
    return Verdict(
        run_id=str(document["run_id"]),
        kind=VerdictKind(str(document["verdict"])),
        summary=str(document["summary"]),
        findings=tuple(Finding(**{**one, "severity": Severity(one["severity"])}) for one in findings),
        artifacts=tuple(Artifact(**one) for one in artifacts),
        blocked_on=None if document["blocked_on"] is None else str(document["blocked_on"]),
    )


class _Check(Protocol):
    """Shape of an element check; a class only so that the signature has a name."""

    def __call__(self, path: str, value: object) -> list[str]: ...
