"""The parts of the demo, each alone: sample project, agent's edits, deploy command, counting, cleaning up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from orchestrator.demo import agent, counting
from orchestrator.demo.leftovers import end_leftovers, processes_of
from orchestrator.demo.outside import Merge, Outside
from orchestrator.demo.place import MARKER, Place, make_place, write_operator_config
from orchestrator.demo.project import SAMPLE, git, make_project
from orchestrator.demo.result import Result
from orchestrator.demo.story import STORY, Cue, cues_due
from orchestrator.domain.errors import UsageError
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import EffectStatus
from orchestrator.gates.coverage_report import line_rate
from orchestrator.ports import Observation
from orchestrator.project_config import parse_operator_config, parse_repository_config
from orchestrator.store.read_models import DeploymentRow
from tests.processes import until

BASIC = {"PATH": os.defpath}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = make_place(tmp_path / "demo", None)
    yield made
    assert end_leftovers(made) == []


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__")))


def write(shop: Path, *plans: Mapping[str, str]) -> None:
    for plan in plans:
        for name, text in plan.items():
            (shop / name).parent.mkdir(parents=True, exist_ok=True)
            (shop / name).write_text(text)


def run(shop: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", *argv]
    return subprocess.run(command, cwd=shop, env=BASIC, capture_output=True, text=True, timeout=60)


def rate(shop: Path) -> float:
    tested = run(shop, "tools/run_tests.py")
    assert tested.returncode == 0, tested.stderr
    found = line_rate((shop / "coverage.xml").read_bytes())
    assert isinstance(found, float)
    return found


# --- the sample project and what the scripted agent makes of it


def test_the_sample_passes_its_own_checks_and_leaves_a_coverage_report(shop):
    assert 0.5 < rate(shop) < 1.0
    assert run(shop, "tools/check_security.py").returncode == 0


def test_a_failing_test_fails_the_sample(shop):
    (shop / "products" / "cup.json").write_text('{"name": "cup", "cents": 0}')
    assert run(shop, "tools/run_tests.py").returncode == 1


@pytest.mark.parametrize("plan", ["weights", "vat", "teapot", "rates"])
def test_each_plan_passes_alone_and_lets_coverage_not_fall(shop, plan):
    before = rate(shop)
    write(shop, agent.PLANS[plan][0])
    assert rate(shop) >= before


def test_the_teapot_fails_only_together_with_the_weights_and_its_mend_passes(shop):
    write(shop, agent.WEIGHTS, agent.TEAPOT)
    assert "teapot" in run(shop, "tools/run_tests.py").stderr
    write(shop, agent.TEAPOT_WITH_WEIGHT)
    rate(shop)


def test_the_parcel_needs_the_weights(shop):
    write(shop, agent.PARCEL)
    assert run(shop, "tools/run_tests.py").returncode == 1
    write(shop, agent.WEIGHTS)
    rate(shop)


def test_the_rates_are_well_in_staging_and_not_in_production_until_mended(shop):
    write(shop, agent.RATES)
    look = "import sys, service; print(service.answer('/health', sys.argv[1], 'v')[0])"
    assert [run(shop, "-c", look, one).stdout.strip() for one in ("staging", "production")] == ["200", "503"]
    write(shop, agent.RATES_OF_PRODUCTION)
    assert run(shop, "-c", look, "production").stdout.strip() == "200"


def test_every_item_of_the_story_has_a_plan_and_every_cue_somebody_who_waits_for_it():
    assert {item.plan for item in STORY} == set(agent.PLANS)
    assert set(agent.CUES.values()) == {str(cue) for cue in Cue}


def test_cues_come_when_the_others_are_where_the_story_needs_them():
    everything = {item.plan: Stage.TESTING for item in STORY}
    assert cues_due(everything) == []
    assert cues_due({**everything, "weights": Stage.DEPLOY}) == [Cue.WEIGHTS_MERGED]
    ended = {item.plan: Stage.CANCELLED if item.plan == "rewrite" else Stage.DONE for item in STORY}
    assert cues_due({**ended, "rates": Stage.TESTING}) == [Cue.WEIGHTS_MERGED, Cue.OTHERS_ENDED]


def test_the_project_is_a_bare_repository_with_a_valid_configuration_on_its_base_branch(place):
    sha = make_project(place)
    assert git(place.repository, BASIC, "rev-parse", "--is-bare-repository") == "true"
    raw = git(place.repository, BASIC, "show", f"{sha}:.orchestrator.yml")
    config = parse_repository_config(raw.encode())
    assert set(config.deploys) == {"staging", "production"}
    assert config.image is not None
    assert ".gitignore" in git(place.repository, BASIC, "ls-tree", "--name-only", sha)
    write_operator_config(place)
    operator = parse_operator_config(place.config.read_bytes(), str(place.config))
    assert operator.projects[0].repository == str(place.repository)


def test_a_directory_that_holds_anything_is_refused(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        make_place(tmp_path, None)


# --- the deploy command


def bring_up(place: Place, shop: Path, deployment: int, sha: str, environment: str = "staging", image: str = "") -> int:
    told = {"ORCH_SHA": sha, "ORCH_IMAGE": image, "ORCH_ENVIRONMENT": environment, "ORCH_DEPLOYMENT": str(deployment)}
    command = place.deploy_command(environment)
    return subprocess.run(command, cwd=shop, env={**BASIC, **told}, timeout=60).returncode


def answer(place: Place, environment: str = "staging") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(place.health_url(environment), timeout=5) as found:
            return found.status, json.load(found)["version"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["version"]


def test_a_deploy_replaces_the_version_before_and_logs_each_start_once(place, shop):
    assert bring_up(place, shop, 1, "a" * 40) == 0
    assert answer(place) == (200, "a" * 40)
    assert bring_up(place, shop, 2, "b" * 40) == 0
    assert answer(place) == (200, "b" * 40)
    assert len([one for one, name in processes_of(place) if "service.py" in name]) == 1
    lines = [json.loads(line) for line in place.deploy_log.read_text().splitlines()]
    assert [line["deployment"] for line in lines] == [1, 2]


def test_a_deploy_replaces_a_version_whose_own_deploy_was_killed_as_it_started_it(place, shop):
    """Nobody but the kernel knows of that process: unseen, it would keep the port from every later version."""
    port = place.deploy_command("staging")[3]
    environment = {**BASIC, MARKER: str(place.world)}
    unseen = subprocess.Popen(
        [sys.executable, "-B", "service.py", "staging", port, "a" * 40], cwd=shop, env=environment
    )
    until(lambda: _answers(place) == (200, "a" * 40))
    assert bring_up(place, shop, 2, "b" * 40) == 0
    assert answer(place) == (200, "b" * 40)
    assert unseen.wait(60) == -signal.SIGTERM


def _answers(place: Place) -> tuple[int, str] | None:
    with contextlib.suppress(OSError):
        return answer(place)
    return None


def test_a_version_that_is_not_well_is_brought_up_and_says_so(place, shop):
    write(shop, agent.RATES)
    assert bring_up(place, shop, 1, "c" * 40, "production") == 0
    assert answer(place, "production") == (503, "c" * 40)


def test_an_image_holds_all_that_the_service_needs(place, shop, tmp_path):
    build = [sys.executable, "-B", "tools/build_image.py", str(place.images)]
    subprocess.run(build, cwd=shop, env={**BASIC, "ORCH_IMAGE_TAG": "tag-1"}, check=True, timeout=60)
    assert [path.name for path in place.images.iterdir()] == ["tag-1.tar"]
    (shop / "products" / "cup.json").write_text("not what was built")
    assert bring_up(place, shop, 1, "d" * 40, "production", "tag-1") == 0
    assert answer(place, "production") == (200, "d" * 40)


# --- cleaning up


def test_whatever_carries_the_mark_of_the_demo_is_found_and_ended(place):
    nap = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)"]
    marked = subprocess.Popen(nap, env={**BASIC, MARKER: str(place.world)})
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(300)"
    argv = [sys.executable, "-I", "-S", "-c", deaf]
    stubborn = subprocess.Popen(argv, env={**BASIC, "ORCH_DATA_DIR": str(place.data_dir)}, stdout=subprocess.PIPE)
    foreign = subprocess.Popen(nap, env={**BASIC, MARKER: str(place.world.with_name("other"))})
    try:
        assert stubborn.stdout.readline()
        until(lambda: len(list(processes_of(place))) == 2)
        assert end_leftovers(place) == []
        assert (marked.wait(60), stubborn.wait(60), foreign.poll()) == (-15, -9, None)
    finally:
        for one in (marked, stubborn, foreign):
            one.kill()
            one.wait()
        stubborn.stdout.close()


# --- counting


def claim(
    status: EffectStatus, landed: int, *, kind: EffectKind = EffectKind.MERGE_PR, allowed: int = 1, needed: int = 1
) -> str:
    return counting.Counted("DEMO-1", kind, "t", 6, status, False, "sha", landed, allowed, needed).problem


def test_a_confirmed_claim_must_have_landed_exactly_once():
    assert claim(EffectStatus.CONFIRMED, 1) == ""
    assert "landed 0 times" in claim(EffectStatus.CONFIRMED, 0)
    assert "landed 2 times" in claim(EffectStatus.CONFIRMED, 2)


def test_a_claim_that_was_refused_or_revoked_must_not_have_landed():
    for status in (EffectStatus.REFUSED, EffectStatus.REVOKED):
        assert claim(status, 0) == ""
        assert "landed 1 times" in claim(status, 1)


def test_an_open_claim_at_the_end_is_a_problem_even_when_it_landed():
    assert "still claimed" in claim(EffectStatus.CLAIMED, 1)


def test_what_has_no_key_may_land_once_more_for_each_adoption():
    assert claim(EffectStatus.CONFIRMED, 2, kind=EffectKind.NOTIFY, allowed=2) == ""
    assert claim(EffectStatus.CONFIRMED, 3, kind=EffectKind.NOTIFY, allowed=2) != ""


def test_a_deployment_that_failed_may_never_have_run_but_not_twice():
    assert claim(EffectStatus.CONFIRMED, 0, kind=EffectKind.START_DEPLOY_STAGING, needed=0) == ""
    assert claim(EffectStatus.CONFIRMED, 2, kind=EffectKind.START_DEPLOY_STAGING, needed=0) != ""


def test_a_deployment_that_was_revoked_must_not_have_run():
    started = EffectKind.START_DEPLOY_PRODUCTION
    assert claim(EffectStatus.CONFIRMED, 0, kind=started, needed=0, allowed=0) == ""
    assert "landed 1 times" in claim(EffectStatus.CONFIRMED, 1, kind=started, needed=0, allowed=0)


def test_how_often_a_deployment_runs_is_told_by_its_row():
    rows = [SimpleNamespace(id=1, status="failed"), SimpleNamespace(id=2, status="succeeded")]
    rows += [SimpleNamespace(id=3, status="revoked")]
    deployments = cast("Sequence[DeploymentRow]", rows)
    assert [counting.starts_of(deployments, one) for one in ("1", 2, "3", None)] == [(0, 1), (1, 1), (0, 0), (1, 1)]


def test_two_claims_of_one_landing_are_one_in_the_table():
    confirmed = EffectStatus.CONFIRMED
    claims = [
        counting.Counted("DEMO-1", EffectKind.OPEN_PR, "b", visit, confirmed, False, "marker", 1, 1) for visit in (2, 4)
    ]
    other = counting.Counted("DEMO-1", EffectKind.MERGE_PR, "#1@a", 6, EffectStatus.REFUSED, False, "sha-a", 0, 1)
    again = counting.Counted("DEMO-1", EffectKind.MERGE_PR, "#1@b", 6, confirmed, False, "sha-b", 1, 1)
    cells = Result(1.0, (), (*claims, other, again), (), "v", ()).cells()
    assert cells[EffectKind.OPEN_PR, "DEMO-1"] == (1, 1, 1)
    assert cells[EffectKind.MERGE_PR, "DEMO-1"] == (2, 1, 1)


def twice_in_progress(landed: int, second: EffectStatus = EffectStatus.CONFIRMED) -> list[str]:
    """An item that came back to development is in progress again."""
    claims = [
        counting.Counted(
            "DEMO-1", EffectKind.TRACKER_STATE, "in_progress", 2, EffectStatus.CONFIRMED, False, "s", landed, 1
        ),
        counting.Counted("DEMO-1", EffectKind.TRACKER_STATE, "in_progress", 6, second, False, "s", landed, 1),
    ]
    return [one.problem for one in counting.allowed_together(claims) if one.problem]


def test_a_state_may_come_as_often_as_claims_speak_of_it():
    assert twice_in_progress(1) == []
    assert twice_in_progress(2) == []
    assert len(twice_in_progress(3)) == 2
    assert len(twice_in_progress(0)) == 2


def test_a_claim_of_a_state_that_was_revoked_is_no_problem_because_another_one_landed():
    assert twice_in_progress(1, EffectStatus.REVOKED) == []
    assert len(twice_in_progress(3, EffectStatus.REVOKED)) == 2


def test_other_effects_land_once_however_many_claims_speak_of_them():
    claims = [
        counting.Counted("DEMO-1", EffectKind.OPEN_PR, "b", visit, EffectStatus.CONFIRMED, False, "marker", 2, 1)
        for visit in (2, 4)
    ]
    assert all(one.problem for one in counting.allowed_together(claims))


def test_what_landed_without_a_claim_is_found():
    outside = Outside(
        merges=(Merge("a" * 40, "1/5/merge_pr"),),
        tip="a" * 40,
        branches=frozenset({"main", "orch/DEMO-9"}),
        images=frozenset(),
        deploys=Counter({7: 1}),
        told=Counter({("t", "x"): 1}),
        comments={},
        states={},
        pull_requests={},
        worktrees=frozenset({"orch/DEMO-9"}),
        line_rate=Decimal(1),
        production=Observation(None, False, ""),
    )
    found = "\n".join(counting.strays([], [], outside))
    for word in ("1 merges, 0 are confirmed", "deployment 7", "1 notifications", "branches are left", "worktrees"):
        assert word in found
