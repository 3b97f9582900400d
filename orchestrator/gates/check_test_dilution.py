"""``check_test_dilution``: no test is removed or emptied on the way to green."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from orchestrator.domain.images import recipe_paths
from orchestrator.domain.views import GateResult
from orchestrator.gates.census import CountedTest, census_of
from orchestrator.gates.context import GateContext
from orchestrator.gates.merge_results import candidate_of
from orchestrator.gates.results import Bound, digest, listed
from orchestrator.ports import Workspaces

NAME: Final = "check_test_dilution"
_COLLECTED: Final = re.compile(r"test_.*\.py|.*_test\.py|tests?\.py")
"""Names of files that test runners look into by default."""
_CODE: Final = re.compile(
    r".*\.(?:[cm]?[jt]sx?|go|rb|java|kts?|scala|rs|c|cc|cpp|hh?|hpp|cs|php|swift|sh|bats|exs?|clj|dart|lua|p[lm]|t|feature)"
)
_SHRUNK_TO: Final = 0.5
"""A test file of another language that loses more than this share of its lines is taken for emptied."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What was lost: a test of ``path``, or (``name`` empty) the whole file. ``may_be_meant``: it can be allowed."""

    path: str
    what: str
    name: str = ""
    may_be_meant: bool = True

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.path, self.name, self.what)))

    def is_allowed(self, patterns: Sequence[str]) -> bool:
        """Whether the base branch names this file or ``path::name`` as one that may go."""
        names = (self.path, f"{self.path}::{self.name}")
        return self.may_be_meant and bool(recipe_paths(names, patterns))


def check(context: GateContext) -> GateResult:
    """Compares the tests of the base branch with those of the merge result. A test that moved to another file or has
    another name with the same body is still there. One that the base branch's configuration names may go."""
    gates = context.repository.gates
    patterns = gates.test_paths
    config = digest(NAME, patterns, gates.removable_tests)
    candidate = candidate_of(context, config)
    if isinstance(candidate, GateResult):
        return candidate
    bound, workspaces = Bound(context, config, candidate.tree_sha), context.ports.workspaces
    base, merged = context.base_sha, candidate.commit_sha
    changed = workspaces.changed_files(base, merged)
    paths = recipe_paths(changed, patterns)
    lost = [*_lost_python_tests(workspaces, base, merged, paths), *_lost_files(workspaces, base, merged, paths)]
    unasked = [str(one) for one in lost if not one.is_allowed(gates.removable_tests)]
    if unasked:
        return bound.failed(
            f"tests were removed or emptied:\n{listed(unasked)}\nPut them back, and mend the code instead. Where a "
            "test is wrong, change what it asserts; a person can remove one on the base branch, or name it there under "
            "gates.removable_tests of .orchestrator.yml."
        )
    if lost:
        return bound.passed(f"tests went that may go by the base branch:\n{listed(list(map(str, lost)))}")
    return bound.passed(f"{len(paths)} changed test files; no test was removed or emptied")


def _lost_python_tests(workspaces: Workspaces, base: str, merged: str, paths: Sequence[str]) -> Iterator[Loss]:
    modules = [path for path in paths if path.endswith(".py")]
    before = [test for path in modules for test in _tests_at(workspaces, base, path) or ()]
    after = []
    for path in modules:
        tests = _tests_at(workspaces, merged, path)
        if tests is None:
            yield Loss(path, "does not parse, so none of its tests runs", may_be_meant=False)
        after += tests or []
    yield from _compared(before, after)


def _compared(before: Sequence[CountedTest], after: Sequence[CountedTest]) -> Iterator[Loss]:
    """Pairs each test with one that stands for it now: best the same name in the same file, then the same name
    anywhere, then the same body under another name."""
    free = list(after)
    unpaired = list(before)
    for same in (_same_place, _same_name, _same_body):
        still = []
        for old in unpaired:
            new = next((one for one in free if same(old, one) and _is_collected_as_well(old, one)), None)
            if new is None:
                still.append(old)
                continue
            free.remove(new)
            if new.worth < old.worth:
                yield Loss(new.path, "emptied or skipped", new.name)
        unpaired = still
    yield from (Loss(old.path, "removed", old.name) for old in unpaired if old.worth)


def _same_place(old: CountedTest, new: CountedTest) -> bool:
    return (old.path, old.name) == (new.path, new.name)


def _same_name(old: CountedTest, new: CountedTest) -> bool:
    return old.name == new.name


def _same_body(old: CountedTest, new: CountedTest) -> bool:
    return old.body == new.body


def _is_collected_as_well(old: CountedTest, new: CountedTest) -> bool:
    """A test in a file that runners do not look into is no stand-in for one in a file that they do."""
    return _is_collected(new.path) or not _is_collected(old.path)


def _is_collected(path: str) -> bool:
    return _COLLECTED.fullmatch(PurePosixPath(path).name) is not None


def _tests_at(workspaces: Workspaces, sha: str, path: str) -> list[CountedTest] | None:
    content = workspaces.read_file(sha, path)
    return [] if content is None else census_of(path, content.decode("utf-8", "replace"))


def _lost_files(workspaces: Workspaces, base: str, merged: str, paths: Sequence[str]) -> Iterator[Loss]:
    """Other languages: a test file that is gone, or lost most of its lines."""
    others = [path for path in paths if _CODE.fullmatch(path)]
    sizes = {path: (_lines(workspaces, base, path), _lines(workspaces, merged, path)) for path in others}
    arrived = {PurePosixPath(path).name: after for path, (before, after) in sizes.items() if not before}
    for path, (before, after) in sizes.items():
        now = after or arrived.get(PurePosixPath(path).name, 0)
        if before and not now:
            yield Loss(path, "removed")
        elif now < before * _SHRUNK_TO:
            yield Loss(path, f"shrunk from {before} to {now} lines")


def _lines(workspaces: Workspaces, sha: str, path: str) -> int:
    content = workspaces.read_file(sha, path)
    return 0 if content is None else sum(1 for line in content.splitlines() if line.strip())
