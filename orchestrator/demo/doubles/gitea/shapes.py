"""Records as Gitea writes them in JSON. Names and types are those of its Swagger file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.demo.doubles.gitea.records import Comment, Hook, Person, Pull, Review, Rules, Status

Json = dict[str, object]
REPOSITORY_ID = 1


@dataclass(frozen=True, slots=True)
class Shapes:
    """Writes records of the repository ``owner/name`` at ``web``."""

    web: str
    owner: str
    name: str
    tip: Callable[[str], str | None]
    rules: Rules

    @property
    def home(self) -> str:
        return f"{self.web}/{self.owner}/{self.name}"

    def person(self, one: Person) -> Json:
        return {
            "id": one.key,
            "login": one.login,
            "login_name": "",
            "full_name": "",
            "email": f"{one.login}@noreply.localhost",
            "avatar_url": "",
            "is_admin": False,
            "created": "2026-01-01T00:00:00Z",
            "visibility": "public",
        }

    def repository(self, one: Person) -> Json:
        return {
            "id": REPOSITORY_ID,
            "owner": self.person(Person(self.owner, key=9)),
            "name": self.name,
            "full_name": f"{self.owner}/{self.name}",
            "private": True,
            "fork": False,
            "empty": self.tip("main") is None,
            "archived": False,
            "mirror": False,
            "html_url": self.home,
            "url": f"{self.web}/api/v1/repos/{self.owner}/{self.name}",
            "clone_url": f"{self.home}.git",
            "default_branch": "main",
            "object_format_name": "sha1",
            "permissions": {"admin": one.right == "admin", "push": one.may_write, "pull": True},
            "allow_merge_commits": True,
            "allow_rebase": True,
            "allow_rebase_explicit": True,
            "allow_squash_merge": True,
            "allow_fast_forward_only_merge": self.rules.fast_forward,
            "allow_manual_merge": self.rules.manual_merge,
            "autodetect_manual_merge": self.rules.autodetect_manual_merge,
            "default_delete_branch_after_merge": False,
            "default_merge_style": "merge",
        }

    def pull(self, one: Pull, *, reader: Person, mergeable: bool) -> Json:
        tip = self.tip(one.head)
        return {
            "id": 1000 + one.number,
            "url": f"{self.home}/pulls/{one.number}",
            "number": one.number,
            "user": self.person(one.author),
            "title": one.title,
            "body": one.body,
            "labels": [],
            "milestone": None,
            "assignees": [],
            "state": "open" if one.is_open else "closed",
            "draft": one.title.startswith(("WIP:", "[WIP]")),
            "is_locked": False,
            "comments": 0,
            "html_url": f"{self.home}/pulls/{one.number}",
            "diff_url": f"{self.home}/pulls/{one.number}.diff",
            "patch_url": f"{self.home}/pulls/{one.number}.patch",
            "mergeable": mergeable,
            "merged": one.merged,
            "merged_at": one.ended_at if one.merged else None,
            "merge_commit_sha": one.merge_sha,
            "merged_by": self.person(one.merged_by) if one.merged_by else None,
            "allow_maintainer_edit": False,
            "base": self._side(one.base, one.base, self.tip(one.base) or "", reader),
            # The label keeps the branch's name when the branch is gone.
            "head": self._side(
                one.head, one.head if tip else f"refs/pull/{one.number}/head", tip or one.last_head, reader
            ),
            "merge_base": one.merge_base,
            "due_date": None,
            "created_at": one.made_at,
            "updated_at": one.changed_at,
            "closed_at": one.ended_at,
            "pin_order": 0,
        }

    def _side(self, label: str, ref: str, sha: str, reader: Person) -> Json:
        return {"label": label, "ref": ref, "sha": sha, "repo_id": REPOSITORY_ID, "repo": self.repository(reader)}

    def status(self, one: Status) -> Json:
        """A single status tells its state in the field ``status``."""
        return {
            "id": one.key,
            "status": one.state,
            "target_url": one.target_url,
            "description": one.description,
            "url": f"{self.web}/api/v1/repos/{self.owner}/{self.name}/statuses/{one.sha}",
            "context": one.context,
            "creator": self.person(one.by),
            "created_at": one.at,
            "updated_at": one.at,
        }

    def combined(self, sha: str, page: Sequence[Status], reader: Person) -> Json:
        """The state of the PAGE, and its size as the count: the server's own habit."""
        states = {one.state for one in page}
        bad = states & {"error", "failure", "warning"}
        state = "failure" if bad else "pending" if not states or "pending" in states else "success"
        return {
            "state": state,
            "sha": sha,
            "total_count": len(page),
            "statuses": [self.status(one) for one in page] or None,
            "repository": self.repository(reader),
            "commit_url": f"{self.web}/api/v1/repos/{self.owner}/{self.name}/commits/{sha}",
            "url": f"{self.web}/api/v1/repos/{self.owner}/{self.name}/commits/{sha}/status",
        }

    def comment(self, one: Comment) -> Json:
        return {
            "id": one.key,
            "html_url": f"{self.home}/pulls/{one.pull}#issuecomment-{one.key}",
            "pull_request_url": f"{self.home}/pulls/{one.pull}",
            "issue_url": "",
            "user": self.person(one.by),
            "body": one.body,
            "created_at": one.at,
            "updated_at": one.at,
        }

    def review(self, one: Review, tip: str) -> Json:
        return {
            "id": one.key,
            "user": self.person(one.by),
            "state": one.state,
            "body": one.body,
            "commit_id": one.commit,
            "stale": one.commit != tip,
            "official": one.by.may_write,
            "dismissed": False,
            "submitted_at": one.at,
            "html_url": f"{self.home}/pulls/{one.pull}#issuecomment-{one.key}",
            "pull_request_url": f"{self.home}/pulls/{one.pull}",
        }

    def hook(self, one: Hook) -> Json:
        """Without its secret, which is never told."""
        return {
            "id": one.key,
            "type": "gitea",
            "branch_filter": "*",
            "config": {"content_type": "json", "url": one.url},
            "events": list(one.events),
            "authorization_header": "",
            "active": one.active,
            "created_at": one.made_at,
            "updated_at": one.made_at,
        }

    def branch(self, name: str, tip: str, reader: Person) -> Json:
        rule = self.rules.rule_for(name)
        return {
            "name": name,
            "commit": {"id": tip, "message": "", "url": f"{self.home}/commit/{tip}"},
            "protected": rule is not None,
            "required_approvals": 0,
            "enable_status_check": bool(rule and rule.get("enable_status_check")),
            "status_check_contexts": [],
            "user_can_push": reader.may_write and self.rules.may_push(name, reader.login),
            "user_can_merge": reader.may_write and self.rules.may_merge(name, reader.login),
        }
