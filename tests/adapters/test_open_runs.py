"""Which run directories are open, and what it costs to ask."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.adapters import run_directory as files
from orchestrator.adapters.open_runs import OpenRuns


def make_run(base: Path, name: str, *, acknowledged: bool = False) -> Path:
    run_dir = base / name
    run_dir.mkdir(parents=True)
    if acknowledged:
        (run_dir / files.ACKNOWLEDGED).touch()
    return run_dir


def age(base: Path, seconds: float) -> None:
    """As if the last run came that long ago."""
    changed = base.stat().st_mtime - seconds
    os.utime(base, (changed, changed))


def test_a_run_is_open_until_somebody_acknowledges_it(tmp_path: Path) -> None:
    older, newer = make_run(tmp_path, "1"), make_run(tmp_path, "2")
    make_run(tmp_path, "0", acknowledged=True)
    runs = OpenRuns(tmp_path)
    assert list(runs) == [older, newer]
    (older / files.ACKNOWLEDGED).touch()
    assert list(runs) == [newer]
    assert list(OpenRuns(tmp_path)) == [newer]


def test_a_run_that_comes_later_is_seen_although_the_directory_was_listed_before(tmp_path: Path) -> None:
    make_run(tmp_path, "1", acknowledged=True)
    age(tmp_path, 60)
    runs = OpenRuns(tmp_path)
    assert list(runs) == []
    assert list(runs) == []
    assert [one.name for one in [make_run(tmp_path, "2")]] == [one.name for one in runs]


def test_a_run_that_came_in_the_moment_of_a_listing_is_seen_although_the_directory_looks_unchanged(
    tmp_path: Path,
) -> None:
    make_run(tmp_path, "1")
    moment = tmp_path.stat().st_mtime_ns
    runs = OpenRuns(tmp_path)
    assert [one.name for one in runs] == ["1"]
    make_run(tmp_path, "2")
    os.utime(tmp_path, ns=(moment, moment))
    assert [one.name for one in runs] == ["1", "2"]


def test_a_run_that_was_removed_is_open_no_more(tmp_path: Path) -> None:
    gone = make_run(tmp_path, "1")
    runs = OpenRuns(tmp_path)
    assert list(runs) == [gone]
    gone.rmdir()
    assert list(runs) == []


def test_before_the_first_run_there_is_nothing(tmp_path: Path) -> None:
    assert list(OpenRuns(tmp_path / "runs")) == []


def test_the_directory_is_not_listed_again_while_nothing_came(tmp_path: Path) -> None:
    for number in range(20):
        make_run(tmp_path, f"old-{number:04}", acknowledged=True)
    make_run(tmp_path, "open")
    age(tmp_path, 60)
    runs = OpenRuns(tmp_path)
    with _listings() as listings:
        assert [one.name for one in runs] == ["open"]
        assert len(listings) == 1
        assert [one.name for one in runs] == ["open"]
        assert len(listings) == 1


_noted: list[list[str]] = []
"""Where the audit hook, which stays for ever, writes to while somebody wants to know."""


def _note(event: str, _arguments: tuple[object, ...]) -> None:
    if _noted and event in ("os.listdir", "os.scandir"):
        _noted[-1].append(event)


sys.addaudithook(_note)


@contextmanager
def _listings() -> Iterator[list[str]]:
    """An entry for each listing of a directory meanwhile."""
    _noted.append([])
    try:
        yield _noted[-1]
    finally:
        _noted.pop()
