"""``check_security``: the configured command finds nothing, and no secret is committed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from orchestrator.domain.views import GateResult
from orchestrator.gates.commands import run_in_checkout
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest, head_of, listed, short
from orchestrator.gates.secret_scan import ALLOW_MARK, Leak, scan

NAME: Final = "check_security"
_PATTERNS: Final = 1
"""Version of the secret scan: a pass of an older one does not count."""
_MOST_COMMITS: Final = 200


def check(context: GateContext) -> GateResult:
    """Judges the merge result, or the head where there is none. Every commit of the branch is scanned for secrets:
    what a later one takes out would land in the history of the base branch all the same."""
    candidate = context.candidate
    judged = head_of(context) if candidate is None else candidate.commit_sha
    bound = Bound(context, _config_digest(context), None if candidate is None else candidate.tree_sha)
    leaks = _leaks(context, judged)
    refused = [str(one) for one in leaks if not one.allowed]
    if refused:
        return bound.failed(
            f"what looks like a secret is committed:\n{listed(refused)}\nTake it out of every commit of the branch and "
            f"renew it where it was real. Where it is none, write {ALLOW_MARK} in a comment on its line."
        )
    notes = [f"no secret was found in what {short(judged)} adds"]
    if leaks:
        notes.append(f"lines that carry {ALLOW_MARK}:\n{listed([str(one) for one in leaks])}")
    command = context.repository.gates.security_command
    if not command:
        return bound.passed("\n".join([*notes, "no security command is configured"]))
    ran = run_in_checkout(context, judged, "the security command", command)
    return bound.passed("\n".join([*notes, ran.evidence])) if ran.succeeded else bound.failed(ran.evidence)


def fingerprint(context: GateContext) -> tuple[str, str] | None:
    """The same tree on the same base under the same command gives the same answer."""
    if context.candidate is None:
        return None
    return context.candidate.tree_sha, _config_digest(context)


def _config_digest(context: GateContext) -> str:
    """Head and base belong to it: two histories that end in one tree need not add the same lines on their way."""
    repository = context.repository
    command = (repository.setup, repository.gates.security_command, repository.gates.timeout_s)
    return digest(NAME, _PATTERNS, context.base_sha, context.view.head_sha, command)


def _leaks(context: GateContext, judged: str) -> list[Leak]:
    workspaces = context.ports.workspaces
    found = {(one.path, one.kind, one.line): one for one in scan(workspaces.diff(context.base_sha, judged))}
    for parent, commit in _commits(context):
        for one in scan(workspaces.diff(parent, commit)):
            known = any(path == one.path and kind == one.kind for path, kind, _line in found)
            if not known:
                there = Leak(f"{short(commit)} {one.path}", one.line, one.kind, one.hint, one.allowed)
                found[there.path, there.kind, there.line] = there
    return list(found.values())


def _commits(context: GateContext) -> Iterator[tuple[str, str]]:
    """(parent, commit) along the branch down to the base. Merges bring what others committed: their own lines stand in
    the diff of the whole."""
    workspaces = context.ports.workspaces
    for commit, parents in workspaces.first_parents(head_of(context), _MOST_COMMITS):
        if workspaces.is_ancestor(commit, context.base_sha):
            return
        if len(parents) == 1:
            yield parents[0], commit
