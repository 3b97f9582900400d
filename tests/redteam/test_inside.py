"""An agent that is not friendly tries everything in the sandbox, as a real run in a real project."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.adapters.agents import sandbox
from orchestrator.domain.configuration import Sandbox
from orchestrator.embedded.places import Places
from tests.fixtures_stores import PostgresServer
from tests.redteam.conftest import Attacked, attacked
from tests.redteam.table import ATTEMPTS, FAILS, NOT_ROOT, SUCCEEDS, no_trap_was_sprung, table, went_as_it_says

sandboxed = pytest.mark.skipif(bool(sandbox.problem()), reason=f"no sandbox on this machine: {sandbox.problem()}")


@pytest.fixture(scope="module")
def attack(
    tmp_path_factory: pytest.TempPathFactory,
    module_database_url: str,
    postgres_server: PostgresServer,
    valkey_server: Places,
) -> Iterator[Attacked]:
    root = tmp_path_factory.mktemp("inside")
    with ExitStack() as stack:
        yield attacked(Sandbox.REQUIRED, root, module_database_url, postgres_server.places, valkey_server, stack)


def test_every_attempt_has_its_row_in_the_document_and_every_row_its_attempt() -> None:
    assert list(table()) == ATTEMPTS
    assert {inside for inside, _ in table().values()} == {FAILS}
    assert {outside for _, outside in table().values()} == {FAILS, SUCCEEDS, NOT_ROOT}


@sandboxed
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_in_the_sandbox_an_attempt_ends_as_the_document_says(attack: Attacked, attempt: str) -> None:
    went_as_it_says(attack, attempt)


@sandboxed
def test_nothing_that_it_planted_was_run_by_our_git(attack: Attacked) -> None:
    no_trap_was_sprung(attack)


@sandboxed
def test_keys_of_all_agents_and_the_configuration_are_covered_wherever_they_lie(attack: Attacked) -> None:
    words = json.loads((attack.run_dir / "request.json").read_text())["argv"]
    covered = {Path(words[at + 1]).name for at, word in enumerate(words) if word == "/dev/null"}
    assert covered == {"gitea.token", "reviewer.key", "orchestrator.yml"}


@sandboxed
def test_the_base_branches_stand_where_they_stood(attack: Attacked) -> None:
    assert attack.world.git("rev-parse", "main") == attack.base_before
    assert attack.forge.git.tip("main") == attack.forge_base_before


@sandboxed
def test_there_was_nothing_to_tell_of_its_git(attack: Attacked) -> None:
    assert attack.world.rows("SELECT detail->'git' FROM events WHERE kind = 'run.noticed'") == []
