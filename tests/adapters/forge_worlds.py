"""Forges of other people for the contract suite: the adapter, a double behind it, and people who use git."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from orchestrator.adapters.forges.addresses import Address
from orchestrator.adapters.forges.bare_repository import create_repository
from orchestrator.adapters.forges.gitea import GiteaForge
from orchestrator.adapters.forges.github import GithubForge
from orchestrator.demo.doubles.git_repository import GitRepository
from orchestrator.demo.doubles.gitea import GiteaDouble, Person
from orchestrator.demo.doubles.github import GithubDouble
from orchestrator.secret import Secret
from tests.adapters.gitea_words import problems_of, problems_of_delivery

TOKEN = "t0ken-of-the-orchestrator"
ADMIN_TOKEN = "t0ken-of-an-administrator"
QUICK = (0.01, 0.01)


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}


class Pusher:
    """People write straight into the bare repository: what a push does, without its time."""

    def __init__(self, git: GitRepository) -> None:
        self.git = git
        self._made = 0

    def commit(self, branch: str) -> str:
        self._made += 1
        parent = self.git.tip(branch) or self.git.tip("main")
        blob = self.git.run("hash-object", "-w", "--stdin", stdin=f"{branch} {self._made}\n")[1]
        tree = self.git.run("mktree", stdin=f"100644 blob {blob}\tfile.txt\n")[1]
        known = ("-p", parent) if parent else ()
        sha = self.git.run("commit-tree", tree, *known, "-m", f"change {self._made}")[1]
        self.git.run("update-ref", f"refs/heads/{branch}", sha)
        return sha

    def merge_by_hand(self, sha: str) -> None:
        self.git.run("update-ref", "refs/heads/main", sha)

    def commits_in(self, sha: str) -> int:
        return int(self.git.run("rev-list", "--count", sha)[1])


class GiteaWorld(Pusher):
    """A Gitea with one repository; ``forge`` is the orchestrator's adapter."""

    def __init__(self, folder: Path) -> None:
        path = folder / "shop.git"
        create_repository(path, "main", environment)
        super().__init__(GitRepository(path, environment()))
        self.folder = folder
        self.commit("main")
        self.double = GiteaDouble(path, environment())
        self.double.let_in(TOKEN, Person("orchestrator", key=3))
        self.double.let_in(ADMIN_TOKEN, Person("admin", right="admin", key=4))
        self.traps = self.double.traps
        self.forge = self.another()

    def another(self) -> GiteaForge:
        return self.of(TOKEN)

    def of(self, token: str) -> GiteaForge:
        """The adapter with somebody's token."""
        return GiteaForge(
            Address(self.double.url, "demo", "shop"),
            Secret(token),
            base_branch="main",
            scratch=self.folder / "scratch.git",
            environment=environment,
            pauses_s=QUICK,
        )


W = TypeVar("W", "GiteaWorld", "GithubWorld")


@contextmanager
def _running(world: W) -> Iterator[W]:
    world.double.start()
    try:
        yield world
    finally:
        world.double.stop()


@contextmanager
def gitea_world(folder: Path) -> Iterator[GiteaWorld]:
    """A running one; ended at exit. Whatever was asked, answered and sent must be in Gitea's own words."""
    with _running(GiteaWorld(folder)) as world:
        yield world
    said = [problem for one in world.double.server.exchanges for problem in problems_of(one)]
    said += [problem for one in world.double.forge.deliveries.sent for problem in problems_of_delivery(one)]
    assert not said, "\n".join(said)


class GithubWorld(Pusher):
    """A GitHub with one repository; ``forge`` is the orchestrator's adapter."""

    def __init__(self, folder: Path) -> None:
        path = folder / "shop.git"
        create_repository(path, "main", environment)
        super().__init__(GitRepository(path, environment()))
        self.folder = folder
        self.commit("main")
        self.double = GithubDouble(path, environment())
        self.double.tokens.add(TOKEN)
        self.traps = self.double.traps
        self.forge = self.another()

    def another(self) -> GithubForge:
        return GithubForge(
            Address(self.double.url, "demo", "shop"),
            Secret(TOKEN),
            base_branch="main",
            scratch=self.folder / "scratch.git",
            environment=environment,
            pauses_s=QUICK,
        )


@contextmanager
def github_world(folder: Path) -> Iterator[GithubWorld]:
    """A running one; ended at exit."""
    with _running(GithubWorld(folder)) as world:
        yield world
