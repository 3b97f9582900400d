"""The state of one repository and what happens to it: pushes are noticed, pull requests follow, hooks are told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from itertools import count

from orchestrator.demo.doubles.git_repository import GitRepository
from orchestrator.demo.doubles.gitea.deliveries import Deliveries, Event
from orchestrator.demo.doubles.gitea.records import Comment, Hook, Person, Pull, Review, Rules, Status, now
from orchestrator.demo.doubles.gitea.shapes import Json, Shapes

_NONE = "0" * 40


class ForgeState:
    """Everything that is not in git. ``lock`` is held while anything changes; the server's threads take it."""

    def __init__(self, web: str, owner: str, name: str, git: GitRepository) -> None:
        self.git = git
        self.rules = Rules()
        self.shapes = Shapes(web, owner, name, self.tip, self.rules)
        self.people: dict[str, Person] = {}
        self.pulls: dict[int, Pull] = {}
        self.statuses: list[Status] = []
        self.comments: dict[int, Comment] = {}
        self.reviews: list[Review] = []
        self.hooks: dict[int, Hook] = {}
        self.deliveries = Deliveries()
        self.lock = threading.RLock()
        self._keys = count(1)
        self._numbers = count(1)
        self._known = git.heads()

    def tip(self, branch: str) -> str | None:
        """Where the branch stood when git was last looked at: at the start of this request, or after its own move."""
        return self._known.get(branch)

    def next_key(self) -> int:
        return next(self._keys)

    # --- pushes ----------------------------------------------------------------------------------------------

    def notice(self, by: Person) -> None:
        """Compare the branches with what was known, as the server's hook after a push does."""
        before, after = self._known, self.git.heads()
        self._known = after
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name), after.get(name)
            if old != new:
                self._branch_moved(name, old, new, by)

    def _branch_moved(self, name: str, old: str | None, new: str | None, by: Person) -> None:
        if new is None:
            self.tell("delete", "delete", {"ref": name, "ref_type": "branch", "pusher_type": "user"}, by)
            self._head_is_gone(name, by)
            return
        if old is None:
            self.tell("create", "create", {"ref": name, "ref_type": "branch", "sha": new}, by)
        self.tell("push", "push", self._pushed(name, old or _NONE, new, by), by)
        for pull in self._open_from(name):
            pull.last_head, pull.changed_at = new, now()
            self.tell_of_pull(pull, "synchronized", by, kind="pull_request_sync", before=old or "", after=new)
        if self.rules.autodetect_manual_merge:
            self._detect_merges(name, new, by)

    def _head_is_gone(self, name: str, by: Person) -> None:
        for pull in self._open_from(name):
            pull.closed, pull.ended_at, pull.changed_at = True, now(), now()
            self.tell_of_pull(pull, "closed", by)

    def _detect_merges(self, base: str, tip: str, by: Person) -> None:
        for pull in [one for one in self.pulls.values() if one.is_open and one.base == base]:
            head = self.tip(pull.head)
            if head is not None and self.git.has(tip, head):
                self.end_merged(pull, head, by)

    def _open_from(self, branch: str) -> list[Pull]:
        return [one for one in self.pulls.values() if one.is_open and one.head == branch]

    def _pushed(self, name: str, before: str, after: str, by: Person) -> Json:
        return {
            "ref": f"refs/heads/{name}",
            "before": before,
            "after": after,
            "compare_url": f"{self.shapes.home}/compare/{before}...{after}",
            "commits": [],
            "total_commits": 0,
            "head_commit": None,
            "pusher": self.shapes.person(by),
        }

    # --- pull requests ---------------------------------------------------------------------------------------

    def add_pull(self, head: str, base: str, title: str, body: str, by: Person) -> Pull:
        """A new one; the caller has checked the branches."""
        tip, onto = self.tip(head) or "", self.tip(base) or ""
        pull = Pull(next(self._numbers), title, body, head, base, by, tip, self.git.merge_base(onto, tip))
        self.pulls[pull.number] = pull
        self.tell_of_pull(pull, "opened", by)
        return pull

    def look(self, pull: Pull) -> None:
        """A read of a pull request: it starts the check for conflicts, which is finished some reads later."""
        pair = (self.tip(pull.head) or "", self.tip(pull.base) or "")
        if pull.checked != pair:
            pull.checked, pull.looked = pair, 0
        pull.looked += 1

    def is_checked(self, pull: Pull) -> bool:
        """Whether the check knows today's head and base."""
        pair = (self.tip(pull.head) or "", self.tip(pull.base) or "")
        return self.rules.late_checks == 0 or (pull.checked == pair and pull.looked >= self.rules.late_checks)

    def is_mergeable(self, pull: Pull) -> bool:
        """As the forge shows it: false while checking, on a conflict, and for a draft; true for what is merged."""
        if pull.merged:
            return True
        head, base = self.tip(pull.head), self.tip(pull.base)
        if head is None or base is None or not self.is_checked(pull):
            return False
        return self.git.has(base, head) or self.git.merges_cleanly(base, head)

    def end_merged(self, pull: Pull, sha: str, by: Person) -> None:
        """Record it as merged with ``sha`` and tell the hooks."""
        pull.merged, pull.merge_sha, pull.merged_by = True, sha, by
        pull.ended_at = pull.changed_at = now()
        self.tell_of_pull(pull, "closed", by)

    def pull_json(self, pull: Pull, reader: Person) -> Json:
        return self.shapes.pull(pull, reader=reader, mergeable=self.is_mergeable(pull))

    def newest_statuses(self, sha: str) -> list[Status]:
        """The newest of each context."""
        newest = {one.context: one for one in self.statuses if one.sha == sha}
        return sorted(newest.values(), key=lambda one: -one.key)

    # --- hooks -----------------------------------------------------------------------------------------------

    def tell_of_pull(self, pull: Pull, action: str, by: Person, *, kind: str = "pull_request", **more: str) -> None:
        body = {
            "action": action,
            **more,
            "number": pull.number,
            "pull_request": self.pull_json(pull, by),
            "requested_reviewer": None,
            "commit_id": "",
            "review": None,
        }
        self.tell("pull_request", kind, body, by)

    def tell(self, event: str, event_type: str, body: Mapping[str, object], by: Person) -> None:
        """Queue a delivery to each hook that asks for it."""
        whole = {**body, "repository": self.shapes.repository(by), "sender": self.shapes.person(by)}
        for hook in self.hooks.values():
            self.deliveries.send(hook, Event(event, event_type, whole))

    def pulls_sorted(self, state: str, sort: str) -> Iterator[Pull]:
        found = [one for one in self.pulls.values() if state == "all" or one.is_open == (state == "open")]
        return iter(sorted(found, key=lambda one: one.number, reverse=sort != "oldest"))
