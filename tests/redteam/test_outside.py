"""The same attempts without a sandbox: what fails there too, and, told honestly, what does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from orchestrator.domain.configuration import Sandbox
from orchestrator.embedded.places import Places
from tests.fixtures_stores import PostgresServer
from tests.redteam.conftest import Attacked, attacked
from tests.redteam.table import ATTEMPTS, no_trap_was_sprung, went_as_it_says


@pytest.fixture(scope="module")
def attack(
    tmp_path_factory: pytest.TempPathFactory,
    module_database_url: str,
    postgres_server: PostgresServer,
    valkey_server: Places,
) -> Iterator[Attacked]:
    root = tmp_path_factory.mktemp("outside")
    with ExitStack() as stack:
        yield attacked(Sandbox.OFF, root, module_database_url, postgres_server.places, valkey_server, stack)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_without_a_sandbox_an_attempt_ends_as_the_document_says(attack: Attacked, attempt: str) -> None:
    went_as_it_says(attack, attempt)


def test_nothing_that_it_planted_was_run_by_our_git(attack: Attacked) -> None:
    no_trap_was_sprung(attack)


def test_what_it_changed_of_its_git_is_told_as_a_fact(attack: Attacked) -> None:
    [[told]] = attack.world.rows("SELECT detail->'git' FROM events WHERE kind = 'run.noticed' ORDER BY id LIMIT 1")
    assert {".git/config: core.hookspath", ".git/config: core.fsmonitor", ".git/hooks/pre-push is new"} <= set(told)
