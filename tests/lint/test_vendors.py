"""ORC004."""

from __future__ import annotations

import pytest

from tests.lint.judging import codes

NAMES = [
    "kind = 'gitea'",
    "text = f'https://{host}/api/GitHub'",
    "class PlaneTracker: ...",
    "def read_gitea() -> None: ...",
    "def read(claude_home: str) -> None: ...",
    "connect(telegram_token=1)",
    "from orchestrator.thing import codex",
    "import gemini",
    "settings.plane_url",
    "GITHUB_TOKEN = 1",
    "opencode = 1",
]


@pytest.mark.parametrize("code", NAMES)
def test_a_vendor_word_is_found_in_the_core(code: str) -> None:
    assert set(codes("orchestrator/engine/intake.py", code)) == {"ORC004"}


@pytest.mark.parametrize("code", NAMES)
@pytest.mark.parametrize(
    "path",
    ["orchestrator/adapters/x.py", "orchestrator/settings.py", "orchestrator/bootstrap.py", "web/webhooks.py"],
)
def test_adapters_and_configuration_name_vendors(path: str, code: str) -> None:
    assert codes(path, code) == []


@pytest.mark.parametrize(
    "code",
    [
        '"""Plane takes any answer as delivered."""',
        "x = 1  # Gitea never retries",
        "planet = 'explanes the aeroplane'",
        "class Airplane: ...",
        "Actor.PLANE",
        'x: int = 1\n"""GitHub\'s limit."""',
    ],
)
def test_prose_other_words_and_actors_pass(code: str) -> None:
    assert codes("orchestrator/engine/intake.py", code) == []


def test_a_module_named_after_a_vendor_is_found() -> None:
    assert codes("orchestrator/engine/gitea.py", "x = 1") == ["ORC004"]


def test_the_actors_and_their_constraint_keep_their_names() -> None:
    assert codes("orchestrator/domain/stages.py", "PLANE = 'plane'") == []
    assert codes("orchestrator/store/schema.py", "x = \"actor in ('plane', 'gitea')\"") == []
    assert codes("orchestrator/store/schema.py", "x = 'github'") == ["ORC004"]
