"""What really happened outside: read from git, from files and from the tracker, never from the ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from orchestrator.demo.place import Place
from orchestrator.demo.project import git
from orchestrator.demo.story import PROJECT
from orchestrator.demo.trackers import DemoTracker
from orchestrator.domain.lane_merges import TRAILER
from orchestrator.engine.context import Engine
from orchestrator.ports import Observation, PullRequest
from orchestrator.store import coverage


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge commit on the first-parent line of the base branch. ``effect`` is its trailer: ``task/visit/kind``."""

    sha: str
    effect: str


@dataclass(frozen=True, slots=True)
class Outside:
    """One look at everything outside. ``deploys`` counts log lines by deployment, ``told`` by (title, text)."""

    merges: tuple[Merge, ...]
    tip: str
    branches: frozenset[str]
    images: frozenset[str]
    deploys: Counter[int]
    told: Counter[tuple[str, str]]
    comments: Mapping[str, Counter[str]]
    states: Mapping[str, Counter[str]]
    pull_requests: Mapping[str, Sequence[PullRequest]]
    worktrees: frozenset[str]
    line_rate: Decimal | None
    production: Observation


def look(place: Place, engine: Engine, tracker: DemoTracker, items: Sequence[str], branches: Sequence[str]) -> Outside:
    """Read it all now. ``branches``: every branch that the ledger speaks of."""
    ports, environment = engine.project(PROJECT), place.environment
    with engine.store.transaction() as connection:
        reached = coverage.reached(connection, PROJECT, "main")
    spec = ports.repository.at(ports.workspaces.base_tip()).deploys["production"]
    return Outside(
        merges=_merges(place, environment),
        tip=git(place.repository, environment, "rev-parse", "main"),
        branches=frozenset(
            git(place.repository, environment, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
        ),
        images=frozenset(path.stem for path in place.images.glob("[!.]*.tar")),
        deploys=Counter(int(str(line["deployment"])) for line in _lines(place.deploy_log)),
        told=Counter((str(line["title"]), str(line["text"])) for line in _lines(place.notifications)),
        comments={key: tracker.comments(key) for key in items},
        states={key: tracker.entered(key) for key in items},
        pull_requests={branch: ports.forge.find_pull_requests(branch) for branch in branches},
        worktrees=frozenset(ports.workspaces.worktrees()),
        line_rate=None if reached is None else reached.line_rate,
        production=ports.deployer.observe(spec),
    )


def _merges(place: Place, environment: Mapping[str, str]) -> tuple[Merge, ...]:
    """Along first parents: what a merge brought in with it (an earlier try of the same task) did not land by itself."""
    form = f"--format=%H %(trailers:key={TRAILER},valueonly,separator=%x2C)"
    lines = git(place.repository, environment, "log", "--first-parent", "--merges", form, "main").splitlines()
    return tuple(Merge(*line.partition(" ")[::2]) for line in lines)


def _lines(file: Path) -> list[dict[str, object]]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]
