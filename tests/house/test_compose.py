"""compose.yaml keeps its promises: loopback ports, secrets by files, one pid namespace, healthchecks."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.settings import load_settings

ROOT = Path(__file__).parents[2]
STORES = {"postgres", "valkey"}
# It runs to its end, and it only holds a namespace: neither has a health to ask for.
WITHOUT_HEALTH = {"migrate", "anchor"}
SECRET_WORDS = re.compile(r"PASSWORD|TOKEN|SECRET|KEY|AUTH|DATABASE_URL|BROKER_URL")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return YAML(typ="safe").load(ROOT / "compose.yaml")


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]


def test_every_part_of_the_fleet_has_a_service(services: dict[str, Any]) -> None:
    workers = {"worker-edges", "worker-intake", "worker-sweeps", "worker-agents"}
    assert set(services) == STORES | workers | WITHOUT_HEALTH | {"web", "beat", "flower"}


def test_every_published_port_is_on_loopback(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"web", "flower"}
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for published in ports.values() for port in published)
    assert not any(service.get("network_mode") for service in services.values())


def test_every_secret_is_a_file_and_is_used(compose: dict[str, Any], services: dict[str, Any]) -> None:
    declared = compose["secrets"]
    assert all(set(secret) == {"file"} for secret in declared.values())
    used = {name for service in services.values() for name in service.get("secrets", [])}
    assert used == set(declared)


def test_no_environment_holds_a_secret(services: dict[str, Any]) -> None:
    names = [name for service in services.values() for name in service.get("environment", {})]
    assert [name for name in names if SECRET_WORDS.search(name) and not name.endswith("_FILE")] == []
    assert not any("env_file" in service for service in services.values())


def test_only_the_proxy_to_the_login_reads_the_flower_password(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "flower_basic_auth" in service.get("secrets", [])] == [
        "flower"
    ]


def test_every_service_that_stays_up_has_a_healthcheck_and_restarts(services: dict[str, Any]) -> None:
    staying = {name: service for name, service in services.items() if name not in WITHOUT_HEALTH}
    assert [name for name, service in staying.items() if "test" not in service.get("healthcheck", {})] == []
    assert {service["restart"] for service in staying.values()} == {"unless-stopped"}


def test_our_processes_see_each_other(services: dict[str, Any]) -> None:
    ours = {name: service for name, service in services.items() if name not in STORES | {"anchor"}}
    assert {service["pid"] for service in ours.values()} == {"service:anchor"}
    assert {service["environment"]["ORCH_NODE"] for service in ours.values()} == {"compose"}


def test_our_containers_gain_no_privileges(services: dict[str, Any]) -> None:
    ours = [service for name, service in services.items() if name not in STORES]
    assert all(service["security_opt"] == ["no-new-privileges:true"] for service in ours)
    assert all(service["cap_drop"] == ["ALL"] for service in ours)


def test_the_agents_queue_is_the_nodes(services: dict[str, Any]) -> None:
    command = services["worker-agents"]["command"]
    node = services["worker-agents"]["environment"]["ORCH_NODE"]
    assert command[command.index("-Q") + 1] == f"agents.{node}"


def _write_secrets(directory: Path) -> subprocess.CompletedProcess[str]:
    script = ["bash", str(ROOT / "tools" / "compose_secrets.sh"), str(directory)]
    return subprocess.run(script, capture_output=True, text=True, check=False)


def test_the_script_writes_every_secret_that_compose_mounts(compose: dict[str, Any], tmp_path: Path) -> None:
    assert _write_secrets(tmp_path / "secrets").returncode == 0
    files = {Path(secret["file"]).name for secret in compose["secrets"].values()}
    assert {path.name for path in (tmp_path / "secrets").iterdir()} == files


def test_the_secrets_are_what_settings_read(tmp_path: Path) -> None:
    _write_secrets(tmp_path)
    settings = load_settings({"ORCH_ENV": "production", "HOME": str(tmp_path)}, secrets_dir=tmp_path)
    password = (tmp_path / "postgres_password").read_text()
    assert settings.database_url == f"postgresql+psycopg://orchestrator:{password}@postgres:5432/orchestrator"
    assert settings.broker_url is not None
    assert (
        f"requirepass {settings.broker_url[len('redis://:') :].partition('@')[0]}\n"
        in (tmp_path / "valkey_conf").read_text()
    )
    assert settings.api_token is not None
    assert len(settings.api_token.reveal()) == 64


def test_the_folder_of_secrets_is_closed_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    _write_secrets(directory)
    before = {path.name: path.read_text() for path in directory.iterdir()}
    again = _write_secrets(directory)
    assert (again.returncode, again.stdout) == (0, "")
    assert {path.name: path.read_text() for path in directory.iterdir()} == before
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_an_address_without_its_password_is_refused(tmp_path: Path) -> None:
    _write_secrets(tmp_path)
    (tmp_path / "postgres_password").unlink()
    done = _write_secrets(tmp_path)
    assert done.returncode == 1
    assert "orch_database_url" in done.stderr
    assert not (tmp_path / "postgres_password").exists()
