"""Connecting a repository: rights are told from presence, and what can be put right is put right once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.forges.gitea_setup import EVENTS, SCOPES, GiteaSetup
from orchestrator.adapters.forges.github_setup import GithubSetup
from orchestrator.demo.doubles.gitea import Person
from orchestrator.demo.doubles.traps import Trap, Trouble
from orchestrator.ports import Checked
from orchestrator.secret import Secret
from tests.adapters.forge_worlds import ADMIN_TOKEN, TOKEN, GiteaWorld, environment, gitea_world, github_world

HOOK = "http://127.0.0.1:9/webhooks/gitea"
SECRET = Secret("s3cret")
RULE = {"rule_name": "main", "enable_push": False}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GiteaWorld]:
    with gitea_world(tmp_path) as made:
        made.double.let_in(TOKEN, Person("orchestrator", SCOPES))
        yield made


def setup_of(world: GiteaWorld, *, token: str = TOKEN, secret: Secret | None = SECRET) -> GiteaSetup:
    return GiteaSetup(world.of(token).api, base_branch="main", hook_secret=secret, admin=world.of(ADMIN_TOKEN).api)


def bad(found: list[Checked] | tuple[Checked, ...]) -> list[str]:
    return [f"{'mild' if one.mild else 'bad'}: {one.got}" for one in found if not one.good]


def test_what_is_connected_well_shows_nothing_to_mend(world: GiteaWorld) -> None:
    world.double.forge.rules.protected["main"] = RULE
    setup = setup_of(world)
    assert bad(list(setup.prepare(HOOK))) == []
    found = list(setup.check(HOOK))
    assert bad(found) == []
    assert {one.part.split()[-1] for one in found} == {"token", "rights", "merges", "main", "agents", "webhook"}


def test_preparing_twice_makes_one_active_signed_hook_and_allows_the_merges(world: GiteaWorld) -> None:
    rules = world.double.forge.rules
    rules.fast_forward = rules.manual_merge = False
    assert bad(list(setup_of(world).prepare(HOOK))) == []
    [first] = world.double.forge.hooks
    assert bad(list(setup_of(world).prepare(HOOK))) == []
    [(key, hook)] = world.double.forge.hooks.items()
    assert key == first
    assert (hook.url, hook.secret, hook.active, hook.events) == (HOOK, "s3cret", True, EVENTS)
    assert rules.fast_forward
    assert rules.manual_merge
    assert rules.autodetect_manual_merge


def test_a_hook_that_sleeps_or_tells_too_little_is_made_anew_and_others_are_left(world: GiteaWorld) -> None:
    admin = world.of(ADMIN_TOKEN).api
    admin.add_hook("http://elsewhere/hook", SECRET, ["push"])
    admin.add_hook(HOOK, SECRET, ["push"])
    sleeping = admin.add_hook(HOOK, SECRET, EVENTS)
    world.double.forge.hooks[sleeping].active = False
    assert "bad: is not active" in bad(list(setup_of(world).check(HOOK)))
    setup_of(world).prepare(HOOK)
    assert sorted(one.url for one in world.double.forge.hooks.values()) == [HOOK, "http://elsewhere/hook"]
    assert not any("webhook" in one.part and not one.good for one in setup_of(world).check(HOOK))


def test_a_hook_without_a_secret_is_not_made(world: GiteaWorld) -> None:
    assert bad(list(setup_of(world, secret=None).prepare(HOOK))) == ["bad: there is no secret to sign with"]
    assert world.double.forge.hooks == {}


@pytest.mark.parametrize(
    ("scopes", "right", "words"),
    [
        ({"write:repository", "read:user"}, "write", "bad: lacks write:issue"),
        ({"all"}, "write", "mild: may more than is needed: all"),
        (SCOPES | {"write:admin"}, "write", "mild: may more than is needed: write:admin"),
        (SCOPES, "read", "bad: the token may not push"),
        (SCOPES, "admin", "mild: the token administers the repository"),
    ],
)
def test_a_token_that_may_too_little_or_too_much_is_named(
    world: GiteaWorld, scopes: set[str], right: str, words: str
) -> None:
    world.double.let_in("other", Person("other", frozenset(scopes), right=right))
    assert words in bad(list(setup_of(world, token="other").check(HOOK)))


def test_a_base_branch_that_anybody_may_push_to_is_named(world: GiteaWorld) -> None:
    assert "bad: is not protected" in bad(list(setup_of(world).check(HOOK)))
    world.double.forge.rules.protected["main"] = {"rule_name": "main", "enable_push": True}
    assert "mild: is protected, and may be pushed to" in bad(list(setup_of(world).check(HOOK)))


def test_a_token_that_may_not_merge_into_the_base_branch_is_named(world: GiteaWorld) -> None:
    merges = {"enable_merge_whitelist": True, "merge_whitelist_usernames": ["ann"]}
    world.double.forge.rules.protected["main"] = {**RULE, **merges}
    assert "bad: the token may not merge into it" in bad(list(setup_of(world).check(HOOK)))
    world.double.forge.rules.protected["main"] = {**RULE, **merges, "merge_whitelist_usernames": ["orchestrator"]}
    assert not any("merge into it" in one for one in bad(list(setup_of(world).check(HOOK))))


def test_what_doctor_says_of_rights_is_what_the_server_does(world: GiteaWorld) -> None:
    """The token of the orchestrator may push its own branches and not the base branch, and an agent may do nothing."""
    world.double.forge.rules.protected["main"] = RULE
    pushing = [one for one in setup_of(world).check(HOOK) if one.part.endswith(("main", "agents"))]
    assert [one.got for one in pushing] == [
        "is protected; the token may merge into it, and not push",
        "is refused (401)",
    ]
    assert pushed(world, "orch/DEMO-1", TOKEN) == ""
    assert "Not allowed to push to protected branch main" in pushed(world, "main", TOKEN)
    assert "terminal prompts disabled" in pushed(world, "orch/DEMO-2", "")


def test_a_repository_that_anybody_may_push_to_is_named(world: GiteaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.double, "_person", lambda header: Person("anybody"))
    assert "bad: anybody may push, also an agent" in bad(list(setup_of(world).check(HOOK)))


def pushed(world: GiteaWorld, branch: str, token: str) -> str:
    """What git says against a push of a commit on top of the base branch; empty: it was taken."""
    work = world.folder / f"work-{branch.replace('/', '-')}-{len(token)}"
    git = world.of(token or "none")
    env = {**environment(), "GIT_TERMINAL_PROMPT": "0", **(git.git_environment() if token else {})}
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (
        ("clone", "-q", str(world.git.path), str(work)),
        ("-C", str(work), *identity, "commit", "-q", "--allow-empty", "-m", "one more"),
    ):
        subprocess.run(["git", *words], check=True, env=env)
    push = ("-C", str(work), "push", git.remote_url(), f"HEAD:refs/heads/{branch}")
    done = subprocess.run(["git", *push], check=False, env=env, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr


def test_a_token_that_is_refused_ends_the_checks_with_its_mend(world: GiteaWorld) -> None:
    [only] = setup_of(world, token="unknown").check(HOOK)
    assert not only.good
    assert "ORCH_GITEA_TOKEN" in only.mend


def test_a_server_that_does_not_answer_is_a_finding_and_no_error(world: GiteaWorld) -> None:
    world.traps.set(Trap("GET", "/branches/main", Trouble.DROP_BEFORE))
    assert any("no answer" in one for one in bad(list(setup_of(world).check(HOOK))))


def test_a_ping_goes_through_the_hook_that_is_there(world: GiteaWorld) -> None:
    assert not setup_of(world).ping(HOOK)
    setup_of(world).prepare(HOOK)
    assert setup_of(world).ping(HOOK)
    world.double.forge.deliveries.settle()
    assert [one.url for one in world.double.forge.deliveries.sent] == [HOOK]


def test_github_is_prepared_once_and_checked_by_rights(tmp_path: Path) -> None:
    with github_world(tmp_path) as world:
        setup = GithubSetup(world.forge.api, base_branch="main", hook_secret=SECRET)
        for _ in range(2):
            assert bad(list(setup.prepare(HOOK))) == []
        assert len(world.double.rows.hooks) == 1
        assert setup.ping(HOOK)
        assert bad(list(setup.check(HOOK))) == [
            "mild: the token administers the repository",
            "bad: is not protected",
        ]
