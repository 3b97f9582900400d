"""The calls of GitHub that we make, typed: REST for everything but the move of a branch, which is GraphQL's
``updateRefs``, because that alone compares before it moves and moves all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.adapters.forges.addresses import Address
from orchestrator.adapters.forges.markers import Comment
from orchestrator.adapters.forges.wire import Answer, ForgeWire, Row, Service, at, number, segment, text
from orchestrator.ports import CommitStatus, StatusState
from orchestrator.secret import Secret

SETTING: Final = "ORCH_GITHUB_TOKEN"
PUBLIC: Final = "https://github.com"
_PUBLIC_API: Final = "https://api.github.com"
NOTHING: Final = "0" * 40
_STATES: Final = {
    "success": StatusState.SUCCESS,
    "pending": StatusState.PENDING,
    "failure": StatusState.FAILURE,
    "error": StatusState.FAILURE,
}
_GREEN: Final = frozenset({"success", "neutral", "skipped"})
_WORST_FIRST: Final = (StatusState.FAILURE, StatusState.PENDING, StatusState.SUCCESS)
_UPDATE_REFS: Final = (
    "mutation($repository: ID!, $updates: [RefUpdate!]!) {"
    " updateRefs(input: {repositoryId: $repository, refUpdates: $updates}) { clientMutationId } }"
)


@dataclass(frozen=True, slots=True)
class Move:
    """A branch that is to stand at ``before`` when it is put to ``after``; equal ones only compare."""

    branch: str
    before: str
    after: str


class GithubApi:
    """One repository. Every method is one request, or one list of them for a list; errors are those of the wire."""

    def __init__(self, address: Address, token: Secret) -> None:
        def headers() -> Mapping[str, str]:
            return {"Authorization": f"Bearer {token.reveal()}", "Accept": "application/vnd.github+json"}

        public = address.web == PUBLIC
        rest, graph = (_PUBLIC_API, _PUBLIC_API) if public else (f"{address.web}/api/v3", f"{address.web}/api")
        self.address = address
        self.wire = ForgeWire(Service("github", rest, SETTING, headers, "per_page", says_next=True))
        self._graph = ForgeWire(Service("github", graph, SETTING, headers, "per_page"))
        self._here = f"/repos/{segment(address.owner)}/{segment(address.name)}"

    # --- the repository and its branches ---------------------------------------------------------------------

    def user(self) -> str:
        """Login of the token's owner. The token of an app has none: it is refused."""
        return text(self.wire.send("GET", "/user").row, "login")

    def repository(self) -> Row:
        return self.wire.send("GET", self._here).row

    def branch(self, name: str) -> Row | None:
        answer = self.wire.send("GET", f"{self._here}/branches/{segment(name)}", accept=(404,))
        return None if answer.status == 404 else answer.row

    def compare(self, base: str, head: str) -> tuple[int, int]:
        """(commits that only ``head`` has, commits that only ``base`` has)."""
        row = self.wire.send("GET", f"{self._here}/compare/{segment(base)}...{segment(head)}").row
        return number(row, "ahead_by"), number(row, "behind_by")

    def move_branches(self, moves: Sequence[Move]) -> str:
        """Move all of them or none, each only from the value that it is said to have and only forward.

        Empty when it was done, else what the server said: then nothing was moved.
        """
        updates = [
            {"name": f"refs/heads/{one.branch}", "beforeOid": one.before, "afterOid": one.after, "force": False}
            for one in moves
        ]
        variables = {"repository": text(self.repository(), "node_id"), "updates": updates}
        answer = self._graph.send("POST", "/graphql", json={"query": _UPDATE_REFS, "variables": variables})
        return answer.said or ("" if at(answer.row, "data", "updateRefs") is not None else "nothing was answered")

    # --- pull requests ---------------------------------------------------------------------------------------

    def pulls(self, branch: str, state: str) -> Iterator[Row]:
        """Those from ``branch`` of this repository, oldest first."""
        asked = {"state": state, "head": f"{self.address.owner}:{branch}", "sort": "created", "direction": "asc"}
        return self.wire.pages(f"{self._here}/pulls", asked)

    def pull(self, index: int) -> Row:
        return self.wire.send("GET", f"{self._here}/pulls/{index:d}").row

    def open_pull(self, head: str, base: str, title: str, body: str) -> Answer:
        """201 with the pull request; 422 where one is open or a branch is missing."""
        asked = {"head": head, "base": base, "title": title, "body": body, "maintainer_can_modify": False}
        return self.wire.send("POST", f"{self._here}/pulls", json=asked, accept=(422,))

    def close_pull(self, index: int) -> Answer:
        return self.wire.send("PATCH", f"{self._here}/pulls/{index:d}", json={"state": "closed"}, accept=(422,))

    def reviews(self, index: int) -> Iterator[Row]:
        return self.wire.pages(f"{self._here}/pulls/{index:d}/reviews")

    # --- statuses and comments -------------------------------------------------------------------------------

    def statuses(self, sha: str) -> list[CommitStatus]:
        """Statuses and check runs together; where a name is in both, the worse one counts."""
        found = [
            *map(_of_status, self.wire.pages(f"{self._here}/commits/{segment(sha)}/status", key="statuses")),
            *map(_of_check, self.wire.pages(f"{self._here}/commits/{segment(sha)}/check-runs", key="check_runs")),
        ]
        worst: dict[str, CommitStatus] = {}
        for one in sorted(found, key=lambda one: _WORST_FIRST.index(one.state)):
            worst.setdefault(one.context, one)
        return list(worst.values())

    def set_status(self, sha: str, context: str, state: str, description: str) -> None:
        asked = {"state": state, "context": context, "description": description}
        self.wire.send("POST", f"{self._here}/statuses/{segment(sha)}", json=asked)

    def comments(self, index: int) -> Iterator[Comment]:
        """Each comment of the conversation."""
        rows = self.wire.pages(f"{self._here}/issues/{index:d}/comments")
        return (Comment(number(row, "id"), text(row, "body"), text(row, "user", "login")) for row in rows)

    def add_comment(self, index: int, body: str) -> int:
        """The id of the new comment."""
        return number(self.wire.send("POST", f"{self._here}/issues/{index:d}/comments", json={"body": body}).row, "id")

    def delete_comment(self, key: int) -> None:
        """Gone already is success."""
        self.wire.send("DELETE", f"{self._here}/issues/comments/{key:d}", accept=(404,))

    # --- hooks -----------------------------------------------------------------------------------------------

    def hooks(self) -> list[Row]:
        return list(self.wire.pages(f"{self._here}/hooks"))

    def add_hook(self, url: str, secret: Secret, events: Sequence[str]) -> int:
        """An active hook; its id."""
        config = {"url": url, "content_type": "json", "secret": secret.reveal(), "insecure_ssl": "0"}
        asked = {"name": "web", "config": config, "events": list(events), "active": True}
        return number(self.wire.send("POST", f"{self._here}/hooks", json=asked).row, "id")

    def delete_hook(self, hook: int) -> None:
        self.wire.send("DELETE", f"{self._here}/hooks/{hook:d}", accept=(404,))

    def ping_hook(self, hook: int) -> None:
        """Have the server send a ping to the hook, now."""
        self.wire.send("POST", f"{self._here}/hooks/{hook:d}/pings")


def _of_status(row: Row) -> CommitStatus:
    # The list has the newest of each context alone.
    state = _STATES.get(text(row, "state"), StatusState.PENDING)
    return CommitStatus(text(row, "context"), state, text(row, "description"))


def _of_check(row: Row) -> CommitStatus:
    if text(row, "status") != "completed":
        state = StatusState.PENDING
    else:
        state = StatusState.SUCCESS if text(row, "conclusion") in _GREEN else StatusState.FAILURE
    return CommitStatus(text(row, "name"), state, text(row, "output", "title"))
