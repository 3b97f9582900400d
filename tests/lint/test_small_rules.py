"""ORC000, ORC005 to ORC007, ORC010 to ORC012: one law a line."""

from __future__ import annotations

import pytest

from tests.lint.judging import codes

CORE = "orchestrator/engine/drive.py"


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.environ['X']",
        "import os\nos.getenv('X')",
        "from os import environ\nenviron.get('X')",
        "from os import getenv as g\ng('X')",
        "import os as o\no.environ.copy()",
    ],
)
def test_the_environment_is_read_by_settings_only(code: str) -> None:
    assert set(codes(CORE, code)) == {"ORC005"}
    assert codes("orchestrator/settings.py", code) == []
    assert codes("orchestrator/adapters/shim.py", code) == []


@pytest.mark.parametrize("code", ["import os\nos.getpid()", "environ = {}\nenviron.get('X')"])
def test_other_uses_of_os_pass(code: str) -> None:
    assert codes(CORE, code) == []


@pytest.mark.parametrize("caught", ["Exception", "BaseException", "(ValueError, Exception)", ""])
def test_a_broad_except_is_found_inside_the_core(caught: str) -> None:
    code = f"try:\n    f()\nexcept {caught}:\n    log()\n"
    assert codes(CORE, code) == ["ORC006"]
    assert codes("tasks/base.py", code) == []


def test_a_narrow_except_and_one_that_raises_again_pass() -> None:
    assert codes(CORE, "try:\n    f()\nexcept ValueError:\n    log()\n") == []
    assert codes(CORE, "try:\n    f()\nexcept Exception:\n    log()\n    raise\n") == []


def test_a_broad_except_that_raises_in_one_branch_only_is_found() -> None:
    code = "try:\n    f()\nexcept Exception:\n    if x:\n        raise\n    log()\n"
    assert codes(CORE, code) == ["ORC006"]


@pytest.mark.parametrize("proof", ["HeldLease", "HeldMergeLane", "ownership.HeldLease"])
def test_a_proof_of_ownership_is_made_by_the_leases_only(proof: str) -> None:
    assert codes(CORE, f"lease = {proof}(task_id=1)") == ["ORC007"]
    assert codes("orchestrator/store/leases.py", f"lease = {proof}(task_id=1)") == []
    assert codes(CORE, f"def act(lease: {proof}) -> None: ...") == []


@pytest.mark.parametrize(
    "code",
    [
        "from datetime import datetime\ndatetime.now(UTC)",
        "import datetime as d\nd.datetime.utcnow()",
        "import time\ntime.time()",
        "from uuid import uuid4\nuuid4()",
    ],
)
def test_the_pure_core_reads_no_clock(code: str) -> None:
    assert codes("orchestrator/domain/decide.py", code) == ["ORC010"]
    assert codes(CORE, code) == []


def test_the_pure_core_computes_with_times_it_was_given() -> None:
    code = "from datetime import datetime, timedelta\ndatetime(2026, 1, 1) + timedelta(1)\nclock.time()"
    assert codes("orchestrator/domain/decide.py", code) == []


@pytest.mark.parametrize(
    "code",
    [
        "git(['push', '--force', 'origin', x])",
        "git('push', '-f', 'origin', x)",
        "run(['git', 'push', 'origin', f'+{sha}:{branch}'])",
        "run('git push --force origin main')",
        "git('push', '--force-with-lease', 'origin', x)",
    ],
)
def test_a_forced_push_is_found(code: str) -> None:
    assert set(codes("orchestrator/adapters/git.py", code)) == {"ORC011"}


@pytest.mark.parametrize(
    "code",
    [
        "git(['push', 'origin', f'{sha}:{branch}'])",
        "git('push', f'--force-with-lease={ref}:{old}', 'origin', x)",
        "git('worktree', 'remove', '--force', path)",
    ],
)
def test_a_conditional_push_passes(code: str) -> None:
    assert codes("orchestrator/adapters/git.py", code) == []


@pytest.mark.parametrize(
    "path", ["orchestrator/utils.py", "orchestrator/store/helpers/x.py", "tests/common.py", "web/manager.py"]
)
def test_a_name_that_says_nothing_is_found(path: str) -> None:
    assert codes(path, "x = 1") == ["ORC012"]


def test_a_file_that_does_not_parse_is_one_finding() -> None:
    assert codes(CORE, "def (:\n") == ["ORC000"]
