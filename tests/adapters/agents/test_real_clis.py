"""The real CLIs without a login and without a network, in argv, environment, shim and sandbox of the runners.

Minutes long: some of them try to connect for a minute before they give up, and one never does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters.agents import sandbox
from tests.adapters.agents import real_clis
from tests.adapters.agents.real_clis import CASES, Case, NotHere

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]
IN_THE_SANDBOX = [case for case in CASES if case.reason == "exited"]


@pytest.fixture(scope="module")
def programs() -> Path:
    try:
        real_clis.without_network()
        return real_clis.install()
    except NotHere as why:
        pytest.skip(str(why))


def _said(case: Case, found: dict[str, object]) -> tuple[object, object]:
    print(f"{case.cli} {case.name}: {found['outcome']} after {found['seconds']} s, exit {found['exit']}")
    assert (found["outcome"], found["reason"]) == (case.outcome, case.reason), found
    assert found["detail"], "a person finds words"
    return found["outcome"], found["reason"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.cli}-{case.name}")
def test_without_a_login_a_real_cli_ends_as_expected(case: Case, programs: Path, tmp_path: Path) -> None:
    _said(case, real_clis.run(case, programs, tmp_path, sandbox="off"))


@pytest.mark.skipif(bool(sandbox.problem()), reason=f"no sandbox on this machine: {sandbox.problem()}")
@pytest.mark.parametrize("case", IN_THE_SANDBOX, ids=lambda case: f"{case.cli}-{case.name}")
def test_in_the_sandbox_a_real_cli_starts_and_ends_the_same(case: Case, programs: Path, tmp_path: Path) -> None:
    _said(case, real_clis.run(case, programs, tmp_path, sandbox="required"))
