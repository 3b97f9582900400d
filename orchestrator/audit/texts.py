"""I18: the values of the known secrets in what is stored, and in what agents and their shims wrote on this node."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from orchestrator.audit.breaches import Breach, Seen
from orchestrator.logs import spellings
from orchestrator.store.audit import stored_texts

SHORTEST: Final = 8
"""A shorter secret, or one of letters alone, is a word that texts hold by chance."""
_BLOCK: Final = 1 << 20
_MOST_BYTES: Final = 2 << 30
"""So much of the runs is read, newest first."""


def _needles(secrets: Mapping[str, str]) -> dict[bytes, str]:
    """The variable by every spelling of its secret."""
    return {
        spelled.encode(): name
        for name, secret in secrets.items()
        if _is_telling(secret)
        for spelled in spellings(secret)
    }


def _is_telling(secret: str) -> bool:
    return len(secret) >= SHORTEST and not secret.isalpha()


def stored(connection: Connection, secrets: Mapping[str, str]) -> Seen:
    """Every stored text."""
    needles = _needles(secrets)
    leaks = stored_texts.leaks(connection, tuple(needles)) if needles else ()
    found = [Breach("I18", one.work_item or "-", f"{one.kind} {one.id} holds {needles[one.needle]}") for one in leaks]
    return Seen(tuple(found))


def not_searched(secrets: Mapping[str, str]) -> tuple[str, ...]:
    """Which secrets are too plain to be looked for, in words."""
    plain = [name for name, secret in secrets.items() if not _is_telling(secret)]
    return tuple(f"texts were not searched for {name}, which is too short or a plain word" for name in plain)


def written(runs_dir: Path, secrets: Mapping[str, str]) -> Seen:
    """Every file of the run directories of this node."""
    needles = _needles(secrets)
    if not needles or not runs_dir.is_dir():
        return Seen()
    found: list[Breach] = []
    left = _MOST_BYTES
    for file in _newest_first(runs_dir):
        left -= _size(file)
        if left < 0:
            return Seen(tuple(found), (f"run outputs older than {file.parent.name} were not searched",))
        names = sorted({needles[one] for one in _in_file(file, tuple(needles))})
        found += [Breach("I18", "-", f"{file.relative_to(runs_dir)} holds {name}") for name in names]
    return Seen(tuple(found))


def _newest_first(runs_dir: Path) -> Iterator[Path]:
    folders = sorted(runs_dir.iterdir(), key=_age, reverse=True)
    for folder in folders:
        for base, _folders, names in os.walk(folder):
            yield from (Path(base) / name for name in sorted(names) if (Path(base) / name).is_file())


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _in_file(file: Path, needles: Sequence[bytes]) -> set[bytes]:
    """The needles in a file that may vanish meanwhile, also those that lie across two blocks."""
    found: set[bytes] = set()
    overlap = max(map(len, needles)) - 1
    try:
        with file.open("rb") as opened:
            kept = b""
            while block := opened.read(_BLOCK):
                data = kept + block
                found.update(one for one in needles if one in data)
                kept = data[-overlap:] if overlap else b""
    except OSError:
        return found
    return found
