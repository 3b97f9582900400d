"""``orch verdict put`` and the file behind it: what an agent may write, and what is read after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.adapters import verdict_files
from orchestrator.cli import verdict as cli
from orchestrator.domain.errors import PermanentError
from orchestrator.domain.verdicts import MAX_BYTES, InvalidVerdict, Verdict, VerdictKind
from orchestrator.ports import VerdictFiles
from tests.verdict_documents import RUN, document


def verdict(**changes: Any) -> bytes:
    return json.dumps(document(**changes)).encode()


def artifact(path: str) -> dict[str, str]:
    return {"path": path, "kind": "document", "description": "d"}


def git(cwd: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    """A linked worktree, as every task has one, made ready for a run."""
    main, linked = tmp_path / "main", tmp_path / "linked"
    main.mkdir()
    git(main, "init", "-q", "-b", "main")
    git(main, "commit", "-q", "--allow-empty", "-m", "start")
    git(main, "worktree", "add", "-q", str(linked))
    verdict_files.prepare(linked, RUN)
    return linked


def read_errors(worktree: Path) -> str:
    found = verdict_files.read(worktree, RUN)
    assert isinstance(found, InvalidVerdict)
    return "\n".join(found.errors)


def test_it_is_the_port() -> None:
    port: VerdictFiles = verdict_files
    assert port


class TestPut:
    def test_a_valid_verdict_is_filed_and_read_again(self, worktree: Path) -> None:
        (worktree / "a.md").write_text("x")
        assert cli.put(verdict(artifacts=[artifact("a.md")]), worktree) == (0, ["verdict filed: pass for run run-1"])
        found = verdict_files.read(worktree, RUN)
        assert isinstance(found, Verdict)
        assert found.kind is VerdictKind.PASS

    def test_it_finds_the_worktree_from_a_directory_below(self, worktree: Path) -> None:
        (worktree / "src" / "deep").mkdir(parents=True)
        assert cli.put(verdict(), worktree / "src" / "deep")[0] == 0

    def test_each_error_is_named_by_its_path_and_the_filed_one_stays(self, worktree: Path) -> None:
        assert cli.put(verdict(), worktree)[0] == 0
        code, lines = cli.put(verdict(verdict="maybe", run_id="other"), worktree)
        assert code == 2
        assert [line.split(":")[0] for line in lines] == ["$.run_id", "$.verdict"]
        assert isinstance(verdict_files.read(worktree, RUN), Verdict)

    def test_a_later_verdict_replaces_an_earlier_one(self, worktree: Path) -> None:
        cli.put(verdict(), worktree)
        cli.put(verdict(verdict="fail"), worktree)
        found = verdict_files.read(worktree, RUN)
        assert isinstance(found, Verdict)
        assert found.kind is VerdictKind.FAIL
        assert sorted(one.name for one in (worktree / ".orchestrator").iterdir()) == ["run.json", "verdict.json"]

    def test_outside_a_run_it_says_so(self, tmp_path: Path) -> None:
        code, lines = cli.put(verdict(), tmp_path)
        assert code == 2
        assert "no run here" in lines[0]

    @pytest.mark.parametrize("damaged", ["", "[]", '{"run_id": 3}'])
    def test_a_damaged_run_file_is_named(self, worktree: Path, damaged: str) -> None:
        (worktree / ".orchestrator" / "run.json").write_text(damaged)
        code, lines = cli.put(verdict(), worktree)
        assert code == 2
        assert "run.json is damaged" in lines[0]

    @pytest.mark.parametrize(
        ("path", "said"), [("missing.md", "does not exist"), ("out.md", "leads out"), ("out/passwd", "leads out"),
                           ("loop", "does not exist"), ("x" * 5000, "does not exist")]
    )  # fmt: skip
    def test_artifacts_must_exist_inside_the_worktree(self, worktree: Path, path: str, said: str) -> None:
        (worktree / "out.md").symlink_to("/etc/passwd")
        (worktree / "out").symlink_to("/etc")
        (worktree / "loop").symlink_to("loop")
        code, lines = cli.put(verdict(artifacts=[artifact(path)]), worktree)
        assert code == 2
        assert lines[0].startswith("$.artifacts[0].path: ")
        assert said in lines[0]

    def test_a_link_that_stays_inside_is_fine(self, worktree: Path) -> None:
        (worktree / "a.md").write_text("x")
        (worktree / "b.md").symlink_to("a.md")
        assert cli.put(verdict(artifacts=[artifact("b.md")]), worktree)[0] == 0


class TestCommand:
    def run(self, worktree: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes, *arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(worktree)
        result = CliRunner().invoke(cli.verdict_group(), ["put", *arguments], input=raw)
        return result.exit_code, result.output

    def test_it_reads_stdin_and_answers_by_exit_code(self, worktree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.run(worktree, monkeypatch, verdict()) == (0, "verdict filed: pass for run run-1\n")
        code, output = self.run(worktree, monkeypatch, b"{}")
        assert code == 2
        assert "$.run_id: is missing" in output

    def test_it_speaks_json(self, worktree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code, output = self.run(worktree, monkeypatch, b"nonsense", "--json")
        assert code == 2
        assert json.loads(output)["filed"] is False
        assert self.run(worktree, monkeypatch, verdict(), "--json")[0] == 0

    def test_too_much_on_stdin_is_refused(self, worktree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code, output = self.run(worktree, monkeypatch, b" " * (MAX_BYTES + 10))
        assert code == 2
        assert "too large" in output

    def test_the_group_is_made_only_when_asked_for(self) -> None:
        assert cli.verdict.name == "verdict"  # type: ignore[attr-defined]  # by the module's __getattr__
        listed = subprocess.run(
            [sys.executable, "-c", "import sys, orchestrator.cli.verdict; print('click' in sys.modules)"],
            capture_output=True,
            text=True,
            cwd=Path(cli.__file__).parents[2],
        )
        assert listed.stdout.strip() == "False", listed.stderr


class TestPrepare:
    def test_git_ignores_it_in_a_linked_worktree_too(self, worktree: Path) -> None:
        cli.put(verdict(), worktree)
        assert git(worktree, "status", "--porcelain") == ""

    def test_doing_it_again_adds_nothing_twice(self, worktree: Path) -> None:
        verdict_files.prepare(worktree, "run-2")
        exclude = worktree / git(worktree, "rev-parse", "--git-path", "info/exclude").strip()
        assert exclude.read_text().count("/.orchestrator/") == 1

    def test_the_verdict_of_the_last_run_is_deleted(self, worktree: Path) -> None:
        cli.put(verdict(), worktree)
        verdict_files.prepare(worktree, RUN)
        assert "there is no verdict" in read_errors(worktree)

    @pytest.mark.parametrize("trap", ["link", "file"])
    def test_what_an_agent_laid_in_its_place_is_removed_and_not_followed(
        self, worktree: Path, tmp_path: Path, trap: str
    ) -> None:
        verdict_files.prepare(worktree, RUN)
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "precious").write_text("x")
        directory = worktree / ".orchestrator"
        (directory / "run.json").unlink()
        directory.rmdir()
        directory.symlink_to(outside) if trap == "link" else directory.write_text("x")
        verdict_files.prepare(worktree, "run-2")
        assert [one.name for one in outside.iterdir()] == ["precious"]
        assert json.loads((directory / "run.json").read_text()) == {"run_id": "run-2"}
        assert not directory.is_symlink()

    def test_a_repository_that_git_cannot_read_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / ".git").write_text("gitdir: /no/where")
        with pytest.raises(PermanentError, match="git cannot read"):
            verdict_files.prepare(tmp_path, RUN)


class TestRead:
    def test_none_was_written(self, worktree: Path) -> None:
        assert "was not written" in read_errors(worktree)

    def test_the_directory_is_gone(self, tmp_path: Path) -> None:
        assert "there is no verdict" in read_errors(tmp_path)

    def test_a_link_is_not_followed(self, worktree: Path, tmp_path: Path) -> None:
        (tmp_path / "v.json").write_bytes(verdict())
        (worktree / ".orchestrator" / "verdict.json").symlink_to(tmp_path / "v.json")
        assert "not a regular file" in read_errors(worktree)

    def test_a_linked_directory_is_not_followed(self, worktree: Path, tmp_path: Path) -> None:
        cli.put(verdict(), worktree)
        (worktree / ".orchestrator").rename(tmp_path / "moved")
        (worktree / ".orchestrator").symlink_to(tmp_path / "moved")
        assert "there is no verdict" in read_errors(worktree)

    def test_a_pipe_does_not_hold_us_up(self, worktree: Path) -> None:
        os.mkfifo(worktree / ".orchestrator" / "verdict.json")
        assert "not a regular file" in read_errors(worktree)

    def test_a_directory_is_no_verdict(self, worktree: Path) -> None:
        (worktree / ".orchestrator" / "verdict.json").mkdir()
        assert "not a regular file" in read_errors(worktree)

    def test_a_huge_file_is_refused(self, worktree: Path) -> None:
        with (worktree / ".orchestrator" / "verdict.json").open("wb") as file:
            file.truncate(10 * 1024 * MAX_BYTES)
        assert "too large" in read_errors(worktree)

    def test_the_verdict_of_another_run_is_named(self, worktree: Path) -> None:
        (worktree / ".orchestrator" / "verdict.json").write_bytes(verdict(run_id="run-0"))
        assert read_errors(worktree) == "$.run_id: is 'run-0', must be 'run-1'"

    def test_an_artifact_that_went_after_it_was_filed_is_named(self, worktree: Path) -> None:
        (worktree / "a.md").write_text("x")
        cli.put(verdict(artifacts=[artifact("a.md")]), worktree)
        (worktree / "a.md").unlink()
        assert "$.artifacts[0].path" in read_errors(worktree)
