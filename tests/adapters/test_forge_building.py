"""Which forge a project has is the operator's choice; what is missing for it is named before anything is sent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator import bootstrap
from orchestrator.adapters.forges.gitea import GiteaForge
from orchestrator.adapters.forges.gitea_setup import GiteaSetup
from orchestrator.adapters.forges.github import GithubForge
from orchestrator.adapters.forges.github_setup import GithubSetup
from orchestrator.domain.configuration import ProjectConfig
from orchestrator.domain.errors import ConfigurationError
from orchestrator.ports import Forge, ReadsDeliveries
from orchestrator.settings import Settings, load_settings

GITEA = ProjectConfig("SHOP", "https://git.example.org/team/shop.git", forge="gitea")
GITHUB = ProjectConfig("SHOP", "https://github.com/team/shop", forge="github")
SET = {
    "ORCH_GITEA_URL": "https://git.example.org/",
    "ORCH_GITEA_TOKEN": "t0ken-1",
    "ORCH_GITHUB_TOKEN": "t0ken-2",
}


def settings_of(tmp_path: Path, **environment: str) -> Settings:
    return load_settings({"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment})


def build(settings: Settings, config: ProjectConfig) -> Forge:
    nothing: Any = None
    return bootstrap.build_forge(settings, nothing, config)


def test_each_kind_of_forge_is_built_with_its_own_token(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, **SET)
    gitea, github = build(settings, GITEA), build(settings, GITHUB)
    assert isinstance(gitea, GiteaForge)
    assert isinstance(github, GithubForge)
    assert gitea.remote_url() == "https://git.example.org/team/shop.git"
    assert github.remote_url() == "https://github.com/team/shop.git"
    assert github.api.wire.service.api == "https://api.github.com"
    assert gitea.git_environment()["GIT_CONFIG_KEY_0"] == "http.https://git.example.org/.extraHeader"
    assert gitea.git_environment() != github.git_environment()


def test_an_enterprise_server_has_its_api_beside_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, **SET, ORCH_GITHUB_URL="https://code.example.org")
    forge = build(settings, ProjectConfig("SHOP", "https://code.example.org/team/shop.git", forge="github"))
    assert isinstance(forge, GithubForge)
    assert forge.api.wire.service.api == "https://code.example.org/api/v3"


@pytest.mark.parametrize("config", [GITEA, GITHUB])
def test_both_read_the_deliveries_of_their_own_webhook(tmp_path: Path, config: ProjectConfig) -> None:
    forge = build(settings_of(tmp_path, **SET), config)
    assert isinstance(forge, ReadsDeliveries)
    assert forge.hint("push", b'{"repository": {"full_name": "somebody/else"}}') is None
    found = forge.hint("push", b'{"ref": "refs/heads/orch/SHOP-1", "repository": {"full_name": "Team/Shop"}}')
    assert found is not None
    assert found.branches == ("orch/SHOP-1",)


@pytest.mark.parametrize(
    ("config", "missing"),
    [(GITEA, "ORCH_GITEA_URL"), (GITEA, "ORCH_GITEA_TOKEN"), (GITHUB, "ORCH_GITHUB_TOKEN")],
)
def test_a_setting_that_is_missing_is_named(tmp_path: Path, config: ProjectConfig, missing: str) -> None:
    settings = settings_of(tmp_path, **{name: text for name, text in SET.items() if name != missing})
    with pytest.raises(ConfigurationError, match=missing):
        build(settings, config)
    with pytest.raises(ConfigurationError, match=missing):
        bootstrap.build_forge_setup(settings, config)


def test_what_needs_connecting_has_a_setup_and_the_built_in_forge_has_none(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, **SET)
    assert isinstance(bootstrap.build_forge_setup(settings, GITEA), GiteaSetup)
    assert isinstance(bootstrap.build_forge_setup(settings, GITHUB), GithubSetup)
    assert bootstrap.build_forge_setup(settings, ProjectConfig("SHOP", "/srv/shop.git")) is None


def test_deliveries_of_one_happening_have_one_key_where_it_can_be_told() -> None:
    one, other = b'{"repository": {"id": 1}, "ref": "a"}', b'{"ref": "a", "repository": {"id": 1, "size": 3}}'
    assert bootstrap.delivery_meaning("gitea", "push", one) == bootstrap.delivery_meaning("gitea", "push", other)
    assert bootstrap.delivery_meaning("github", "push", one) is None
