"""Setting up: init, config, doctor, up, db; and every bad input with the place and the mend."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from orchestrator.cli import checks_stores, commands, exits
from orchestrator.embedded.places import Places
from orchestrator.settings import describe, load_settings
from orchestrator.store.database import Store
from tests.cli.conftest import Orch, change, start
from tests.engine.real_engine import World, git
from tests.fixtures_stores import PostgresServer

ORCH = Path(sys.executable).with_name("orch")


def test_init_writes_files_that_are_good_and_never_overwrites(orch: Orch, tmp_path: Path) -> None:
    first = orch("init", "--json")
    assert [one["written"] for one in first.data["files"]] == [True, True]
    assert orch("config", "check").code == exits.DONE
    assert orch("config", "check", "example.orchestrator.yml").code == exits.DONE
    (tmp_path / "orchestrator.yml").write_text("mine")
    assert [one["written"] for one in orch("init", "--json").data["files"]] == [False, False]
    assert (tmp_path / "orchestrator.yml").read_text() == "mine"


def test_init_refuses_a_key_that_no_work_item_can_have_and_writes_nothing(orch: Orch, tmp_path: Path) -> None:
    answer = orch("init", "--key", "9 lives")
    assert answer.code == exits.WRONG_USE
    assert list(tmp_path.glob("*.yml")) == []


def test_a_bad_configuration_is_told_by_file_line_and_column(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yml").write_text("projects:\n  - key: DEMO\n    repositroy: x\n")
    answer = orch("config", "check", "--json")
    assert answer.code == exits.WRONG_USE
    (mistyped,) = [line for line in answer.data["problems"] if "repositroy" in line]
    assert mistyped.startswith(f"{tmp_path}/orchestrator.yml:3:5: ")


def test_a_bad_configuration_keeps_acts_from_starting_and_names_the_line(
    orch: Orch, world: World, tmp_path: Path
) -> None:
    (tmp_path / "orchestrator.yml").write_text("projects:\n  - key: 7\n")
    answer = orch("add", "DEMO", "T")
    assert answer.code == exits.WRONG_USE
    assert "orchestrator.yml:2:" in answer.err
    assert orch("status", "--json").data["items"] == []


def test_emergency_levers_work_while_the_configuration_is_broken(
    orch: Orch, world: World, store: Store, tmp_path: Path
) -> None:
    start(store)
    (tmp_path / "orchestrator.yml").write_text("projects:\n  - key: 7\n")
    for command in (("panic",), ("panic", "--end"), ("pause",), ("resume",), ("stop", "DEMO-1", "--yes")):
        answer = orch(*command)
        assert answer.code == exits.DONE, answer.err
        assert "orchestrator.yml:2:" in answer.err


def test_a_bad_setting_is_told_by_its_name_with_what_is_allowed(orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_PROT", "80")
    answer = orch("status")
    assert answer.code == exits.WRONG_USE
    assert "ORCH_PROT: no such setting, did you mean ORCH_PORT?" in answer.err


def test_secrets_are_masked_where_settings_are_shown(orch: Orch, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_API_TOKEN", "very-secret-token")
    monkeypatch.setenv("ORCH_BROKER_URL", "redis://:hunter22@127.0.0.1:1/0")
    for command in (("config", "show"), ("config", "show", "--json"), ("doctor", "--json"), ("doctor",)):
        answer = orch(*command)
        assert "very-secret-token" not in answer.out + answer.err
        assert "hunter22" not in answer.out + answer.err
        assert "ORCH_API_TOKEN" in answer.out


def test_both_schemas_are_printed_for_editors(orch: Orch) -> None:
    assert "projects" in orch("config", "schema").data["properties"]
    assert "deploys" in orch("config", "schema", "--repository").data["properties"]


def test_completion_is_printed_for_a_shell(orch: Orch) -> None:
    assert "_ORCH_COMPLETE" in orch("completion", "bash").out
    assert orch("completion", "csh").code == exits.WRONG_USE


def test_no_fleet_is_told_with_the_data_directory_and_how_to_start_one(orch: Orch, tmp_path: Path) -> None:
    for command in (("status",), ("stop", "X-1", "--yes"), ("verify",), ("db", "upgrade")):
        answer = orch(*command)
        assert (answer.code, answer.out) == (exits.FAILED, "")
        assert str(tmp_path / "data") in answer.err
        assert "orch up" in answer.err


def test_a_database_that_does_not_answer_is_told_with_its_setting(orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    answer = orch("status")
    assert answer.code == exits.FAILED
    assert "ORCH_DATABASE_URL" in answer.err


@pytest.fixture
def empty_database(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    postgres_server.run_sql(sql.SQL("CREATE DATABASE {}").format(sql.Identifier("t_empty_cli")))
    monkeypatch.setenv("ORCH_DATABASE_URL", postgres_server.url("t_empty_cli"))
    yield "t_empty_cli"
    postgres_server.run_sql(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier("t_empty_cli")))


def test_an_empty_database_is_told_and_db_upgrade_mends_it(orch: Orch, empty_database: str) -> None:
    before = orch("status")
    assert before.code == exits.FAILED
    assert "orch db upgrade" in before.err
    assert "orch db upgrade" in orch("doctor").out
    upgraded = orch("db", "upgrade", "--json").data
    assert upgraded["before"] is None
    assert orch("db", "upgrade", "--json").data == {"before": upgraded["after"], "after": upgraded["after"]}
    assert orch("status").code == exits.DONE


def findings(orch: Orch) -> dict[str, dict[str, str]]:
    return {one["part"]: one for one in orch("doctor", "--json").data["findings"]}


def test_doctor_finds_a_whole_set_up_good(
    orch: Orch, world: World, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_BROKER_URL", broker_url)
    monkeypatch.setenv("ORCH_PORT", str(free_port()))
    monkeypatch.setenv("ORCH_FLOWER_PORT", str(free_port()))
    answer = orch("doctor")
    assert "BAD" not in answer.out
    assert answer.code == exits.DONE


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("redis://127.0.0.1:6379/0", True),
        ("redis://:pa@127.0.0.1:6379/0", False),
        ("redis+socket:///run/valkey.sock?virtual_host=0", False),
        ("postgresql+psycopg://orch@db/orch", True),
        ("postgresql+psycopg://orch:pa@db/orch", False),
        ("postgresql+psycopg://postgres@/orch?host=/run/pg", False),
    ],
)
def test_a_store_on_a_port_without_a_password_is_open_to_agents(url: str, is_open: bool) -> None:
    assert checks_stores.is_open_to_agents(url) is is_open


def test_doctor_warns_of_a_store_that_every_agent_reaches(
    orch: Orch, world: World, valkey_server: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks_stores, "is_open_to_agents", lambda url: True)
    monkeypatch.setenv("ORCH_BROKER_URL", valkey_server.broker_url)
    found = findings(orch)
    assert [found[part]["health"] for part in ("database", "broker")] == ["warning", "warning"]
    assert "password" in found["broker"]["mend"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_doctor_names_every_bad_part_at_once_with_its_mend(
    orch: Orch, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.store import switches

    world.repository.rename(tmp_path / "moved.git")
    with world.engine.store.transaction() as connection:
        switches.throw(connection, "panic", "*", "ann", "smoke")
    nowhere = tmp_path / "empty"
    nowhere.mkdir()
    monkeypatch.setenv("PATH", str(nowhere))
    found = findings(orch)
    assert orch("doctor").code == exits.FAILED
    assert found["git"]["health"] == "bad"
    assert "install git" in found["git"]["mend"]
    assert found["broker"]["health"] == "bad"
    assert found["levers"]["health"] == "warning"
    assert "orch panic --end" in found["levers"]["mend"]
    assert found["DEMO repository"]["health"] == "bad"


def test_doctor_names_the_repository_that_cannot_be_reached(orch: Orch, world: World, tmp_path: Path) -> None:
    world.repository.rename(tmp_path / "moved.git")
    found = findings(orch)["DEMO repository"]
    assert str(world.repository) in found["got"]
    assert "orchestrator.yml" in found["mend"]


def test_a_missing_git_is_named_with_the_mend_where_it_is_needed(
    orch: Orch, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orch("add", "DEMO", "T")
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = orch("verify")
    assert answer.code == exits.FAILED
    assert "git was not found in PATH" in answer.err


def test_doctor_names_a_data_directory_that_cannot_be(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    found = findings(orch)["data directory"]
    assert found["health"] == "bad"
    assert "ORCH_DATA_DIR" in found["mend"]


def test_up_names_a_taken_port_and_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = up(tmp_path / "one", "--port", str(listener.getsockname()[1]))
    assert taken.returncode == exits.FAILED
    assert "ORCH_PORT" in taken.stderr
    (tmp_path / "two").write_text("a file")
    unusable = up(tmp_path / "two")
    assert unusable.returncode != 0
    assert "ORCH_DATA_DIR" in unusable.stderr
    assert "Traceback" not in taken.stderr + unusable.stderr


def test_up_refuses_a_configuration_that_no_worker_could_use(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "orchestrator.yml").write_text("projects:\n  - key: shop\n")
    refused = up(data_dir)
    assert refused.returncode == exits.WRONG_USE
    assert "orchestrator.yml:2:5: projects[0].repository: is missing" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (data_dir / "postgres").exists()


def up(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.defpath, "ORCH_DATA_DIR": str(data_dir), "ORCH_FLOWER_PORT": str(free_port())}
    return subprocess.run([ORCH, "up", *arguments], env=environment, capture_output=True, text=True, check=False)


def test_ups_api_token_is_made_once_and_only_we_may_read_it(tmp_path: Path) -> None:
    from orchestrator.cli.up import with_token

    settings = load_settings({"ORCH_DATA_DIR": str(tmp_path / "data"), "PATH": "/bin"})
    first = with_token(settings)
    assert first.api_token is not None
    assert with_token(settings).api_token == first.api_token
    path = tmp_path / "data" / "api.token"
    assert path.stat().st_mode & 0o777 == 0o600
    # The services get the name of the file; the token itself would stand in the environment of each.
    assert first.environment()["ORCH_API_TOKEN_FILE"] == str(path)
    assert "ORCH_API_TOKEN" not in first.environment()


def test_deploys_are_listed_and_a_roll_back_needs_something_to_go_back_to(orch: Orch, world: World) -> None:
    assert orch("deploy", "list", "--json").data == []
    assert orch("deploy", "rollback", "SHOP", "production", "--yes").code == exits.WRONG_USE
    answer = orch("deploy", "rollback", "DEMO", "production", "--yes")
    assert answer.code == exits.WRONG_USE
    assert "nothing was deployed to production of DEMO" in answer.err


DOCUMENTS = Path(__file__).parents[2] / "docs"


def test_every_command_and_exit_code_of_the_operations_page_exists() -> None:
    page = (DOCUMENTS / "operations.md").read_text()
    named = set(re.findall(r"(?:`|^ {4})orch ([a-z][a-z-]*)", page, re.MULTILINE))
    assert named - set(commands._TABLE) == set()
    codes = {int(code) for code in re.findall(r"^\| (\d) \|", page, re.MULTILINE)}
    assert codes == {value for name, value in vars(exits).items() if name.isupper()}


def test_every_setting_of_the_configuration_page_exists_and_every_timing_stands_there() -> None:
    page = (DOCUMENTS / "configuration.md").read_text()
    known = {name for name, _value, _source in describe(load_settings({}))}
    named = set(re.findall(r"`(ORCH_[A-Z_]+[A-Z])[`=]", page))
    assert {name for name in named if name.removesuffix("_FILE") not in known} == set()
    assert {name for name in known if name.endswith(("_S", "_ENABLED"))} - named == set()


def deployed(store: Store, task_id: int, sha: str) -> None:
    """A production deployment that landed."""
    change(
        store,
        """INSERT INTO deployments (project, environment, task_id, visit, sha, status, previous_sha, finished_at)
        VALUES ('DEMO', 'production', :t, :v, :s, 'succeeded',
          (SELECT sha FROM deployments ORDER BY id DESC LIMIT 1), clock_timestamp())""",
        t=task_id,
        v=int(sha[0]),
        s=sha,
    )


DEPLOYS_YML = """
deploys:
  production:
    command: ["true"]
    health_url: http://127.0.0.1:1/health
"""


def test_a_roll_back_asks_once_for_the_version_before(orch: Orch, world: World, store: Store, tmp_path: Path) -> None:
    add_to_configuration(world, tmp_path, DEPLOYS_YML)
    task = start(store)
    deployed(store, task.id, "1" * 40)
    assert "no version before" in orch("deploy", "rollback", "DEMO", "production", "--yes").err
    deployed(store, task.id, "2" * 40)
    assert "1111111111 back in production" in orch("deploy", "rollback", "DEMO", "production").err
    asked = orch("deploy", "rollback", "DEMO", "production", "--yes", "--json")
    assert (asked.code, asked.data["sha"], asked.data["status"]) == (exits.DONE, "1" * 40, "requested")
    newest = orch("deploy", "list", "DEMO", "--json").data[0]
    assert (newest["kind"], newest["sha"]) == ("roll_back", "1" * 40)
    again = orch("deploy", "rollback", "DEMO", "production", "--yes")
    assert again.code == exits.WRONG_USE
    assert "is requested" in again.err
    assert "deploy.roll_back_requested" in orch("log", "DEMO-1").out


def add_to_configuration(world: World, tmp_path: Path, more: str) -> None:
    work = tmp_path / "configuring"
    git(tmp_path, "clone", "-q", str(world.repository), str(work))
    with (work / ".orchestrator.yml").open("a") as file:
        file.write(more)
    git(work, "commit", "-q", "-a", "-m", "Deploy it")
    git(work, "push", "-q", "origin", "main")
