"""Finds secrets in the lines that a diff adds. Few patterns, each anchored on what the issuer puts into its tokens; the
value itself is never repeated."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ALLOW_MARK: Final = "orch:allow-secret"
"""A line that carries this is not judged; it is named in the evidence, so that people see it."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One line that seems to hold a secret. ``allowed``: it carries the mark."""

    path: str
    line: int
    kind: str
    hint: str
    allowed: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind} ({self.hint})"


_ISSUED: Final = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
        ("AWS access key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        ("GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
        ("Gitea token", r"(?i)\bgitea.{0,30}?\b[0-9a-f]{40}\b"),
        ("GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
        ("Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
        ("Slack webhook", r"https://hooks\.slack\.com/services/T\w+/B\w+/\w+"),
        ("Telegram bot token", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
        ("Google API key", r"\bAIza[A-Za-z0-9_-]{35}\b"),
        ("API key of a model provider", r"\bsk-(?:(?:ant|proj)-[A-Za-z0-9_-]{32,}|[A-Za-z0-9]{32,})"),
        ("Stripe live key", r"\b[rs]k_live_[A-Za-z0-9]{16,}"),
        ("package registry token", r"\b(?:npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{50,})"),
    )
)
_SENSITIVE: Final = r"(?:(?:api|access|private|secret)[_-]?key|secret|token|passw(?:or)?d)"
_ASSIGNED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # name = "value", name: 'value', "name": "value", name => "value"
        rf"""(?i)(?<![A-Za-z0-9])[\w.-]*{_SENSITIVE}["']?\s*(?::=|=>|[:=])\s*[rbuf]?(["'])(?P<value>[^"'\s]{{16,200}})\1""",
        # NAME=value alone on its line, as in files of environment variables
        rf"^\s*(?:export\s+)?(?=[A-Z0-9_]*$|[A-Z0-9_]*=)[A-Z0-9_]*(?i:{_SENSITIVE})=(?P<value>[^\s\"'$<{{]{{16,200}})\s*$",
    )
)
_PLACEHOLDER: Final = re.compile(
    r"(?i)example|change.?me|placeholder|your[_-]|xxxx|dummy|redacted|\$\{|\{\{|%\(|<|\.\.\."
)
_BITS_A_CHARACTER: Final = 3.2
"""Random hex has about 3.6 in 32 characters, random base 64 more; words and repeated patterns stay below."""

_HUNK: Final = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")
_ESCAPED: Final = re.compile(rb"\\([0-7]{3}|.)")


def scan(diff: str) -> list[Leak]:
    """Every suspicious line that the unified ``diff`` adds, in its order."""
    return [leak for path, number, line in _added_lines(diff) if (leak := _judge(path, number, line)) is not None]


def _judge(path: str, number: int, line: str) -> Leak | None:
    allowed = ALLOW_MARK in line
    for kind, pattern in _ISSUED:
        found = pattern.search(line)
        if found and not _PLACEHOLDER.search(found[0]):
            return Leak(path, number, kind, f"{len(found[0])} characters", allowed)
    for pattern in _ASSIGNED:
        found = pattern.search(line)
        if found and _looks_random(found["value"]):
            return Leak(path, number, "assigned secret", f"{len(found['value'])} random characters", allowed)
    return None


def _looks_random(value: str) -> bool:
    mixed = re.search(r"[0-9]", value) and re.search(r"[A-Za-z]", value)
    return bool(mixed) and not _PLACEHOLDER.search(value) and _entropy(value) >= _BITS_A_CHARACTER


def _entropy(value: str) -> float:
    """Shannon entropy in bits a character."""
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares)


def _added_lines(diff: str) -> Iterator[tuple[str, int, str]]:
    """(path, line number in the new file, text). Hunks are counted through, so that an added line which looks like a
    header of a diff is still an added line."""
    path, number, left = "", 0, [0, 0]
    for line in diff.split("\n"):
        if left == [0, 0]:
            if line.startswith("+++ "):
                path = _path(line[4:])
            elif hunk := _HUNK.match(line):
                number, left = int(hunk[1]), _sizes(line)
            continue
        kind = line[:1]
        if kind == "+":
            yield path, number, line[1:]
        if kind not in ("-", "\\"):
            number, left[1] = number + 1, left[1] - 1
        if kind not in ("+", "\\"):
            left[0] -= 1


def _sizes(header: str) -> list[int]:
    """How many old and new lines the hunk has."""
    found = re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", header)
    assert found is not None, "the caller matched it"
    return [1 if size is None else int(size) for size in found.groups()]


def _path(shown: str) -> str:
    """A path of a diff's header: without git's ``b/``, its C-style quotes, and the tab that ends a name with spaces."""
    if shown.startswith('"'):
        quoted = shown.strip().strip('"').encode("utf-8", "surrogateescape")
        return _ESCAPED.sub(_unescaped, quoted).decode("utf-8", "replace").removeprefix("b/")
    return shown.partition("\t")[0].removeprefix("b/")


def _unescaped(found: re.Match[bytes]) -> bytes:
    word = found[1]
    if len(word) == 3:
        return bytes([int(word, 8) & 255])
    return {b"t": b"\t", b"n": b"\n", b"r": b"\r"}.get(word, word)
