"""The calls of Gitea and Forgejo that we make, typed. Names and answers are those of its Swagger file, API v1.

Field names that differ by version: the merge is asked for with the capital names, which every version takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.adapters.forges.addresses import Address
from orchestrator.adapters.forges.markers import Comment
from orchestrator.adapters.forges.wire import MERGE, Answer, ForgeWire, Row, Service, flag, number, segment, text
from orchestrator.ports import CommitStatus, PullRequest, PullRequestState, StatusState
from orchestrator.secret import Secret

SETTING: Final = "ORCH_GITEA_TOKEN"
_STATES: Final = {
    "success": StatusState.SUCCESS,
    "skipped": StatusState.SUCCESS,
    "pending": StatusState.PENDING,
    "failure": StatusState.FAILURE,
    "error": StatusState.FAILURE,
    "warning": StatusState.FAILURE,
}


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request as this forge tells it. ``base_sha`` is today's tip of the base branch; ``from_here``: its head
    branch is one of this repository."""

    shown: PullRequest
    base_sha: str
    from_here: bool


@dataclass(frozen=True, slots=True)
class Review:
    """What a person said of a pull request. ``state`` is the forge's word (APPROVED, REQUEST_CHANGES, …)."""

    author: str
    state: str
    commit: str
    stale: bool
    dismissed: bool
    body: str


class GiteaApi:
    """One repository. Every method is one request, or one list of them for a list; errors are those of the wire."""

    def __init__(self, address: Address, token: Secret) -> None:
        # Older servers compare the word exactly, so it is in small letters.
        def headers() -> Mapping[str, str]:
            return {"Authorization": f"token {token.reveal()}", "Accept": "application/json"}

        self.address = address
        self.wire = ForgeWire(Service("gitea", f"{address.web}/api/v1", SETTING, headers, "limit"))
        self._here = f"/repos/{segment(address.owner)}/{segment(address.name)}"

    # --- the repository --------------------------------------------------------------------------------------

    def version(self) -> str:
        return text(self.wire.send("GET", "/version").row, "version")

    def user(self) -> str:
        """Login of the token's owner."""
        return text(self.wire.send("GET", "/user").row, "login")

    def token_scopes(self) -> Sequence[str] | None:
        """What the token may do; None where the server is too old to say."""
        answer = self.wire.send("GET", "/token", accept=(404, 405))
        scopes = answer.row.get("scopes") if answer.status == 200 else None
        return [str(one) for one in scopes] if isinstance(scopes, list) else None

    def repository(self) -> Row:
        return self.wire.send("GET", self._here).row

    def edit_repository(self, changes: Mapping[str, bool]) -> Row:
        """Needs the rights of a repository administrator."""
        return self.wire.send("PATCH", self._here, json=dict(changes)).row

    def branch(self, name: str) -> Row | None:
        answer = self.wire.send("GET", f"{self._here}/branches/{_ref(name)}", accept=(404,))
        return None if answer.status == 404 else answer.row

    def commits_between(self, base: str, head: str) -> int:
        """How many commits ``head`` has and ``base`` has not."""
        row = self.wire.send("GET", f"{self._here}/compare/{segment(base)}...{segment(head)}").row
        return number(row, "total_commits")

    # --- pull requests ---------------------------------------------------------------------------------------

    def pulls(self, state: str) -> Iterator[Pull]:
        """All of ``open``, ``closed`` or ``all``, oldest first: what is opened meanwhile comes at the end."""
        rows = self.wire.pages(f"{self._here}/pulls", {"state": state, "sort": "oldest"})
        return map(pull_of, rows)

    def pull(self, index: int) -> Pull:
        """A current read, which also makes the server check for conflicts."""
        return pull_of(self.wire.send("GET", f"{self._here}/pulls/{index:d}").row)

    def open_pull(self, head: str, base: str, title: str, body: str) -> Answer:
        """201 with the pull request, 409 where one is open, 404 or 422 where a branch is missing."""
        asked = {"head": head, "base": base, "title": title, "body": body}
        return self.wire.send("POST", f"{self._here}/pulls", json=asked, accept=(404, 409, 422))

    def close_pull(self, index: int) -> Answer:
        """201, or 412 where it is merged."""
        return self.wire.send("PATCH", f"{self._here}/pulls/{index:d}", json={"state": "closed"}, accept=(412,))

    def merge_fast_forward(self, index: int, head: str) -> Answer:
        """200, or a refusal (4xx, 5xx) that only a fresh read explains. Waits for minutes and is never given up."""
        asked = {"Do": "fast-forward-only", "head_commit_id": head, "delete_branch_after_merge": False}
        return self._merge(index, asked, accept=(404, 405, 409, 500))

    def mark_merged(self, index: int, sha: str) -> Answer:
        """Say that the base branch has ``sha`` already: nothing is merged. 200, or 404, 405, 409."""
        asked = {"Do": "manually-merged", "MergeCommitID": sha, "delete_branch_after_merge": False}
        return self._merge(index, asked, accept=(404, 405, 409))

    def _merge(self, index: int, asked: Mapping[str, object], accept: tuple[int, ...]) -> Answer:
        path = f"{self._here}/pulls/{index:d}/merge"
        return self.wire.send("POST", path, json=dict(asked), timeout=MERGE, accept=accept)

    def reviews(self, index: int) -> list[Review]:
        return [_review_of(row) for row in self.wire.pages(f"{self._here}/pulls/{index:d}/reviews")]

    # --- statuses and comments -------------------------------------------------------------------------------

    def statuses(self, sha: str) -> list[CommitStatus]:
        """The newest of each context. The server's own verdict is not read: it is that of one page."""
        newest: dict[str, Row] = {}
        for row in self.wire.pages(f"{self._here}/commits/{segment(sha)}/status", key="statuses"):
            known = newest.get(text(row, "context"))
            if known is None or number(row, "id") >= number(known, "id"):
                newest[text(row, "context")] = row
        return [_status_of(row) for row in newest.values()]

    def set_status(self, sha: str, context: str, state: str, description: str) -> None:
        asked = {"state": state, "context": context, "description": description}
        self.wire.send("POST", f"{self._here}/statuses/{segment(sha)}", json=asked)

    def comments(self, index: int) -> list[Comment]:
        """Each comment of the conversation; this list has no pages."""
        rows = self.wire.send("GET", f"{self._here}/issues/{index:d}/comments").rows()
        return [Comment(number(row, "id"), text(row, "body"), text(row, "user", "login")) for row in rows]

    def add_comment(self, index: int, body: str) -> int:
        """The id of the new comment."""
        return number(self.wire.send("POST", f"{self._here}/issues/{index:d}/comments", json={"body": body}).row, "id")

    def delete_comment(self, key: int) -> None:
        """Gone already is success."""
        self.wire.send("DELETE", f"{self._here}/issues/comments/{key:d}", accept=(404,))

    # --- hooks and protection --------------------------------------------------------------------------------

    def hooks(self) -> list[Row]:
        return list(self.wire.pages(f"{self._here}/hooks"))

    def add_hook(self, url: str, secret: Secret, events: Sequence[str]) -> int:
        """An active hook; its id."""
        asked = {
            "type": "gitea",
            "config": {"url": url, "content_type": "json", "secret": secret.reveal()},
            "events": list(events),
            "active": True,
        }
        return number(self.wire.send("POST", f"{self._here}/hooks", json=asked).row, "id")

    def delete_hook(self, hook: int) -> None:
        self.wire.send("DELETE", f"{self._here}/hooks/{hook:d}", accept=(404,))

    def ping_hook(self, hook: int) -> None:
        """Have the server send a push event to the hook, now."""
        self.wire.send("POST", f"{self._here}/hooks/{hook:d}/tests")

    def protections(self) -> list[Row]:
        """Rules of protected branches; needs the rights of a repository administrator."""
        return self.wire.send("GET", f"{self._here}/branch_protections").rows()


def pull_of(row: Row) -> Pull:
    """Unknown fields are not looked at, missing ones are empty."""
    # The label keeps the branch's name when the branch is gone; the ref becomes that of the pull request then.
    branch, ref = text(row, "head", "label"), text(row, "head", "ref")
    merged = flag(row, "merged")
    shown = PullRequest(
        number=number(row, "number"),
        state=_state_of(row, merged=merged),
        head_branch=branch,
        base_branch=text(row, "base", "ref"),
        head_sha=text(row, "head", "sha") or None if ref == branch else None,
        merge_sha=text(row, "merge_commit_sha") or None if merged else None,
        title=text(row, "title"),
        body=text(row, "body"),
        url=text(row, "html_url") or text(row, "url"),
    )
    return Pull(shown, text(row, "base", "sha"), number(row, "head", "repo_id") == number(row, "base", "repo_id"))


def _state_of(row: Row, *, merged: bool) -> PullRequestState:
    if merged:
        return PullRequestState.MERGED
    return PullRequestState.CLOSED if text(row, "state") == "closed" else PullRequestState.OPEN


def _status_of(row: Row) -> CommitStatus:
    # What a later version may call green is not green to us.
    word = text(row, "status") or text(row, "state")
    return CommitStatus(text(row, "context"), _STATES.get(word, StatusState.PENDING), text(row, "description"))


def _review_of(row: Row) -> Review:
    return Review(
        author=text(row, "user", "login"),
        state=text(row, "state"),
        commit=text(row, "commit_id"),
        stale=flag(row, "stale"),
        dismissed=flag(row, "dismissed"),
        body=text(row, "body"),
    )


def _ref(name: str) -> str:
    """A branch in a path, in which its slashes may stand."""
    return "/".join(map(segment, name.split("/")))
