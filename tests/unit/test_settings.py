"""Settings: one reader, everything wrong reported together, secrets shown to nobody."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigurationError
from orchestrator.secret import Secret
from orchestrator.settings import Settings, describe, load_settings


@pytest.fixture
def load(tmp_path: Path):
    def call(**environ: str) -> Settings:
        return load_settings({"HOME": str(tmp_path), "ORCH_NODE": "here", **environ}, secrets_dir=tmp_path / "secrets")

    return call


def problems(load, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(**environ)
    return "\n".join(caught.value.problems)


def test_an_empty_environment_gives_the_defaults(load, tmp_path: Path) -> None:
    settings = load()
    assert settings.database_url is None
    assert settings.data_dir == tmp_path / ".local/share/orchestrator"
    assert settings.config_path == settings.data_dir / "orchestrator.yml"
    assert (settings.host, settings.port, settings.flower_port) == ("127.0.0.1", 8080, 5555)
    assert settings.timings.reaper_finalize_grace_s == 300
    assert settings.switches.transition_lease_for("any")
    assert settings.warnings == ()


def test_the_data_directory_follows_xdg_and_its_own_variable(load, tmp_path: Path) -> None:
    assert load(XDG_DATA_HOME="/x").data_dir == Path("/x/orchestrator")
    assert load(XDG_DATA_HOME="/x", ORCH_DATA_DIR="/y").data_dir == Path("/y")


def test_a_configuration_in_the_working_directory_goes_first(load, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orchestrator.yml").touch()
    assert load().config_path == tmp_path / "orchestrator.yml"


def test_everything_that_is_wrong_is_reported_together(load) -> None:
    text = problems(
        load,
        ORCH_PORT="80a",
        ORCH_REAPER_INTERVALL_S="3",
        ORCH_REAPER_ENABLED="maybe",
        ORCH_NODE="a b",
        ORCH_ENV="prod",
    )
    assert "ORCH_PORT: '80a': allowed is a whole number from 1 to 65535" in text
    assert "ORCH_REAPER_INTERVALL_S: no such setting, did you mean ORCH_REAPER_INTERVAL_S?" in text
    assert "ORCH_REAPER_ENABLED: 'maybe': allowed are true and false" in text
    assert "ORCH_NODE: 'a b'" in text
    assert "ORCH_ENV: 'prod': allowed is development or production" in text


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e9", "", " "])
def test_a_duration_is_a_positive_number(load, text: str) -> None:
    if text.strip():
        assert "ORCH_REAPER_INTERVAL_S" in problems(load, ORCH_REAPER_INTERVAL_S=text)
    else:
        assert load(ORCH_REAPER_INTERVAL_S=text).timings.reaper_interval_s == 15


def test_timings_that_contradict_each_other_are_refused(load) -> None:
    assert "ORCH_NODE_LOST_S" in problems(load, ORCH_NODE_LOST_S="20")
    assert "ORCH_REAPER_MAX_RUNNING_S" in problems(load, ORCH_REAPER_MAX_RUNNING_S="100")


def test_variables_meant_for_children_are_no_error(load) -> None:
    assert load(ORCH_RUN_ID="7", ORCH_SHA="abc", ORCH_ENVIRONMENT="staging").node == "here"


def test_failpoints_are_refused_in_production(load) -> None:
    assert load(ORCH_FAILPOINTS="lease.acquired=kill").failpoints == "lease.acquired=kill"
    assert "refused" in problems(load, ORCH_FAILPOINTS="lease.acquired=kill", ORCH_ENV="production")


def test_an_unknown_failpoint_is_a_problem_like_any_other(load) -> None:
    assert "did you mean lease.acquired?" in problems(load, ORCH_FAILPOINTS="lease.aquired=kill")


# --- secrets ---------------------------------------------------------------------------------------------


def test_a_secret_in_the_environment_works_with_a_warning(load) -> None:
    settings = load(ORCH_API_TOKEN="s3cret")
    assert settings.api_token is not None
    assert settings.api_token.reveal() == "s3cret"
    assert any("ORCH_API_TOKEN_FILE" in line for line in settings.warnings)


def test_a_secret_is_read_from_its_file_without_a_warning(load, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    settings = load(ORCH_API_TOKEN_FILE=str(tmp_path / "token"))
    assert settings.api_token == Secret("s3cret")
    assert settings.warnings == ()


@pytest.mark.parametrize("place", ["secrets", "credentials"])
@pytest.mark.parametrize("name", ["orch_gitea_token", "ORCH_GITEA_TOKEN"])
def test_secrets_are_found_where_systemd_and_containers_put_them(load, tmp_path: Path, place: str, name: str) -> None:
    (tmp_path / place).mkdir()
    (tmp_path / place / name).write_text("s3cret")
    settings = load(CREDENTIALS_DIRECTORY=str(tmp_path / "credentials"))
    assert settings.gitea_token == Secret("s3cret")


def test_a_secret_given_twice_is_refused(load, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a")
    text = problems(load, ORCH_API_TOKEN="b", ORCH_API_TOKEN_FILE=str(tmp_path / "token"))
    assert "ORCH_API_TOKEN: is set together with ORCH_API_TOKEN_FILE" in text


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x" * 70_000])
def test_an_unusable_secret_file_is_named_and_never_quoted(load, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    text = problems(load, ORCH_API_TOKEN_FILE=str(file))
    assert f"ORCH_API_TOKEN_FILE: {file}" in text
    assert "xxx" not in text


def test_a_secret_hides_from_text_logs_pickles_and_tracebacks() -> None:
    secret = Secret("s3cret")
    assert "s3cret" not in f"{secret} {secret!r} {secret:>10} {[secret]}"
    assert copy.deepcopy(secret) is secret
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    try:
        raise ValueError(secret)
    except ValueError:
        assert "s3cret" not in traceback.format_exc()


def test_nothing_that_is_shown_holds_a_secret(load) -> None:
    settings = load(
        ORCH_API_TOKEN="s3cret",
        ORCH_DATABASE_URL="postgresql://me:p%40ss@db/x",
        ORCH_BROKER_URL="redis://cache/0?password=hunter2",
        ORCH_PLANE_URL="https://me:pw4@plane.example",
    )
    shown = f"{settings!r} {describe(settings)} {settings.warnings}"
    for text in ("s3cret", "p%40ss", "hunter2", "pw4"):
        assert text not in shown
    assert {"s3cret", "p%40ss", "p@ss", "hunter2"} <= set(settings.secret_values())
    rows = {name: (value, source) for name, value, source in describe(settings)}
    assert rows["ORCH_DATABASE_URL"] == ("postgresql+psycopg://me:****@db/x", "environment")
    assert rows["ORCH_PORT"] == ("8080", "default")


def test_a_wrong_url_is_not_repeated_as_it_may_hold_a_password(load) -> None:
    text = problems(load, ORCH_DATABASE_URL="mysql://me:hunter2@db/x")
    assert "ORCH_DATABASE_URL" in text
    assert "hunter2" not in text


# --- children --------------------------------------------------------------------------------------------


def reloaded(settings: Settings, tmp_path: Path) -> Settings:
    environ: Mapping[str, str] = settings.process_environment()
    return load_settings(environ, secrets_dir=tmp_path / "secrets")


def test_a_child_process_reads_the_same_settings(load, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    settings = load(
        ORCH_API_TOKEN_FILE=str(tmp_path / "token"),
        ORCH_REAPER_INTERVAL_S="0.25",
        ORCH_TRANSITION_LEASE_REPOS="a,b",
        ORCH_STOP_STATUS_ENABLED="off",
        ORCH_DATABASE_URL="postgresql://db/x",
    )
    again = reloaded(settings, tmp_path)
    assert replace(again, sources={}, warnings=()) == replace(settings, sources={}, warnings=())


def test_a_secret_from_a_file_reaches_a_child_as_the_file(load, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    environment = load(ORCH_API_TOKEN_FILE=str(tmp_path / "token")).environment()
    assert environment["ORCH_API_TOKEN_FILE"] == str(tmp_path / "token")
    assert "s3cret" not in environment.values()


def test_a_replaced_value_reaches_a_child_in_place_of_the_file(load, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://old/x")
    settings = load(ORCH_DATABASE_URL_FILE=str(tmp_path / "url"))
    assert settings.environment()["ORCH_DATABASE_URL_FILE"] == str(tmp_path / "url")
    changed = replace(settings, database_url="postgresql+psycopg://new/x")
    assert changed.environment()["ORCH_DATABASE_URL"] == "postgresql+psycopg://new/x"
    assert "ORCH_DATABASE_URL_FILE" not in changed.environment()


def test_the_basic_environment_holds_no_secret_of_ours_or_of_others(load) -> None:
    basic = load(PATH="/bin", https_proxy="http://p", ORCH_API_TOKEN="a", AWS_SECRET_ACCESS_KEY="b").basic_environment()
    assert basic["PATH"] == "/bin"
    assert basic["https_proxy"] == "http://p"
    assert not {"ORCH_API_TOKEN", "AWS_SECRET_ACCESS_KEY"} & set(basic)


# --- switches --------------------------------------------------------------------------------------------


def test_a_lease_limited_to_projects_guards_only_those_and_says_so(load) -> None:
    settings = load(ORCH_TRANSITION_LEASE_REPOS="ORCH, SHOP")
    assert settings.switches.transition_lease_for("SHOP")
    assert not settings.switches.transition_lease_for("OTHER")
    assert any("ORCH_TRANSITION_LEASE_REPOS" in line for line in settings.warnings)


def test_a_switch_that_is_off_says_so_loudly(load) -> None:
    settings = load(ORCH_TRANSITION_LEASE_ENABLED="false")
    assert not settings.switches.transition_lease_for("ORCH")
    assert any("ORCH_TRANSITION_LEASE_ENABLED is off" in line for line in settings.warnings)
