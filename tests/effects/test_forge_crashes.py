"""Every write to a forge, whenever its process dies and whatever the line does: outside it happens once.

Real ledger, real git over HTTP, the adapters against the doubles. The processes that are killed are real ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator import failpoints
from orchestrator.adapters.git import GitWorkspaces
from orchestrator.demo.doubles.traps import Trap, Trouble
from orchestrator.domain.errors import TransientError
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import EffectStatus
from orchestrator.effects import EFFECTS
from orchestrator.failpoints import FailpointError
from orchestrator.ports import PullRequestState, StatusState
from orchestrator.store.database import Store
from tests.adapters.forge_worlds import TOKEN, GiteaWorld, GithubWorld, environment, gitea_world, github_world
from tests.effects.world import World, make_world
from tests.processes import until

pytestmark = pytest.mark.crash
FORGES = ("gitea", "github")
MARKER = "orchestrator:1/2/sent-back"


@dataclass
class Place:
    """A task, and the forge that its pull request is on."""

    name: str
    task: World
    outside: GiteaWorld | GithubWorld

    @property
    def traps(self) -> Any:
        return self.outside.traps

    def pulls(self) -> list[PullRequestState]:
        return [one.state for one in self.outside.forge.find_pull_requests(self.task.branch)]

    def number(self) -> int:
        return self.outside.forge.find_pull_requests(self.task.branch)[0].number


@pytest.fixture(params=FORGES)
def forge_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place_at(forge_name: str, shared_store: Store, tmp_path: Path) -> Iterator[Callable[[Stage], Place]]:
    """Makes the place, with a task that stands at a stage and a pushed branch."""
    world = gitea_world if forge_name == "gitea" else github_world
    with world(tmp_path) as outside:

        def made(stage: Stage) -> Place:
            task = make_world(shared_store, stage)
            forge = outside.forge
            task.real_forge = forge
            task.real_workspaces = GitWorkspaces(
                tmp_path / "node",
                task.project,
                forge.remote_url(),
                "main",
                lambda: {**environment(), **forge.git_environment()},
            )
            task.set_task(head_sha=outside.commit(task.branch))
            return Place(forge_name, task, outside)

        yield made
    failpoints.arm("")


# --- the writes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Write:
    """One write. ``path``: of its request, by forge; ``call``: (method, arguments, named) of the adapter;
    ``once``: that the outside shows it exactly once. ``kind`` None: it is no effect, and is just asked for again."""

    stage: Stage
    path: Mapping[str, tuple[str, str]]
    call: Callable[[Place, Mapping[str, str]], tuple[str, list[Any], dict[str, Any]]]
    once: Callable[[Place], bool]
    kind: EffectKind | None = None
    prepare: Callable[[Place], dict[str, Any]] = lambda place: {"edge": place.task.forward, "note": "Please read."}


def _merging(place: Place) -> dict[str, Any]:
    place.task.open_request()
    return {"edge": place.task.forward, "candidate": place.task.candidate()}


def _merged_once(place: Place) -> bool:
    git, forge = place.outside.git, place.outside.forge
    merges = git.run("rev-list", "--first-parent", "--merges", "main")[1].split()
    request = forge.pull_request(place.number())
    return request.state is PullRequestState.MERGED and merges == [request.merge_sha] == [git.tip("main")]


def _cleaning(place: Place) -> dict[str, Any]:
    place.task.open_request()
    return {"edge": place.task.cancel, "cleanup": True}


def _merge_call(place: Place, request: Mapping[str, str]) -> tuple[str, list[Any], dict[str, Any]]:
    workspaces = place.task.real_workspaces
    assert workspaces is not None
    workspaces.publish(request["branch"], request["candidate"], expected_old=request["tip"])
    return "merge_pull_request", [int(request["number"])], {"expected_head": request["candidate"], "message": "m"}


def _open_call(place: Place, request: Mapping[str, str]) -> tuple[str, list[Any], dict[str, Any]]:
    named = {"head_branch": request["branch"], "base_branch": request["base"], "title": request["title"]}
    return "open_pull_request", [], {**named, "body": request["marker"]}


def _commented(place: Place) -> bool:
    return place.outside.forge.find_comment(place.number(), MARKER) is not None and _comments(place) == 1


def _comments(place: Place) -> int:
    double = place.outside.double
    bodies = (
        [one.body for one in double.forge.comments.values()]
        if isinstance(place.outside, GiteaWorld)
        else [str(one["body"]) for one in place.outside.double.rows.comments]
    )
    return sum(MARKER in one for one in bodies)


def _status_call(place: Place, request: Mapping[str, str]) -> tuple[str, list[Any], dict[str, Any]]:
    return "set_status", [place.outside.git.tip(place.task.branch), "ci", "success", "green"], {}


def _green(place: Place) -> bool:
    found = place.outside.forge.statuses(place.outside.git.tip(place.task.branch) or "")
    return [(one.context, one.state) for one in found] == [("ci", StatusState.SUCCESS)]


def both(method: str, path: str) -> dict[str, tuple[str, str]]:
    return dict.fromkeys(FORGES, (method, path))


WRITES = {
    "open PR": Write(
        Stage.DEVELOPMENT,
        both("POST", r"/pulls$"),
        _open_call,
        lambda place: len(place.pulls()) == 1,
        EffectKind.OPEN_PR,
    ),
    "merge": Write(
        Stage.DEPLOY_STAGING,
        {"gitea": ("POST", r"/pulls/\d+/merge$"), "github": ("POST", r"/graphql$")},
        _merge_call,
        _merged_once,
        EffectKind.MERGE_PR,
        _merging,
    ),
    "close PR": Write(
        Stage.REVIEW,
        both("PATCH", r"/pulls/\d+$"),
        lambda place, request: ("close_pull_request", [place.number()], {}),
        lambda place: place.pulls() == [PullRequestState.CLOSED],
        EffectKind.CLOSE_PR,
        _cleaning,
    ),
    "delete branch": Write(
        Stage.REVIEW,
        both("POST", r"/git-receive-pack$"),
        lambda place, request: ("delete_branch", [request["branch"]], {"expected_tip": request["tip"]}),
        lambda place: place.outside.git.tip(place.task.branch) is None,
        EffectKind.DELETE_BRANCH,
        lambda place: {"edge": place.task.cancel, "cleanup": True},
    ),
    "comment": Write(
        Stage.REVIEW,
        both("POST", r"/issues/\d+/comments$"),
        lambda place, request: ("add_comment", [place.number(), MARKER, "Sent back."], {}),
        _commented,
        prepare=_cleaning,
    ),
    "status": Write(Stage.DEVELOPMENT, both("POST", r"/statuses/"), _status_call, _green),
}
MOMENTS = ("before the call", "sent and not done", "done and not answered", "after the answer")
EFFECT_WRITES = [name for name, write in WRITES.items() if write.kind is not None]


def call_of(place: Place, write: Write, scene: dict[str, Any]) -> tuple[str, list[Any], dict[str, Any]]:
    request: Mapping[str, str] = {}
    if write.kind is not None:
        request = EFFECTS[write.kind].request(place.task.context(write.kind, {}, **scene))
    return write.call(place, request)


def in_another_process(place: Place, call: tuple[str, list[Any], dict[str, Any]]) -> subprocess.Popen[bytes]:
    """Starts the bare call of the adapter, as its owner makes it."""
    method, arguments, named = call
    words = {
        "forge": place.name,
        "url": place.outside.double.url,
        "token": TOKEN,
        "scratch": str(place.outside.folder / "scratch.git"),
        "method": method,
        "arguments": arguments,
        "named": named,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.effects.forge_caller", json.dumps(words)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.DEVNULL,
    )


def go_on(place: Place, write: Write, scene: dict[str, Any]) -> None:
    """The next owner does the step, twice: what is done stays done."""
    for _ in range(2):
        if write.kind is not None:
            place.task.run(write.kind, **scene)
        else:
            method, arguments, named = write.call(place, {})
            if method == "set_status":
                arguments[2] = StatusState(arguments[2])
            getattr(place.outside.another(), method)(*arguments, **named)


def assert_right(place: Place, write: Write) -> None:
    assert write.once(place)
    if write.kind is not None:
        assert [row.status for row in place.task.ledger(write.kind)] == [EffectStatus.CONFIRMED]


def claimed(place: Place, write: Write, scene: dict[str, Any]) -> None:
    """The owner has claimed it, and dies in what follows."""
    if write.kind is not None:
        failpoints.arm(f"effect.{write.kind}.sent=raise")
        with pytest.raises(FailpointError):
            place.task.run(write.kind, **scene)
        failpoints.arm("")


# --- killed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moment", ["before the call", "sent and not done", "done and not answered", "after the answer"]
)
@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_process_is_killed_happens_once(
    place_at: Callable[[Stage], Place], name: str, moment: str
) -> None:
    write = WRITES[name]
    place = place_at(write.stage)
    scene = write.prepare(place)
    claimed(place, write, scene)
    if moment != "before the call":
        kill(place, write, scene, moment)
    go_on(place, write, scene)
    assert_right(place, write)


def kill(place: Place, write: Write, scene: dict[str, Any], moment: str) -> None:
    """The process makes the call and is killed at ``moment``."""
    call = call_of(place, write, scene)
    trouble = Trouble.HOLD_BEFORE if moment == "sent and not done" else Trouble.HOLD_AFTER
    trap = Trap(*write.path[place.name], trouble)
    if moment != "after the answer":
        place.traps.set(trap)
    caller = in_another_process(place, call)
    try:
        if moment == "after the answer":
            assert caller.wait(60) == 0
            return
        assert trap.caught.wait(60)
        if moment == "done and not answered":
            until(lambda: _is_done(place, write), timeout_s=30)
    finally:
        caller.kill()
        caller.wait()
    trap.release(forget=moment == "sent and not done")


def on_its_way(place: Place, write: Write, scene: dict[str, Any]) -> Trap:
    """A request whose sender is dead; it lands when the trap is released."""
    trap = Trap(*write.path[place.name], Trouble.HOLD_BEFORE)
    place.traps.set(trap)
    caller = in_another_process(place, call_of(place, write, scene))
    assert trap.caught.wait(60)
    caller.kill()
    caller.wait()
    return trap


def land(place: Place, trap: Trap) -> None:
    """Let it land, and wait until the forge has answered it."""
    answered = len(place.outside.double.server.exchanges)
    trap.release()
    until(lambda: len(place.outside.double.server.exchanges) > answered, timeout_s=30)


def _is_done(place: Place, write: Write) -> bool:
    """What a look at the outside shows while the answer is held."""
    return write.once(place)


@pytest.mark.parametrize("name", EFFECT_WRITES)
def test_a_write_of_a_killed_process_that_lands_late_changes_nothing_more(
    place_at: Callable[[Stage], Place], name: str
) -> None:
    write = WRITES[name]
    place = place_at(write.stage)
    scene = write.prepare(place)
    claimed(place, write, scene)
    trap = on_its_way(place, write, scene)
    go_on(place, write, scene)
    land(place, trap)
    assert_right(place, write)


def test_a_comment_of_a_killed_process_that_lands_late_is_taken_away_by_the_next_comment(
    place_at: Callable[[Stage], Place],
) -> None:
    """It has no key and no claim: nothing outside can refuse it, so its repetition is found and mended."""
    write = WRITES["comment"]
    place = place_at(write.stage)
    scene = write.prepare(place)
    trap = on_its_way(place, write, scene)
    go_on(place, write, scene)
    first = place.outside.forge.find_comment(place.number(), MARKER)
    trap.release()
    until(lambda: _comments(place) == 2, timeout_s=30)
    other = place.outside.another().add_comment(place.number(), "orchestrator:1/3/sent-back", "Once more.")
    assert _comments(place) == 1
    assert place.outside.forge.find_comment(place.number(), MARKER) == first != other


def test_a_merge_of_a_killed_process_that_lands_after_its_withdrawal_is_refused(
    place_at: Callable[[Stage], Place],
) -> None:
    write = WRITES["merge"]
    place = place_at(write.stage)
    scene = write.prepare(place)
    base = place.outside.git.tip("main")
    claimed(place, write, scene)
    trap = on_its_way(place, write, scene)
    assert place.task.withdraw() == {}
    land(place, trap)
    assert place.outside.git.tip("main") == base
    assert [row.status for row in place.task.ledger(EffectKind.MERGE_PR)] == [EffectStatus.REVOKED]


# --- not killed, and not answered --------------------------------------------------------------------------------

FAULTS = {
    "500, not done": Trap("", "", Trouble.SAY_BEFORE, status=500),
    "500, done": Trap("", "", Trouble.SAY_AFTER, status=500),
    "dropped, not done": Trap("", "", Trouble.DROP_BEFORE),
    "dropped, done": Trap("", "", Trouble.DROP_AFTER),
    "time-out, done": Trap("", "", Trouble.HOLD_AFTER),
    "429": Trap("", "", Trouble.SAY_BEFORE, status=429, headers={"Retry-After": "1"}),
}


def trap_of(place: Place, write: Write, fault: str) -> Trap:
    known = FAULTS[fault]
    method, path = write.path[place.name]
    return Trap(method, path, known.trouble, status=known.status, headers=known.headers)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_is_not_answered_well_happens_once(
    place_at: Callable[[Stage], Place], name: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault.startswith("time-out"):
        shorten_time_outs(monkeypatch)
    write = WRITES[name]
    place = place_at(write.stage)
    scene = write.prepare(place)
    trap = trap_of(place, write, fault)
    if name == "merge":
        # A publish by git comes first; its own answers are not what is tried here.
        call_of(place, write, scene)
    place.traps.set(trap)
    for _ in range(3):
        try:
            go_on(place, write, scene)
            break
        except TransientError:
            # Short ones are for the trap alone: a busy machine needs its time.
            monkeypatch.undo()
    assert trap.caught.is_set()
    trap.release()
    go_on(place, write, scene)
    assert_right(place, write)


def shorten_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    from orchestrator.adapters.forges import gitea_api, wire
    from orchestrator.adapters.git import runner

    short = httpx.Timeout(2.0)
    monkeypatch.setattr(
        wire.ForgeWire.send, "__kwdefaults__", {**(wire.ForgeWire.send.__kwdefaults__ or {}), "timeout": short}
    )
    monkeypatch.setattr(gitea_api, "MERGE", short)
    monkeypatch.setattr(runner, "REMOTE_TIMEOUT_S", 3.0)


def test_a_merge_that_git_has_and_the_forge_has_not_recorded_is_settled_and_not_made_again(
    shared_store: Store, tmp_path: Path
) -> None:
    with gitea_world(tmp_path) as outside:
        task = make_world(shared_store, Stage.DEPLOY_STAGING)
        task.real_forge = outside.forge
        task.real_workspaces = GitWorkspaces(
            tmp_path / "node",
            task.project,
            outside.forge.remote_url(),
            "main",
            lambda: {**environment(), **outside.forge.git_environment()},
        )
        task.set_task(head_sha=outside.commit(task.branch))
        place = Place("gitea", task, outside)
        scene = _merging(place)
        outside.traps.set(Trap("POST", r"/pulls/\d+/merge$", Trouble.HALF_DONE))
        task.run(EffectKind.MERGE_PR, **scene)
        assert_right(place, WRITES["merge"])
        styles = [
            one.request.json.get("Do")
            for one in outside.double.server.exchanges
            if isinstance(one.request.json, dict) and one.request.raw_path.endswith("/merge")
        ]
        # The one that was dropped is not among those answered; what came after it only marks.
        assert styles == ["manually-merged"]
