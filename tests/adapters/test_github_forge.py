"""GitHub keeps the contract of forges, and each of its own ways to refuse or to fall silent has one meaning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.contracts.forge_contract import ForgeContract
from tests.adapters.forge_worlds import GithubWorld, github_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GithubWorld]:
    with github_world(tmp_path) as made:
        yield made


class TestGithubKeepsTheContract(ForgeContract):
    @pytest.fixture
    def world(self, world: GithubWorld) -> GithubWorld:
        return world
