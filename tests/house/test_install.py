"""tools/install.sh says what is missing and how to mend it, and leaves no half-made venv behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASH = "/bin/bash"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH of our own: what is not in it is missing on that machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    _program(folder / "git", "exit 0")
    return folder


def _program(path: Path, body: str) -> None:
    path.write_text(f"#!{BASH}\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def _install(programs: Path, what: str = "nothing") -> subprocess.CompletedProcess[str]:
    place = programs.parent
    return subprocess.run(
        [BASH, str(ROOT / "tools/install.sh"), str(place / "venv"), what, str(place / "stamp")],
        env={"PATH": str(programs), "SYSTEM_PYTHON": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_machine_without_git_is_told_to_install_it(programs: Path) -> None:
    (programs / "git").unlink()
    done = _install(programs)
    assert done.returncode == 1
    assert "apt-get install git" in done.stderr


def test_a_machine_without_a_new_python_is_told_which_one_it_takes(programs: Path) -> None:
    _program(programs / "python3", "exit 1")
    done = _install(programs)
    assert done.returncode == 1
    assert "no Python 3.11 or later" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_a_python_that_cannot_make_a_venv_is_named_with_its_remedy(programs: Path) -> None:
    _program(programs / "python3", 'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac')
    done = _install(programs)
    assert done.returncode == 1
    assert "python3 cannot make virtual environments" in done.stderr
    assert "apt-get install python3-venv" in done.stderr
    assert not (programs.parent / "venv").exists()


def test_an_install_that_failed_leaves_no_stamp(programs: Path) -> None:
    _python_whose_pip_exits(programs, 1)
    done = _install(programs)
    assert done.returncode == 1
    assert "pip could not install nothing" in done.stderr
    assert not (programs.parent / "stamp").exists()


def test_an_install_that_worked_leaves_its_stamp(programs: Path) -> None:
    _python_whose_pip_exits(programs, 0)
    assert _install(programs).returncode == 0
    assert (programs.parent / "stamp").exists()


def _python_whose_pip_exits(programs: Path, code: int) -> None:
    venv_python = f'mkdir -p "$3/bin"; printf "#!{BASH}\\nexit {code}\\n" >"$3/bin/python"; chmod +x "$3/bin/python"'
    _program(programs / "python3", f'[ "$2" = venv ] && {{ {venv_python}; }}; exit 0')
    for name in ("mkdir", "chmod", "rm", "touch"):
        (programs / name).symlink_to(f"/bin/{name}")


def test_this_python_is_one_it_would_take() -> None:
    assert sys.version_info >= (3, 11)
