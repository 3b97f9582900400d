"""Images: built once a recipe, from exactly what will be merged; a failing build says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import LostRaceError, PermanentError
from orchestrator.domain.images import recipe_digest, recipe_paths
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import EffectStatus
from orchestrator.effects import EFFECTS
from orchestrator.effects.contract import Absent, Impossible
from orchestrator.ports import CommandResult
from tests.effects.world import RECIPE, World

REBUILD = EffectKind.REBUILD_IMAGE


@pytest.fixture
def stale(world: World) -> World:
    """A task whose repository has an image recipe that was never built."""
    world.repository = replace(world.repository, image=RECIPE)
    return world


def test_a_stale_image_is_built_from_the_candidate(stale: World) -> None:
    candidate = stale.candidate()
    result = stale.run(REBUILD, edge=stale.forward, candidate=candidate)
    (ran,) = stale.children.ran
    assert (ran.argv, ran.timeout_s) == (("build", "--here"), 60)
    assert ran.environment == {"ORCH_IMAGE_TAG": result["tag"], "ORCH_SHA": candidate.commit_sha}
    assert ran.files == ("Dockerfile", "app.py", "requirements/base.txt")
    (row,) = stale.rows("images")
    assert (row["tag"], row["recipe_digest"]) == (result["tag"], result["recipe"])
    assert result["tag"].startswith(candidate.commit_sha[:12])


def test_an_image_of_the_same_recipe_is_fresh_for_another_commit(stale: World) -> None:
    tag = stale.run(REBUILD, edge=stale.forward, candidate=stale.candidate())["tag"]
    stale.remote.commit("main", files={"app.py": b"3"})
    assert stale.run(REBUILD, edge=stale.forward, candidate=stale.candidate())["tag"] == tag
    assert len(stale.children.ran) == 1


def test_a_changed_recipe_is_built_anew(stale: World) -> None:
    first = stale.run(REBUILD, edge=stale.forward, candidate=stale.candidate())
    stale.remote.commit("main", files={"requirements/more.txt": b"x"})
    second = stale.run(REBUILD, edge=stale.forward, candidate=stale.candidate())
    assert first["tag"] != second["tag"]
    assert len(stale.rows("images")) == 2


def test_without_a_recipe_nothing_is_built(world: World) -> None:
    result = world.run(REBUILD, edge=world.forward, candidate=world.candidate())
    assert result == {"skipped": "no image recipe is configured"}
    assert world.children.ran == []


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (CommandResult(2, "no such base image", 1.0), "left with 2: no such base image"),
        (CommandResult(0, "still pulling", 60.0, timed_out=True), "ran longer than 60 s: still pulling"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_no_row(stale: World, ended: CommandResult, words: str) -> None:
    stale.children.result = ended
    with pytest.raises(PermanentError, match=words):
        stale.run(REBUILD, edge=stale.forward, candidate=stale.candidate())
    assert (stale.rows("images"), stale.status(REBUILD)) == ([], EffectStatus.CLAIMED)


def test_an_owner_whose_lease_was_taken_away_records_nothing(stale: World) -> None:
    context, old = stale.context(REBUILD, edge=stale.forward, candidate=stale.candidate()), stale.enter()
    stale.enter()
    with pytest.raises(LostRaceError):
        EFFECTS[REBUILD].act(context, old)
    assert EFFECTS[REBUILD].look(context) == Absent()


@pytest.mark.parametrize("what", ["recipe", "commit"])
def test_a_claim_whose_recipe_or_commit_is_gone_is_impossible(stale: World, what: str) -> None:
    request = dict(stale.context(REBUILD, edge=stale.forward, candidate=stale.candidate()).request)
    if what == "recipe":
        stale.repository = replace(stale.repository, image=replace(RECIPE, command=("other",)))
    else:
        request["sha"] = "c" * 40
    context = stale.context(REBUILD, request)
    assert isinstance(EFFECTS[REBUILD].look(context), Impossible)
    EFFECTS[REBUILD].act(context, stale.enter())
    assert stale.children.ran == []


def test_a_digest_tells_paths_contents_and_command_apart() -> None:
    digests = {
        recipe_digest({"a": b"b"}, ("c",)),
        recipe_digest({"ab": b""}, ("c",)),
        recipe_digest({"a": b"b"}, ("c", "")),
        recipe_digest({"a": b"b"}, ()),
        recipe_digest({}, ("c", "a", "b")),
        recipe_digest({"a": b"b", "c": b""}, ("c",)),
    }
    assert len(digests) == 6
    assert recipe_digest({"a": b"1", "b": b"2"}, ()) == recipe_digest({"b": b"2", "a": b"1"}, ())


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("Dockerfile", ["Dockerfile"]),
        ("*.txt", ["a.txt"]),
        ("**/*.txt", ["a.txt", "deep/er/b.txt", "deep/c.txt"]),
        ("deep/**", ["deep/c.txt", "deep/er/b.txt"]),
        ("deep/?.txt", ["deep/c.txt"]),
        ("[ab].txt", []),
    ],
)
def test_patterns_name_files_as_in_a_shell(pattern: str, chosen: list[str]) -> None:
    paths = ["Dockerfile", "a.txt", "deep/c.txt", "deep/er/b.txt", "sub/Dockerfile"]
    assert sorted(recipe_paths(paths, (pattern,))) == sorted(chosen)
