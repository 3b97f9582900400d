"""The command as a whole: its help, its exit codes, its errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli import commands, exits, failures
from orchestrator.domain.errors import (
    ConfigurationError,
    LostRaceError,
    NeedsHumanError,
    NotFoundError,
    PermanentError,
    TransientError,
    UsageError,
)
from tests.cli.conftest import Orch

NAMES = sorted(set(commands._TABLE) - {"demo"})
ORCH = Path(sys.executable).with_name("orch")


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    found = [path]
    for name in command.list_commands(context):
        inner = command.get_command(context, name) if name != "demo" else None
        found += every_command(inner, (*path, name)) if inner is not None else []
    return found


def test_help_names_every_command_and_imports_none_of_them() -> None:
    loaded = "import sys; from orchestrator.cli import run; run(['--help']); print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in commands._TABLE)
    assert done.stdout.rstrip().endswith("False")


@pytest.mark.parametrize("path", every_command(commands.orch), ids=" ".join)
def test_every_command_explains_itself(orch: Orch, path: tuple[str, ...]) -> None:
    answer = orch(*path, "--help")
    assert answer.code == exits.DONE
    assert "Usage: orch" in answer.out


def test_every_command_answers_as_json() -> None:
    for path in every_command(commands.orch):
        command: click.Command = commands.orch
        for name in path:
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), name)
            assert found is not None
            command = found
        if not isinstance(command, click.Group):
            assert any("--json" in one.opts for one in command.params), path


def test_a_mistyped_command_is_answered_with_the_nearest_one(orch: Orch) -> None:
    answer = orch("statsu")
    assert (answer.code, answer.out) == (exits.WRONG_USE, "")
    assert "Did you mean status?" in answer.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TransientError("m", remedy="r"), exits.FAILED),
        (PermanentError("m", remedy="r"), exits.FAILED),
        (ConfigurationError("m", remedy="r"), exits.WRONG_USE),
        (UsageError("m", remedy="r"), exits.WRONG_USE),
        (NotFoundError("m", remedy="r"), exits.WRONG_USE),
        (LostRaceError("m", remedy="r"), exits.CHANGED),
        (NeedsHumanError("m", remedy="r"), exits.NEEDS_PERSON),
    ],
)
def test_each_kind_of_error_has_its_exit_code_its_message_and_its_remedy(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    assert failures.tell(error) == code
    assert capsys.readouterr().err == "error: m\nr\n"


def test_a_defect_of_ours_is_one_line_and_no_traceback(orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("orchestrator.cli.session.settings", broken)
    answer = orch("status")
    assert answer.code == exits.FAILED
    assert "ZeroDivisionError: oh" in answer.err
    assert "Traceback" not in answer.err


def test_a_traceback_is_shown_to_who_asks_for_it(orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("ORCH_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    assert "Traceback" in orch("status").err


def test_text_of_others_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    failures.tell(UsageError("title \x1b[2J\x07\x9b2J"))
    # Click takes ANSI sequences out where there is no terminal, so their relatives are what shows it.
    assert not {"\x07", "\x9b", "\x1b"} & set(capsys.readouterr().err)


def test_the_installed_program_ends_with_the_code_of_the_table(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "ORCH_DATA_DIR": str(tmp_path)}
    done = subprocess.run([ORCH, "status"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == exits.FAILED
    assert str(tmp_path) in done.stderr
    assert "orch up" in done.stderr
    assert "Traceback" not in done.stderr
