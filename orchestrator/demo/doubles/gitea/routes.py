"""The calls of Gitea's API v1 that the double answers: path by path, with the answers and habits of 1.27."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from orchestrator.demo.doubles.gitea.forge import ForgeState
from orchestrator.demo.doubles.gitea.merging import merge, said
from orchestrator.demo.doubles.gitea.records import Comment, Hook, Person, Review, Status, now
from orchestrator.demo.doubles.http_server import Reply, Request

T = TypeVar("T")
VERSION: Final = "1.27.0"
_MOST: Final = 50
_PROTECTION: Final = (
    "rule_name", "branch_name", "required_approvals", "enable_status_check", "status_check_contexts", "enable_push",
    "block_on_outdated_branch", "dismiss_stale_approvals", "block_admin_merge_override", "enable_merge_whitelist",
    "merge_whitelist_usernames", "enable_push_whitelist", "push_whitelist_usernames", "enable_force_push",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One request of somebody who may make it. ``words`` are the variable parts of its path."""

    forge: ForgeState
    person: Person
    request: Request
    words: Sequence[str]

    @property
    def asked(self) -> Mapping[str, object]:
        found = self.request.json
        return found if isinstance(found, dict) else {}

    def text(self, name: str) -> str:
        return str(self.asked.get(name) or "")

    def page_of(self, rows: Sequence[T]) -> tuple[Sequence[T], dict[str, str]]:
        """The page that was asked for (no more than 50, whatever was asked), and the true count."""
        query = self.request.query
        limit = min(int(query.get("limit") or 30) or 30, _MOST)
        first = (max(int(query.get("page") or 1), 1) - 1) * limit
        return rows[first : first + limit], {"X-Total-Count": str(len(rows))}


Handler = Callable[[Call], Reply]
_NOTHING: Final = said(404, "The target couldn't be found.")


def _version(call: Call) -> Reply:
    return Reply(200, {"version": VERSION})


def _user(call: Call) -> Reply:
    return Reply(200, call.forge.shapes.person(call.person))


def _token(call: Call) -> Reply:
    scopes = sorted(call.person.scopes)
    return Reply(200, {"id": 1, "name": "orchestrator", "scopes": scopes})


def _repository(call: Call) -> Reply:
    return Reply(200, call.forge.shapes.repository(call.person))


def _edit_repository(call: Call) -> Reply:
    if call.person.right != "admin":
        return said(403, "user should be an owner or a collaborator with admin write of a repository")
    rules = call.forge.rules
    rules.fast_forward = bool(call.asked.get("allow_fast_forward_only_merge", rules.fast_forward))
    rules.manual_merge = bool(call.asked.get("allow_manual_merge", rules.manual_merge))
    rules.autodetect_manual_merge = bool(call.asked.get("autodetect_manual_merge", rules.autodetect_manual_merge))
    return _repository(call)


def _branch(call: Call) -> Reply:
    tip = call.forge.tip(call.words[0])
    return _NOTHING if tip is None else Reply(200, call.forge.shapes.branch(call.words[0], tip, call.person))


def _compare(call: Call) -> Reply:
    base, _, head = call.words[0].partition("...")
    git = call.forge.git
    ends = [one if git.is_commit(one) else call.forge.tip(one) for one in (base, head)]
    if None in ends:
        return _NOTHING
    return Reply(200, {"total_commits": git.count(str(ends[0]), str(ends[1])), "commits": []})


# --- pull requests -------------------------------------------------------------------------------------------


def _pulls(call: Call) -> Reply:
    query = call.request.query
    rows, headers = call.page_of(list(call.forge.pulls_sorted(query.get("state", "open"), query.get("sort", ""))))
    return Reply(200, [call.forge.pull_json(one, call.person) for one in rows], headers)


def _open(call: Call) -> Reply:
    forge, head, base = call.forge, call.text("head"), call.text("base")
    if not call.person.may_write:
        return said(403, "user should have a permission to write to the repository")
    if forge.tip(base) is None or forge.tip(head) is None:
        return _NOTHING
    if head == base:
        return said(422, "Invalid PullRequest: There are no changes between the head and the base")
    for one in forge.pulls.values():
        if one.is_open and (one.head, one.base) == (head, base):
            number = one.number
            return said(
                409, f"pull request already exists for these targets [id: {1000 + number}, issue_id: {number}, ...]"
            )
    made = forge.add_pull(head, base, call.text("title"), call.text("body"), call.person)
    return Reply(201, forge.pull_json(made, call.person))


def _pull(call: Call) -> Reply:
    pull = call.forge.pulls.get(int(call.words[0]))
    if pull is None:
        return _NOTHING
    call.forge.look(pull)
    return Reply(200, call.forge.pull_json(pull, call.person))


def _edit_pull(call: Call) -> Reply:
    pull = call.forge.pulls.get(int(call.words[0]))
    if pull is None:
        return _NOTHING
    pull.title = call.text("title") or pull.title
    pull.body = call.text("body") or pull.body
    state = call.text("state")
    if state and pull.merged:
        return said(412, "cannot change state of this pull request, it was already merged")
    if state and pull.closed != (state == "closed"):
        pull.closed, pull.changed_at = state == "closed", now()
        pull.ended_at = now() if pull.closed else None
        call.forge.tell_of_pull(pull, "closed" if pull.closed else "reopened", call.person)
    return Reply(201, call.forge.pull_json(pull, call.person))


def _merge(call: Call) -> Reply:
    return merge(call.forge, int(call.words[0]), call.asked, call.person, half_done=call.request.half_done)


def _reviews(call: Call) -> Reply:
    pull = call.forge.pulls.get(int(call.words[0]))
    if pull is None:
        return _NOTHING
    rows, headers = call.page_of([one for one in call.forge.reviews if one.pull == pull.number])
    tip = call.forge.tip(pull.head) or ""
    return Reply(200, [call.forge.shapes.review(one, tip) for one in rows], headers)


def _add_review(call: Call) -> Reply:
    pull = call.forge.pulls.get(int(call.words[0]))
    if pull is None:
        return _NOTHING
    event, body = call.text("event"), call.text("body")
    if call.person.login == pull.author.login and event in ("APPROVED", "REQUEST_CHANGES"):
        return said(422, "approve your own pull is not allowed")
    commit = call.text("commit_id") or call.forge.tip(pull.head) or ""
    made = Review(call.forge.next_key(), pull.number, event, body, commit, call.person, now())
    call.forge.reviews.append(made)
    _tell_of_review(call, made)
    return Reply(200, call.forge.shapes.review(made, commit))


_REVIEWS: Final = {
    "APPROVED": ("pull_request_approved", "pull_request_review_approved"),
    "REQUEST_CHANGES": ("pull_request_rejected", "pull_request_review_rejected"),
    "COMMENT": ("pull_request_comment", "pull_request_review_comment"),
}


def _tell_of_review(call: Call, made: Review) -> None:
    if made.state not in _REVIEWS:
        return
    event, kind = _REVIEWS[made.state]
    pull = call.forge.pulls[made.pull]
    body = {
        "action": "reviewed",
        "number": pull.number,
        "pull_request": call.forge.pull_json(pull, call.person),
        "requested_reviewer": None,
        "commit_id": "",
        "review": {"type": kind, "content": made.body},
    }
    call.forge.tell(event, kind, body, call.person)


# --- statuses and comments -----------------------------------------------------------------------------------


def _combined(call: Call) -> Reply:
    sha = call.words[0]
    if not call.forge.git.is_commit(sha):
        return _NOTHING
    page, headers = call.page_of(call.forge.newest_statuses(sha))
    return Reply(200, call.forge.shapes.combined(sha, page, call.person), headers)


def _set_status(call: Call) -> Reply:
    sha = call.words[0]
    if not call.person.may_write:
        return said(403, "user should have a permission to write to the repository")
    if not call.forge.git.is_commit(sha):
        return said(500, "")
    made = Status(
        call.forge.next_key(),
        sha,
        call.text("context") or "default",
        call.text("state") or "pending",
        call.text("description"),
        call.text("target_url"),
        call.person,
        now(),
    )
    call.forge.statuses.append(made)
    body = {
        "sha": sha,
        "state": made.state,
        "context": made.context,
        "description": made.description,
        "target_url": made.target_url,
        "id": made.key,
        "commit": {"id": sha},
        "created_at": made.at,
        "updated_at": made.at,
    }
    call.forge.tell("status", "status", body, call.person)
    return Reply(201, call.forge.shapes.status(made))


def _comments(call: Call) -> Reply:
    if int(call.words[0]) not in call.forge.pulls:
        return said(500, "")
    rows = [one for one in call.forge.comments.values() if one.pull == int(call.words[0])]
    return Reply(200, [call.forge.shapes.comment(one) for one in rows])


def _add_comment(call: Call) -> Reply:
    pull = call.forge.pulls.get(int(call.words[0]))
    if pull is None:
        return _NOTHING
    made = Comment(call.forge.next_key(), pull.number, call.text("body"), call.person, now())
    call.forge.comments[made.key] = made
    shapes = call.forge.shapes
    issue = {"number": pull.number, "title": pull.title, "body": pull.body, "state": "open"}
    whole = call.forge.pull_json(pull, call.person)
    body = {
        "action": "created",
        "issue": issue,
        "pull_request": whole,
        "comment": shapes.comment(made),
        "is_pull": True,
    }
    call.forge.tell("issue_comment", "pull_request_comment", body, call.person)
    return Reply(201, shapes.comment(made))


def _delete_comment(call: Call) -> Reply:
    made = call.forge.comments.get(int(call.words[0]))
    if made is None:
        return _NOTHING
    if made.by.login != call.person.login and call.person.right != "admin":
        return said(403, "")
    del call.forge.comments[made.key]
    return Reply(204)


# --- hooks and protection ------------------------------------------------------------------------------------


def _for_admins(handler: Handler) -> Handler:
    def guarded(call: Call) -> Reply:
        if call.person.right != "admin":
            return said(403, "user should be an owner or a collaborator with admin write of a repository")
        return handler(call)

    return guarded


def _hooks(call: Call) -> Reply:
    rows, headers = call.page_of(list(call.forge.hooks.values()))
    return Reply(200, [call.forge.shapes.hook(one) for one in rows], headers)


def _add_hook(call: Call) -> Reply:
    config = call.asked.get("config")
    if not isinstance(config, dict) or not str(config.get("url", "")).startswith("http"):
        return said(422, "Invalid url")
    events = call.asked.get("events")
    made = Hook(
        call.forge.next_key(),
        str(config["url"]),
        str(config.get("secret") or ""),
        tuple(map(str, events)) if isinstance(events, list) and events else ("push",),
        call.asked.get("active") is True,
    )
    call.forge.hooks[made.key] = made
    return Reply(201, call.forge.shapes.hook(made))


def _delete_hook(call: Call) -> Reply:
    return _NOTHING if call.forge.hooks.pop(int(call.words[0]), None) is None else Reply(204)


def _ping_hook(call: Call) -> Reply:
    if int(call.words[0]) not in call.forge.hooks:
        return _NOTHING
    tip = call.forge.tip("main") or ""
    pushed = {"ref": "refs/heads/main", "before": tip, "after": tip, "commits": [], "total_commits": 0}
    pusher = call.forge.shapes.person(call.person)
    call.forge.tell("push", "push", {**pushed, "head_commit": None, "compare_url": "", "pusher": pusher}, call.person)
    return Reply(204)


def _protections(call: Call) -> Reply:
    return Reply(200, [dict(one) for one in call.forge.rules.protected.values()])


def _protect(call: Call) -> Reply:
    name = call.text("rule_name") or call.text("branch_name")
    if name in call.forge.rules.protected:
        return said(403, "Branch protection already exist")
    made = {one: call.asked[one] for one in _PROTECTION if one in call.asked}
    call.forge.rules.protected[name] = {**made, "rule_name": name, "branch_name": name}
    return Reply(201, call.forge.rules.protected[name])


_REPO: Final = r"/repos/[^/]+/[^/]+"
_N: Final = r"(\d+)"
ROUTES: Final[tuple[tuple[str, re.Pattern[str], str, Handler], ...]] = tuple(
    (method, re.compile(path), area, handler)
    for method, path, area, handler in (
        ("GET", "/version", "", _version),
        ("GET", "/user", "user", _user),
        ("GET", "/token", "", _token),
        ("GET", _REPO, "repository", _repository),
        ("PATCH", _REPO, "repository", _edit_repository),
        ("GET", f"{_REPO}/branches/(.+)", "repository", _branch),
        ("GET", f"{_REPO}/compare/(.+)", "repository", _compare),
        ("GET", f"{_REPO}/pulls", "repository", _pulls),
        ("POST", f"{_REPO}/pulls", "repository", _open),
        ("GET", f"{_REPO}/pulls/{_N}", "repository", _pull),
        ("PATCH", f"{_REPO}/pulls/{_N}", "repository", _edit_pull),
        ("POST", f"{_REPO}/pulls/{_N}/merge", "repository", _merge),
        ("GET", f"{_REPO}/pulls/{_N}/reviews", "repository", _reviews),
        ("POST", f"{_REPO}/pulls/{_N}/reviews", "repository", _add_review),
        ("GET", f"{_REPO}/commits/([^/]+)/status", "repository", _combined),
        ("POST", f"{_REPO}/statuses/([^/]+)", "repository", _set_status),
        ("GET", f"{_REPO}/issues/{_N}/comments", "issue", _comments),
        ("POST", f"{_REPO}/issues/{_N}/comments", "issue", _add_comment),
        ("DELETE", f"{_REPO}/issues/comments/{_N}", "issue", _delete_comment),
        ("GET", f"{_REPO}/hooks", "repository", _for_admins(_hooks)),
        ("POST", f"{_REPO}/hooks", "repository", _for_admins(_add_hook)),
        ("DELETE", f"{_REPO}/hooks/{_N}", "repository", _for_admins(_delete_hook)),
        ("POST", f"{_REPO}/hooks/{_N}/tests", "repository", _for_admins(_ping_hook)),
        ("GET", f"{_REPO}/branch_protections", "repository", _for_admins(_protections)),
        ("POST", f"{_REPO}/branch_protections", "repository", _for_admins(_protect)),
    )
)
