"""What the merge call answers, in the order in which Gitea checks. Most refusals are 405, some are 500."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.demo.doubles.gitea.forge import ForgeState
from orchestrator.demo.doubles.gitea.records import Person, Pull
from orchestrator.demo.doubles.http_server import Reply

_STYLES: Final = ("merge", "rebase", "rebase-merge", "squash", "fast-forward-only", "manually-merged")
_LATER: Final = "Please try again later"
_UNTOLD: Final = Reply(500, {"message": "", "url": ""})
"""What is not mapped to an answer of its own; the message is empty in production."""


def said(status: int, message: str) -> Reply:
    """An error as the API writes it."""
    return Reply(status, {"message": message, "url": ""})


def merge(forge: ForgeState, number: int, asked: Mapping[str, object], by: Person, *, half_done: bool) -> Reply:
    """One merge call. ``half_done``: git has it in the end, and the records do not."""
    pull = forge.pulls.get(number)
    style = str(asked.get("Do") or asked.get("do") or "")
    if style not in _STYLES:
        return said(422, "[Do]: Required")
    if pull is None or (pull.closed and not pull.merged):
        return said(404, "")
    if pull.merged:
        return said(405, "The PR is already merged")
    if not by.may_write or not forge.rules.may_merge(pull.base, by.login):
        return said(405, "User not allowed to merge PR")
    if style == "manually-merged":
        return _by_hand(forge, pull, str(asked.get("MergeCommitID") or ""), by)
    return _checked(forge, pull, asked, style) or _land(forge, pull, style, by, half_done=half_done)


def _by_hand(forge: ForgeState, pull: Pull, sha: str, by: Person) -> Reply:
    if not forge.rules.manual_merge:
        return said(405, "manually-merged is not allowed an allowed merge style for this repository")
    base = forge.tip(pull.base)
    if base is None or not forge.git.is_commit(sha) or not forge.git.has(base, sha):
        return said(409, "Wrong commit ID")
    forge.end_merged(pull, sha, by)
    return Reply(200)


def _checked(forge: ForgeState, pull: Pull, asked: Mapping[str, object], style: str) -> Reply | None:
    """The refusal, if there is one; nothing has been changed by then."""
    if pull.title.startswith(("WIP:", "[WIP]")):
        return said(405, "Work in progress PRs cannot be merged")
    head, base = forge.tip(pull.head), forge.tip(pull.base)
    if head is None or base is None or not forge.is_checked(pull) or forge.git.has(base, head):
        return said(405, _LATER)
    if not forge.git.merges_cleanly(base, head):
        return said(405, _LATER)
    refusal = _protected(forge, pull, head)
    if refusal is not None:
        return refusal
    if style == "fast-forward-only" and not forge.rules.fast_forward:
        return said(405, f"{style} is not allowed an allowed merge style for this repository")
    if asked.get("head_commit_id") not in (None, "", head):
        return said(409, "head out of date")
    return None


def _protected(forge: ForgeState, pull: Pull, head: str) -> Reply | None:
    rule = forge.rules.rule_for(pull.base)
    if rule is None:
        return None
    if rule.get("enable_status_check"):
        states = {one.context: one.state for one in forge.newest_statuses(head)}
        wanted = rule.get("status_check_contexts")
        if any(states.get(str(one)) != "success" for one in (wanted if isinstance(wanted, list) else [])):
            return said(405, "Not all required status checks successful")
    wanted_approvals = rule.get("required_approvals")
    given = {one.by.login for one in forge.reviews if one.pull == pull.number and one.state == "APPROVED"}
    if isinstance(wanted_approvals, int) and len(given) < wanted_approvals:
        return said(405, "Does not have enough approvals")
    return None


def _land(forge: ForgeState, pull: Pull, style: str, by: Person, *, half_done: bool) -> Reply:
    head, base = forge.tip(pull.head) or "", forge.tip(pull.base) or ""
    landed: str | None = head
    if style == "fast-forward-only":
        if not forge.git.has(head, base):
            return _UNTOLD
    else:
        landed = forge.git.merge_commit(base, head, f"Merge pull request '{pull.title}' (#{pull.number})")
    if landed is None or not forge.git.move((pull.base, base, landed)):
        return said(409, "merge push out of date")
    if half_done:
        return _UNTOLD
    forge.end_merged(pull, landed, by)
    forge.notice(by)
    return Reply(200)
