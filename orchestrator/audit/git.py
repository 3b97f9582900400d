"""I1, I2, I7, I14 and I16 in git: what landed on the base branch, what was confirmed, and what is left over.

Rows are read before git and after it: what the earlier read shows as confirmed must be in git, and what has landed must
have its claim in the later one, since claims come first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.audit.breaches import Breach, Seen
from orchestrator.domain.errors import ConfigurationError, OrchestratorError, UsageError
from orchestrator.domain.lane_merges import merge_of
from orchestrator.domain.views import EffectStatus
from orchestrator.engine.context import Engine
from orchestrator.ports import CommitRecord, ProjectPorts, Workspaces
from orchestrator.store.audit import Scope, facts
from orchestrator.store.audit.facts import Ended, Merge

FIRST_PARENTS: Final = 50_000
"""So many commits of a base branch are read, newest first; an older merge is asked for by its SHA."""
_SHORT: Final = 12


@dataclass(frozen=True, slots=True)
class Landing:
    """A commit of the base branch that says it is the merge built for a visit of a task."""

    sha: str
    task_id: int
    visit: int


@dataclass(frozen=True, slots=True)
class Repository:
    """The base branch and the branches of a forge, as one look saw them."""

    workspaces: Workspaces
    tip: str
    base: Mapping[str, CommitRecord]
    branches: Mapping[str, str]
    worktrees: frozenset[str]

    def landings(self) -> list[Landing]:
        """Our merges on the base branch, newest first."""
        named = [(one.sha, merge_of(one.message)) for one in self.base.values() if len(one.parents) > 1]
        return [Landing(sha, *task) for sha, task in named if task is not None]

    def tree_on_base(self, sha: str) -> str | None:
        """The tree of a commit that the base branch has; None when it has it not. Raises UsageError for no commit."""
        if sha in self.base:
            return self.base[sha].tree
        return self.workspaces.tree_of(sha) if self.workspaces.is_ancestor(sha, self.tip) else None


def look(engine: Engine, project: str, scope: Scope) -> Seen:
    """One look at a project's git."""
    with engine.store.snapshot() as connection:
        before, ended = facts.merges(connection, scope, project), facts.ended(connection, scope, project)
    try:
        repository = _read(engine.project(project))
        with engine.store.snapshot() as connection:
            after = facts.merges(connection, Scope(), project)
            names = facts.names(connection, scope, project)
        landings = [one for one in repository.landings() if one.task_id in names or scope == Scope()]
        found = [
            *_landed_twice(landings, names),
            *_landed_without_claim(landings, after, names),
            *(breach for row in before if row.confirmed for breach in _not_as_decided(repository, row)),
            *(breach for task in ended for breach in _left_over(repository, task)),
        ]
    except OrchestratorError as error:
        return Seen(unread=(f"{project}: {error.message}",))
    return Seen(tuple(found), landings=len(landings))


def _read(ports: ProjectPorts) -> Repository:
    workspaces = ports.workspaces
    tip = workspaces.base_tip()
    workspaces.fetch()
    history: Sequence[CommitRecord] = workspaces.history(tip, FIRST_PARENTS)
    base = {one.sha: one for one in history}
    return Repository(workspaces, tip, base, workspaces.branches(), frozenset(workspaces.worktrees()))


def _landed_twice(landings: Sequence[Landing], names: Mapping[int, str]) -> Iterator[Breach]:
    by_visit: dict[tuple[int, int], list[str]] = defaultdict(list)
    for one in landings:
        by_visit[one.task_id, one.visit].append(one.sha[:_SHORT])
    for (task_id, visit), shas in by_visit.items():
        if len(shas) > 1:
            evidence = f"visit {visit} was merged {len(shas)} times: {', '.join(shas)}"
            yield Breach("I1", _name(names, task_id), evidence)


def _landed_without_claim(
    landings: Sequence[Landing], merges: Sequence[Merge], names: Mapping[int, str]
) -> Iterator[Breach]:
    by_task: dict[int, list[Merge]] = defaultdict(list)
    for row in merges:
        by_task[row.task_id].append(row)
    for one in landings:
        claims = by_task[one.task_id]
        where = f"{one.sha[:_SHORT]} is on the base branch"
        if not any(one.sha in (row.request.get("candidate"), row.result.get("merge_sha")) for row in claims):
            yield Breach("I14", _name(names, one.task_id), f"{where} without a claim")
        for row in claims:
            taken_back = row.status in (EffectStatus.REVOKED, EffectStatus.REFUSED)
            if taken_back and row.request.get("candidate") == one.sha and not _confirmed(claims, one.sha):
                yield Breach("I2", row.work_item, f"{where}, and {row.name} was {row.status} at {row.settled_at}")


def _confirmed(claims: Sequence[Merge], sha: str) -> bool:
    return any(row.confirmed and row.result.get("merge_sha") == sha for row in claims)


def _name(names: Mapping[int, str], task_id: int) -> str:
    return names.get(task_id, f"task {task_id}")


def _not_as_decided(repository: Repository, row: Merge) -> Iterator[Breach]:
    sha = row.result.get("merge_sha", "")
    told = f"{row.name} was confirmed at {row.settled_at}"
    try:
        tree = repository.tree_on_base(sha)
    except ConfigurationError:
        raise
    except UsageError:
        yield Breach("I14", row.work_item, f"{told}, and {sha[:_SHORT] or 'its commit'} is nowhere to be found")
        return
    if tree is None:
        yield Breach("I14", row.work_item, f"{told}, and {sha[:_SHORT]} is not on the base branch")
    elif "by_hand" not in row.result and row.request.get("tree") not in ("", None, tree):
        yield Breach(
            "I2", row.work_item, f"{told}, and {sha[:_SHORT]} has another tree ({tree[:_SHORT]}) than the tested one"
        )


def _left_over(repository: Repository, task: Ended) -> Iterator[Breach]:
    if task.branch in repository.worktrees:
        yield Breach("I16", task.work_item, f"it is {task.stage} and its worktree {task.branch} is still on this node")
    if not task.keeps_branch and task.branch in repository.branches:
        at = repository.branches[task.branch][:_SHORT]
        yield Breach(
            "I16", task.work_item, f"it is {task.stage} and its branch {task.branch} is still at the forge ({at})"
        )
