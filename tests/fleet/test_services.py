"""What the services of a machine are, as values."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.embedded.places import places
from orchestrator.fleet import Rank, Service, build_services
from orchestrator.fleet.services import FLOWER_USER
from orchestrator.settings import Settings, load_settings

PASSWORD = "a-password-of-flower"


def _settings(data_dir: Path, **more: str) -> Settings:
    environ = {"PATH": "/usr/bin", "HOME": "/home/me", "BROKER_URL": "amqp://elsewhere", "ORCH_NODE": "n1"}
    return load_settings(environ | {"ORCH_DATA_DIR": str(data_dir)} | more)


def _services(data_dir: Path, **more: str) -> dict[str, Service]:
    built = build_services(_settings(data_dir, **more), flower_password=PASSWORD)
    return {service.name: service for service in built}


def test_all_parts_of_one_machine_are_there_in_their_ranks(tmp_path: Path) -> None:
    ranks = {name: service.rank for name, service in _services(tmp_path).items()}
    assert ranks == {
        "postgres": Rank.DATABASE,
        "valkey": Rank.BROKER,
        "migrations": Rank.MIGRATIONS,
        "edges": Rank.WORKERS,
        "intake": Rank.WORKERS,
        "sweeps": Rank.WORKERS,
        "agents": Rank.WORKERS,
        "beat": Rank.ENTRANCES,
        "web": Rank.ENTRANCES,
        "flower": Rank.ENTRANCES,
    }


def test_a_store_with_a_url_of_its_own_is_not_started(tmp_path: Path) -> None:
    urls = {"ORCH_DATABASE_URL": "postgresql://db/orch", "ORCH_BROKER_URL": "redis://broker/0"}
    services = _services(tmp_path, **urls)
    assert not {"postgres", "valkey"} & services.keys()
    assert services["web"].env["ORCH_BROKER_URL"] == "redis://broker/0"


@pytest.mark.parametrize(
    ("name", "queue"), [("edges", "edges"), ("intake", "intake"), ("sweeps", "sweeps"), ("agents", "agents.n1")]
)
def test_each_worker_has_its_own_queue_and_a_name_with_its_node(tmp_path: Path, name: str, queue: str) -> None:
    argv = _services(tmp_path)[name].argv
    assert argv[argv.index("-Q") + 1] == queue
    assert argv[argv.index("-n") + 1] == f"{name}@n1"


def test_children_get_the_embedded_urls_and_nothing_that_celery_would_take_for_its_own(tmp_path: Path) -> None:
    env = _services(tmp_path)["edges"].env
    assert env["ORCH_DATABASE_URL"].startswith("postgresql+psycopg://postgres@/orchestrator?host=")
    assert env["ORCH_BROKER_URL"].startswith("redis+socket:///")
    assert env["HOME"] == "/home/me"
    assert "BROKER_URL" not in env


def test_children_can_read_their_settings_back(tmp_path: Path) -> None:
    given = _services(tmp_path, ORCH_PORT="8123")["web"].env
    assert load_settings(given).port == 8123
    assert load_settings(given).database_url == given["ORCH_DATABASE_URL"]


def test_stores_get_no_settings_of_ours(tmp_path: Path) -> None:
    services = _services(tmp_path, ORCH_API_TOKEN="t" * 32)
    for name in ("postgres", "valkey"):
        assert not [key for key in services[name].env if key.startswith("ORCH_")]


def test_no_secret_is_on_a_command_line(tmp_path: Path) -> None:
    services = _services(tmp_path, ORCH_API_TOKEN="t" * 32)
    words = " ".join(word for service in services.values() for word in service.argv)
    assert PASSWORD not in words
    assert "t" * 32 not in words
    assert services["flower"].env["FLOWER_BASIC_AUTH"] == f"{FLOWER_USER}:{PASSWORD}"


def test_flower_stays_on_loopback_and_read_only_even_when_the_web_does_not(tmp_path: Path) -> None:
    services = _services(tmp_path, ORCH_HOST="0.0.0.0", ORCH_API_TOKEN="t" * 32)
    assert "0.0.0.0:8080" in services["web"].argv
    assert {"--address=127.0.0.1", "--read_only=True"} <= set(services["flower"].argv)


def test_a_broker_whose_whole_directory_was_lost_comes_up_empty(tmp_path: Path) -> None:
    prepare = _services(tmp_path)["valkey"].prepare
    assert prepare is not None
    for _ in range(2):
        prepare()
        (config,) = places(tmp_path).valkey_data.iterdir()
        assert "unixsocket" in config.read_text()
        shutil.rmtree(config.parent)
