"""Connecting trackers and forges by the command line, on servers that behave as the real ones do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from orchestrator.adapters.forges.gitea_setup import SCOPES
from orchestrator.adapters.trackers.plane.setup import refused_address
from orchestrator.cli import checks_connections, exits, init
from orchestrator.cli.findings import Finding, Health
from orchestrator.demo.doubles.gitea import Person
from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import API_KEY
from orchestrator.settings import load_settings
from tests.adapters.forge_worlds import ADMIN_TOKEN, TOKEN, GiteaWorld, gitea_world
from tests.cli.conftest import Orch
from web import create_app

PROJECT = """\
projects:
  - key: ORCH
    repository: {repository}
    tracker: {tracker}
    forge: {forge}
    plane: {{workspace: acme}}
    agents:
      analysis: &agent {{command: [agent]}}
      architecture: *agent
      development: *agent
      review: *agent
      testing: *agent
"""


@pytest.fixture
def gitea(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GiteaWorld]:
    with gitea_world(tmp_path / "gitea") as world:
        world.double.let_in(TOKEN, Person("orchestrator", SCOPES))
        monkeypatch.setenv("ORCH_GITEA_URL", world.double.url)
        monkeypatch.setenv("ORCH_GITEA_TOKEN", TOKEN)
        monkeypatch.setenv("ORCH_GITEA_WEBHOOK_SECRET", "s3cret")
        (tmp_path / "orchestrator.yml").write_text(
            PROJECT.format(repository=world.double.clone_url, tracker="local", forge="gitea")
        )
        yield world


def test_connect_makes_one_signed_hook_and_the_second_time_changes_nothing(
    orch: Orch, gitea: GiteaWorld, tmp_path: Path
) -> None:
    (tmp_path / "admin").write_text(ADMIN_TOKEN)
    told = ""
    for _ in range(2):
        done = orch("init", "--connect", "ORCH", "--admin-token-file", str(tmp_path / "admin"))
        assert done.code == exits.DONE, done.out + done.err
        told += done.out + done.err
    [hook] = gitea.double.forge.hooks.values()
    assert (hook.url, hook.active, hook.secret) == ("http://127.0.0.1:8080/webhooks/gitea", True, "s3cret")
    assert ADMIN_TOKEN not in told


def test_connect_without_the_rights_says_which_and_ends_with_an_error(orch: Orch, gitea: GiteaWorld) -> None:
    done = orch("init", "--connect", "ORCH")
    assert done.code == exits.FAILED
    assert "BAD" in done.out
    assert not gitea.double.forge.hooks


@pytest.mark.parametrize(("key", "words"), [("NOPE", "NOPE is not configured")])
def test_connect_of_what_is_not_there_is_wrong_use(orch: Orch, gitea: GiteaWorld, key: str, words: str) -> None:
    done = orch("init", "--connect", key)
    assert (done.code, words in done.err) == (exits.WRONG_USE, True)


def findings(fleet_runs: bool = False) -> list[Finding]:
    return list(checks_connections.findings(load_settings(), fleet_runs=fleet_runs))


def test_doctor_tells_rights_and_not_presence_of_a_forge(orch: Orch, gitea: GiteaWorld) -> None:
    told = {one.part.split()[-1]: one for one in findings()}
    assert told["token"].health is Health.GOOD
    assert (told["main"].health, told["main"].got) == (Health.BAD, "is not protected")
    assert told["webhooks"].mend.startswith("`orch up`")


def test_a_tracker_that_is_not_set_up_hides_nothing_of_the_forge(orch: Orch, gitea: GiteaWorld, tmp_path: Path) -> None:
    config = tmp_path / "orchestrator.yml"
    config.write_text(config.read_text().replace("tracker: local", "tracker: plane"))
    told = {one.part: one for one in findings()}
    assert "ORCH_PLANE_API_KEY" in told["ORCH tracker"].got
    assert told["demo/shop main"].got == "is not protected"


def test_doctor_tells_of_a_plane_that_lacks_a_state_or_a_member(
    orch: Orch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PlaneDouble() as double:
        monkeypatch.setenv("ORCH_PLANE_URL", double.url)
        monkeypatch.setenv("ORCH_PLANE_API_KEY", API_KEY)
        config = tmp_path / "orchestrator.yml"
        config.write_text(PROJECT.format(repository="r.git", tracker="plane", forge="local"))
        [states] = [one for one in findings() if one.part == "acme/ORCH project"]
        assert states.got.startswith("Backlog, To Analyse")
        secret = [one for one in findings() if one.part == "acme/ORCH webhook" and one.health is Health.BAD]
        assert "ORCH_PLANE_WEBHOOK_SECRET_FILE" in secret[0].mend
        config.write_text(
            config.read_text().replace("{workspace: acme}", "{workspace: acme, states: {stop: {name: Halt}}}")
        )
        wrong = [one for one in findings() if one.part == "acme/ORCH project"]
        assert "there is no state «Halt» (stop)" in wrong[0].got
        monkeypatch.setenv("ORCH_PLANE_API_KEY", "another-key")
        assert any(one.health is Health.BAD and one.part.endswith("key") for one in findings())


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("http://127.0.0.1/webhooks/plane", "without a port"),
        ("http://127.0.0.1:8080/webhooks/plane", "private address"),
        ("http://orchestrator:8080/webhooks/plane", "without a dot"),
        ("http://10.1.2.3:8080/webhooks/plane", "private address"),
        ("https://orch.example.org/webhooks/plane", ""),
        ("https://93.184.216.34/webhooks/plane", ""),
    ],
)
def test_an_address_is_judged_as_plane_judges_it(url: str, refused: str) -> None:
    found = refused_address(url)
    assert (refused in found[0]) if refused and found else (found is None and not refused)


@pytest.fixture
def web(orch: Orch, gitea: GiteaWorld, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The web app behind a real server on this test's database; its address."""
    monkeypatch.setenv("ORCH_DATABASE_URL", database_url)
    monkeypatch.setenv("ORCH_BROKER_URL", "redis://127.0.0.1:1/0")
    server = make_server("127.0.0.1", 0, create_app(load_settings()), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("ORCH_PUBLIC_URL", f"http://127.0.0.1:{server.server_port}")
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_knock_shows_that_the_address_leads_to_this_web_and_keeps_unsigned_ones_out(
    web: str, gitea: GiteaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    [good] = [one for one in findings(fleet_runs=True) if one.part == "gitea webhooks"]
    assert (good.health, "leads here" in good.got) == (Health.GOOD, True)
    monkeypatch.setenv("ORCH_PUBLIC_URL", gitea.double.url)
    [elsewhere] = [one for one in findings(fleet_runs=True) if one.part == "gitea webhooks"]
    assert (elsewhere.health, "somebody else answers" in elsewhere.got) == (Health.BAD, True)


def test_connecting_ends_with_a_delivery_that_came_all_the_way(
    orch: Orch, web: str, gitea: GiteaWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "_ROUND_TRIP_S", 5.0)
    (tmp_path / "admin").write_text(ADMIN_TOKEN)
    done = orch("init", "--connect", "ORCH", "--admin-token-file", str(tmp_path / "admin"))
    assert (done.code, "it arrived, signed" in done.out) == (exits.DONE, True), done.out + done.err
    [hook] = gitea.double.forge.hooks.values()
    object.__setattr__(hook, "secret", "another")
    done = orch("init", "--connect", "ORCH", "--admin-token-file", str(tmp_path / "admin"))
    assert "nothing new came in 5 s" in done.out


@pytest.mark.parametrize(("tracker", "forge"), [("plane", "gitea"), ("local", "github"), ("local", "local")])
def test_init_writes_a_good_file_for_each_choice_and_tells_what_to_set(orch: Orch, tracker: str, forge: str) -> None:
    done = orch("init", "--tracker", tracker, "--forge", forge, "--key", "SHOP", "--json")
    assert done.code == exits.DONE, done.err
    assert orch("config", "check").code == exits.DONE
    told = " ".join(done.data["next"])
    written = (Path(done.data["files"][0]["path"])).read_text()
    address = {"gitea": "https://git.example.org/team/demo.git", "github": "https://github.com/team/demo.git"}
    assert address.get(forge, "repositories/demo.git") in written
    for source in {tracker, forge} - {"local"}:
        assert f"ORCH_{source.upper()}_WEBHOOK_SECRET_FILE" in told
    assert ("--connect SHOP" in told) is (forge != "local")
