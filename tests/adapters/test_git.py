"""Git workspaces on real repositories: what agents do to them, races at the remote, crashes in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator.adapters.git import GitWorkspaces
from orchestrator.adapters.git import runner as git_runner
from orchestrator.domain.errors import (
    ConfigurationError,
    LostRaceError,
    NeedsHumanError,
    NotFoundError,
    OrchestratorError,
    PermanentError,
    TransientError,
    UsageError,
)
from orchestrator.ports import MergeCandidate, MergeConflict, Workspaces

IDENTITY = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")


def git(where: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", where, *IDENTITY, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(where: Path, files: Mapping[str, str], message: str = "change") -> str:
    for name, content in files.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(content)
    git(where, "add", "-A")
    git(where, "commit", "-q", "-m", message)
    return git(where, "rev-parse", "HEAD")


def is_dead(pid: int) -> bool:
    """Gone, or killed and not yet collected by whoever inherited it."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], check=True)
    return path


@pytest.fixture
def person(tmp_path: Path, remote: Path) -> Path:
    """A clone of somebody who works beside the orchestrator; ``main`` has one commit."""
    path = tmp_path / "person"
    subprocess.run(["git", "clone", "-q", remote, path], check=True, capture_output=True)
    git(path, "checkout", "-q", "-b", "main")
    commit(path, {"app.py": "one\n", ".gitignore": "cache/\n"})
    git(path, "push", "-q", "origin", "main")
    return path


Maker = Callable[..., GitWorkspaces]


@pytest.fixture
def make(tmp_path: Path, remote: Path, person: Path) -> Maker:
    def call(node: str = "node", url: str | None = None, environment: Mapping[str, str] | None = None) -> GitWorkspaces:
        given = environment if environment is not None else {"PATH": os.environ["PATH"]}
        return GitWorkspaces(tmp_path / node, "ORCH", url or str(remote), "main", lambda: given)

    return call


@pytest.fixture
def work(make: Maker) -> GitWorkspaces:
    return make()


def published(work: GitWorkspaces, branch: str, files: Mapping[str, str]) -> str:
    """A branch with one commit of an agent, at the remote."""
    old = work.branch_tip(branch)
    folder = work.prepare(branch)
    for name, content in files.items():
        (folder / name).write_text(content)
    new = work.commit_all(branch, "work")
    work.publish(branch, new, old)
    return new


def test_it_is_a_workspaces_port(work: GitWorkspaces) -> None:
    port: Workspaces = work
    assert port.worktrees() == []


# --- worktrees -------------------------------------------------------------------------------------------


def test_a_new_branch_begins_at_the_base_branch(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    assert folder == work.path_of("orch/one")
    assert (folder / "app.py").read_text() == "one\n"
    assert git(folder, "rev-parse", "HEAD") == work.base_tip()
    assert git(folder, "branch", "--show-current") == "orch/one"
    assert git(folder, "status", "--porcelain") == ""
    assert work.branch_tip("orch/one") is None
    assert work.worktrees() == ["orch/one"]


def test_an_existing_branch_is_taken_at_the_tip_of_the_remote(work: GitWorkspaces, person: Path) -> None:
    git(person, "checkout", "-q", "-b", "orch/one")
    sha = commit(person, {"new.py": "x"})
    git(person, "push", "-q", "origin", "orch/one")
    assert git(work.prepare("orch/one"), "rev-parse", "HEAD") == sha


def test_what_an_agent_left_is_committed_with_its_own_commits_below(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    own = commit(folder, {"a.py": "a"}, "agent's own")
    (folder / "b.py").write_text("b")
    (folder / "app.py").unlink()
    head = work.commit_all("orch/one", "the rest\n\nOrch-Run: 7")
    assert set(work.list_files(head)) == {".gitignore", "a.py", "b.py"}
    assert [sha for sha, _parents in work.first_parents(head, 2)] == [head, own]
    assert "Orch-Run: 7" in work.commit_message(head)
    assert work.commit_all("orch/one", "again") == head


def test_the_head_stays_when_nothing_was_left(work: GitWorkspaces) -> None:
    work.prepare("orch/one")
    assert work.commit_all("orch/one", "nothing") == work.base_tip()


def test_a_merge_that_an_agent_made_keeps_both_parents(work: GitWorkspaces, person: Path) -> None:
    published(work, "orch/one", {"a.py": "a"})
    base = commit(person, {"m.py": "m"})
    git(person, "push", "-q", "origin", "main")
    folder = work.prepare("orch/one")
    git(folder, "merge", "-q", "--no-edit", "origin/main")
    assert work.is_ancestor(base, work.commit_all("orch/one", "merged"))


def test_an_agent_that_rewrote_history_still_gives_a_fast_forward(work: GitWorkspaces) -> None:
    first = published(work, "orch/one", {"a.py": "a"})
    folder = work.prepare("orch/one")
    git(folder, "commit", "-q", "--amend", "-m", "rewritten")
    (folder / "b.py").write_text("b")
    head = work.commit_all("orch/one", "on")
    assert work.is_ancestor(first, head)
    work.publish("orch/one", head, first)


@pytest.mark.parametrize("damage", ["remove", "link", "junk", "branch"])
def test_files_are_committed_whatever_an_agent_did_to_its_repository(work: GitWorkspaces, damage: str) -> None:
    folder = work.prepare("orch/one")
    (folder / "b.py").write_text("b")
    match damage:
        case "branch":
            git(folder, "checkout", "-q", "--orphan", "elsewhere")
        case "junk":
            (folder / ".git/HEAD").write_text("junk")
        case _:
            (folder / ".git").rename(folder.parent / ".moved")
    if damage == "link":
        (folder / ".git").symlink_to(folder.parent / ".moved")
    head = work.commit_all("orch/one", "work")
    assert work.read_file(head, "b.py") == b"b"
    assert git(work.prepare("orch/one"), "status", "--porcelain") == ""


def test_files_of_a_run_are_never_committed(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    (folder / ".orchestrator").mkdir()
    (folder / ".orchestrator/verdict.json").write_text("{}")
    (folder / ".git/info/exclude").write_text("")
    assert work.commit_all("orch/one", "nothing") == work.base_tip()


def test_preparing_again_mends_everything_that_was_left(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    (folder / "app.py").write_text("changed")
    (folder / "stray.py").write_text("stray")
    (folder / "nested").mkdir()
    git(folder / "nested", "init", "-q")
    (folder / "cache").mkdir()
    (folder / "cache/kept").touch()
    assert work.prepare("orch/one") == folder
    assert (folder / "app.py").read_text() == "one\n"
    assert not (folder / "stray.py").exists()
    assert not (folder / "nested").exists()
    assert (folder / "cache/kept").exists()


def test_preparing_again_works_when_an_agent_took_the_rights_away(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    (folder / "locked").mkdir()
    (folder / "locked/file").touch()
    (folder / "locked").chmod(0)
    work.prepare("orch/one")
    assert not (folder / "locked").exists()


@pytest.mark.parametrize("left", ["nothing", "half", "lock", "graves", "file", "link"])
def test_preparing_succeeds_after_a_crash_between_any_steps(work: GitWorkspaces, tmp_path: Path, left: str) -> None:
    folder = work.path_of("orch/one")
    if left != "nothing":
        work.prepare("orch/one")
    mirror = tmp_path / "node/mirrors/ORCH.git"
    match left:
        case "half":
            (folder / ".git").rename(folder / ".git.new")
            (folder / "app.py").unlink()
        case "lock":
            (mirror / "refs/heads/orch/one.lock").touch()
            (mirror / "packed-refs.lock").touch()
            (mirror / "refs/remotes/origin/main.lock").touch()
        case "graves":
            (folder.parent / ".discarded-1/x").mkdir(parents=True)
        case "file" | "link":
            folder.rename(folder.parent / ".moved")
            folder.touch() if left == "file" else folder.symlink_to(tmp_path)
    assert git(work.prepare("orch/one"), "status", "--porcelain") == ""
    assert (folder / "app.py").read_text() == "one\n"
    assert not (folder.parent / ".discarded-1").exists()


def test_removing_twice_is_one_removal(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    (folder / "locked").mkdir(mode=0o500)
    work.remove("orch/one")
    work.remove("orch/one")
    assert not work.exists("orch/one")
    assert work.worktrees() == []
    with pytest.raises(NotFoundError):
        work.commit_all("orch/one", "nothing")


def test_removing_what_never_was_is_success(work: GitWorkspaces) -> None:
    work.remove("orch/never")


def test_branch_names_with_and_without_slashes_do_not_meet(work: GitWorkspaces) -> None:
    work.prepare("a/b")
    work.prepare("a-b")
    assert work.worktrees() == ["a-b", "a/b"]


@pytest.mark.parametrize(
    "branch", ["-f", "--upload-pack=touch", "a..b", "a b", "", "HEAD", "a/../b", "../x", "a.lock", "~", "a\nb", "a:b"]
)
def test_a_branch_name_that_is_an_option_or_no_name_is_refused(work: GitWorkspaces, branch: str) -> None:
    for call in (work.prepare, work.branch_tip, work.remove, work.path_of):
        with pytest.raises(UsageError):
            call(branch)
    with pytest.raises(UsageError):
        work.publish(branch, "0" * 40, None)


@pytest.mark.parametrize("sha", ["HEAD", "--all", "main", "abc", ""])
def test_anything_but_a_full_sha_is_refused(work: GitWorkspaces, sha: str) -> None:
    with pytest.raises(UsageError):
        work.read_file(sha, "app.py")
    with pytest.raises(UsageError):
        work.build_merge(sha, sha, "merge")


# --- what an agent must not reach ------------------------------------------------------------------------


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a trace when anything runs it."""
    path = tmp_path / "trap"
    path.write_text(f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\ncat\n")
    path.chmod(0o755)
    return path


def test_nothing_that_an_agent_configured_runs_in_our_git(work: GitWorkspaces, trap: Path, tmp_path: Path) -> None:
    folder = work.prepare("orch/one")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in (
        "pre-commit",
        "post-commit",
        "post-checkout",
        "pre-push",
        "reference-transaction",
        "post-index-change",
    ):
        for place in (hooks, folder / ".git/hooks"):
            place.mkdir(exist_ok=True)
            (place / name).write_bytes(trap.read_bytes())
            (place / name).chmod(0o755)
    for key, value in {
        "core.hooksPath": str(hooks),
        "core.fsmonitor": str(trap),
        "filter.evil.clean": str(trap),
        "filter.evil.smudge": str(trap),
        "diff.external": str(trap),
        "merge.evil.driver": str(trap),
        "core.sshCommand": str(trap),
        "uploadpack.packObjectsHook": str(trap),
        "core.alternateRefsCommand": str(trap),
        f"url.{tmp_path}/elsewhere.insteadOf": str(tmp_path),
    }.items():
        git(folder, "config", key, value)
    (folder / ".gitattributes").write_text("* filter=evil merge=evil diff=evil\n")
    (folder / "b.py").write_text("b")
    head = work.commit_all("orch/one", "work")
    work.publish("orch/one", head, None)
    work.prepare("orch/one")
    with work.checkout(head):
        pass
    assert isinstance(work.build_merge(head, work.base_tip(), "merge"), MergeCandidate)
    assert work.branch_tip("orch/one") == head
    work.remove("orch/one")
    assert not (tmp_path / "sprung").exists()


def test_what_an_agent_configured_does_not_survive_into_the_next_run(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    git(folder, "config", "core.hooksPath", "/tmp")
    (folder / ".git/hooks").mkdir()
    (folder / ".git/hooks/pre-commit").touch()
    work.prepare("orch/one")
    assert "hooksPath" not in (folder / ".git/config").read_text()
    assert not (folder / ".git/hooks").exists()


def test_two_worktrees_share_no_configuration(work: GitWorkspaces) -> None:
    one, two = work.prepare("orch/one"), work.prepare("orch/two")
    git(one, "config", "core.hooksPath", "/tmp")
    assert "hooksPath" not in (two / ".git/config").read_text()


def test_a_worktree_names_no_place_to_push_to(work: GitWorkspaces) -> None:
    assert git(work.prepare("orch/one"), "remote") == ""


def test_credentials_reach_the_remote_only_and_settings_of_the_user_nobody(make: Maker, tmp_path: Path) -> None:
    spy = tmp_path / "bin/git"
    spy.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True).stdout.strip()
    spy.write_text(
        f'#!/bin/sh\necho "$GIT_ASKPASS|$GIT_DIR|$GIT_CONFIG_GLOBAL $*" >> {tmp_path}/seen\nexec {real} "$@"\n'
    )
    spy.chmod(0o755)
    environment = {
        "PATH": f"{spy.parent}:{os.environ['PATH']}",
        "GIT_ASKPASS": "/secret/askpass",
        "GIT_DIR": "/elsewhere",
        "GIT_CONFIG_GLOBAL": "/elsewhere",
    }
    published(make(environment=environment), "orch/one", {"a": "a"})
    lines = (tmp_path / "seen").read_text().splitlines()
    remote = [line for line in lines if "remote.git" in line]
    assert {line.split("|")[0] for line in remote} == {"/secret/askpass"}
    assert {line.split("|")[0] for line in lines if line not in remote} == {""}
    assert not any("/elsewhere" in line for line in lines)


# --- publishing ------------------------------------------------------------------------------------------


def test_publishing_twice_is_one_push(work: GitWorkspaces) -> None:
    head = published(work, "orch/one", {"a.py": "a"})
    work.publish("orch/one", head, None)
    assert work.branch_tip("orch/one") == head


def test_a_branch_that_moved_is_a_lost_race_and_stays(work: GitWorkspaces, make: Maker) -> None:
    first = published(work, "orch/one", {"a.py": "a"})
    other = published(make("other"), "orch/one", {"o.py": "o"})
    folder = work.prepare("orch/one")
    (folder / "b.py").write_text("b")
    mine = work.commit_all("orch/one", "mine")
    with pytest.raises(LostRaceError):
        work.publish("orch/one", mine, first)
    with pytest.raises(LostRaceError):
        work.publish("orch/one", mine, None)
    assert work.branch_tip("orch/one") == other


def test_the_remote_itself_refuses_a_branch_that_moved_after_our_look(
    work: GitWorkspaces, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published(work, "orch/one", {"a.py": "a"})
    folder = work.prepare("orch/one")
    (folder / "b.py").write_text("b")
    mine = work.commit_all("orch/one", "mine")
    rival = make("other")
    looked = work.is_ancestor

    def look_then_be_overtaken(ancestor: str, descendant: str) -> bool:
        answer = looked(ancestor, descendant)
        published(rival, "orch/one", {"o.py": "o"})
        return answer

    monkeypatch.setattr(work, "is_ancestor", look_then_be_overtaken)
    with pytest.raises(LostRaceError):
        work.publish("orch/one", mine, first)
    tip = work.branch_tip("orch/one")
    assert tip is not None
    assert work.read_file(tip, "o.py") == b"o"


def test_of_many_publishers_one_wins(make: Maker) -> None:
    makers = [make(f"node{number}") for number in range(4)]
    heads = []
    for number, one in enumerate(makers):
        (one.prepare("orch/one") / "who").write_text(str(number))
        heads.append(one.commit_all("orch/one", f"by {number}"))
    start = threading.Barrier(len(makers))
    outcomes: list[str] = []

    def publish(one: GitWorkspaces, head: str) -> None:
        start.wait()
        try:
            one.publish("orch/one", head, None)
            outcomes.append(head)
        except LostRaceError:
            outcomes.append("lost")

    threads = [threading.Thread(target=publish, args=pair) for pair in zip(makers, heads, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes).count("lost") == 3
    assert makers[0].branch_tip("orch/one") in outcomes


def test_only_a_fast_forward_is_published(work: GitWorkspaces) -> None:
    first = published(work, "orch/one", {"a.py": "a"})
    work.remove("orch/one")
    second = published(work, "orch/two", {"b.py": "b"})
    with pytest.raises(PermanentError, match="only moves forward"):
        work.publish("orch/one", second, first)
    assert work.branch_tip("orch/one") == first


def test_the_base_branch_is_never_touched(work: GitWorkspaces) -> None:
    base = work.base_tip()
    head = published(work, "orch/one", {"a.py": "a"})
    for call in (
        lambda: work.publish("main", head, base),
        lambda: work.prepare("main"),
        lambda: work.move_aside("main", base),
    ):
        with pytest.raises(UsageError, match="base branch"):
            call()
    assert work.base_tip() == base


def test_a_refusal_of_the_forge_is_final_and_quoted(work: GitWorkspaces, remote: Path) -> None:
    hook = remote / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'rule 7 forbids it' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(PermanentError, match="rule 7 forbids it"):
        published(work, "orch/one", {"a.py": "a"})


def test_a_push_whose_answer_was_lost_counts_when_it_landed(work: GitWorkspaces, remote: Path) -> None:
    hook = remote / "hooks/post-receive"
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n")
    hook.chmod(0o755)
    head = published(work, "orch/one", {"a.py": "a"})
    assert work.branch_tip("orch/one") == head


def test_a_branch_moved_aside_has_a_head_it_never_had(work: GitWorkspaces) -> None:
    old = published(work, "orch/one", {"a.py": "a"})
    new = work.move_aside("orch/one", old)
    assert work.branch_tip("orch/one") == new != old
    assert work.is_ancestor(old, new)
    assert work.tree_of(new) == work.tree_of(old)
    with pytest.raises(LostRaceError):
        work.move_aside("orch/one", old)


# --- merges ----------------------------------------------------------------------------------------------


def diverged(work: GitWorkspaces, person: Path, theirs: Mapping[str, str], ours: Mapping[str, str]) -> tuple[str, str]:
    head = published(work, "orch/one", ours)
    base = commit(person, theirs)
    git(person, "push", "-q", "origin", "main")
    return head, base


def test_a_merge_descends_from_both_and_holds_both(work: GitWorkspaces, person: Path) -> None:
    head, base = diverged(work, person, {"m.py": "m"}, {"a.py": "a"})
    built = work.build_merge(head, base, "Merge\n\nOrch-Effect: 42\n")
    assert isinstance(built, MergeCandidate)
    assert work.is_ancestor(head, built.commit_sha)
    assert work.is_ancestor(base, built.commit_sha)
    assert set(work.list_files(built.commit_sha)) == {".gitignore", "a.py", "app.py", "m.py"}
    assert built.tree_sha == work.tree_of(built.commit_sha)
    assert "Orch-Effect: 42" in work.commit_message(built.commit_sha)
    assert work.first_parents(built.commit_sha, 1) == [(built.commit_sha, (base, head))]
    assert work.base_tip() == base


def test_the_same_merge_built_on_another_node_is_the_same_commit(
    work: GitWorkspaces, make: Maker, person: Path
) -> None:
    head, base = diverged(work, person, {"m.py": "m"}, {"a.py": "a"})
    assert work.build_merge(head, base, "Merge") == make("other").build_merge(head, base, "Merge")
    assert work.build_merge(head, base, "Merge") != work.build_merge(head, base, "Other effect")


def test_a_merge_is_dated_by_its_newest_parent_so_that_its_name_does_not_depend_on_now(
    work: GitWorkspaces, person: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tips = []
    for moment in (1_700_000_000, 1_600_000_000):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{moment} +0530")
        git(person, "checkout", "-q", "-B", f"b{moment}", "origin/main")
        tips.append(commit(person, {f"{moment}.py": "x"}))
        git(person, "push", "-q", "origin", f"b{moment}")
    built = work.build_merge(*tips, "Merge")
    assert isinstance(built, MergeCandidate)
    work.publish("orch/one", built.commit_sha, None)
    git(person, "fetch", "-q", "origin")
    assert git(person, "log", "-1", "--format=%at %ct", built.commit_sha) == "1700000000 1700000000"


def test_a_conflict_names_its_files(work: GitWorkspaces, person: Path) -> None:
    head, base = diverged(work, person, {"app.py": "theirs\n"}, {"app.py": "ours\n"})
    assert work.build_merge(head, base, "Merge") == MergeConflict(("app.py",))


def test_a_branch_without_new_base_commits_still_gets_its_merge_commit(work: GitWorkspaces) -> None:
    head, base = published(work, "orch/one", {"a.py": "a"}), work.base_tip()
    built = work.build_merge(head, base, "Merge")
    assert isinstance(built, MergeCandidate)
    assert built.tree_sha == work.tree_of(head)
    assert built.commit_sha != head


def test_a_merge_is_published_on_the_head_branch_as_a_fast_forward(work: GitWorkspaces, person: Path) -> None:
    head, base = diverged(work, person, {"m.py": "m"}, {"a.py": "a"})
    built = work.build_merge(head, base, "Merge")
    assert isinstance(built, MergeCandidate)
    work.publish("orch/one", built.commit_sha, head)
    assert work.branch_tip("orch/one") == built.commit_sha


# --- checkouts and reading -------------------------------------------------------------------------------


def test_a_checkout_is_gone_afterwards_also_after_an_error(work: GitWorkspaces, tmp_path: Path) -> None:
    with work.checkout(work.base_tip()) as folder:
        assert (folder / "app.py").read_text() == "one\n"
        assert git(folder, "rev-parse", "HEAD") == work.base_tip()
        (folder / "ro").mkdir(mode=0o500)
    with pytest.raises(ZeroDivisionError), work.checkout(work.base_tip()):
        raise ZeroDivisionError
    assert list((tmp_path / "node/checkouts/ORCH").iterdir()) == []


def _die_in_checkout(work: GitWorkspaces) -> None:
    with work.checkout(work.base_tip()):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_checkout_of_a_killed_process_is_swept_and_a_live_one_stays(work: GitWorkspaces, tmp_path: Path) -> None:
    with work.checkout(work.base_tip()) as live:
        victim = multiprocessing.get_context("fork").Process(target=_die_in_checkout, args=(work,))
        victim.start()
        victim.join()
        assert victim.exitcode == -signal.SIGKILL
        assert len([one for one in live.parent.iterdir() if one.is_dir()]) == 2
        with work.checkout(work.base_tip()) as next_one:
            assert {one for one in live.parent.iterdir() if one.is_dir()} == {live, next_one}


def test_files_of_a_commit_are_read_as_they_are(work: GitWorkspaces, person: Path) -> None:
    (person / "link").symlink_to("/etc/passwd")
    sha = commit(person, {"sub dir/naïve.txt": "x\n\n", "[a]*": "star"})
    git(person, "push", "-q", "origin", "main")
    assert work.read_file(sha, "sub dir/naïve.txt") == b"x\n\n"
    assert work.read_file(sha, "[a]*") == b"star"
    assert work.read_file(sha, "a*") is None
    assert work.read_file(sha, "link") is None
    assert work.read_file(sha, "sub dir") is None
    assert "sub dir/naïve.txt" in work.list_files(sha)


def test_changes_are_counted_from_the_merge_base_with_both_names_of_a_renamed_file(
    work: GitWorkspaces, person: Path
) -> None:
    base = commit(person, {"old.py": "long enough to be found as a rename\n" * 5})
    git(person, "push", "-q", "origin", "main")
    git(person, "checkout", "-q", "-b", "orch/one")
    git(person, "mv", "old.py", "new.py")
    head = commit(person, {"b.py": "added\n"})
    git(person, "push", "-q", "origin", "orch/one")
    git(person, "checkout", "-q", "main")
    moved_on = commit(person, {"main.py": "m\n"})
    git(person, "push", "-q", "origin", "main")
    assert set(work.changed_files(moved_on, head)) == {"old.py", "new.py", "b.py"}
    assert "+added" in work.diff(base, head)
    assert "old.py" not in work.diff(base, head, ["b.py"])


def test_a_commit_that_is_nowhere_is_not_found(work: GitWorkspaces) -> None:
    with pytest.raises(NotFoundError):
        work.tree_of("1" * 40)


def test_commits_that_are_not_here_yet_are_fetched(make: Maker, work: GitWorkspaces) -> None:
    head = published(work, "orch/one", {"a.py": "a"})
    assert make("other").read_file(head, "a.py") == b"a"


# --- what can be wrong around it -------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fetch", "base_tip", "prepare", "publish"])
def test_an_unreachable_repository_names_the_place_and_the_remedy(make: Maker, tmp_path: Path, call: str) -> None:
    work = make(url=f"{tmp_path}/gone.git")
    arguments = {"prepare": ("orch/one",), "publish": ("orch/one", "1" * 40, None)}.get(call, ())
    with pytest.raises(TransientError, match=r"gone\.git") as caught:
        getattr(work, call)(*arguments)
    assert "orchestrator.yml" in caught.value.remedy
    assert work.worktrees() == []


def test_a_password_in_an_address_is_not_repeated(make: Maker) -> None:
    with pytest.raises(OrchestratorError) as caught:
        make(url="http://me:hunter2@127.0.0.1:9/x.git").fetch()
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_refused_login_needs_a_person() -> None:
    said = "fatal: could not read Username for 'https://x': terminal prompts disabled"
    error = git_runner.remote_error("https://x", git_runner.Answer(128, b"", said))
    assert isinstance(error, NeedsHumanError)
    assert "token" in error.remedy


def test_a_repository_without_the_base_branch_says_so(make: Maker, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "empty.git"], check=True)
    work = make(url=f"{tmp_path}/empty.git")
    for call in (work.base_tip, lambda: work.prepare("orch/one")):
        with pytest.raises(PermanentError, match="has no branch main"):
            call()


def test_a_missing_git_says_what_to_install(make: Maker, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"install git 2\.38"):
        make(environment={"PATH": str(tmp_path)}).fetch()


def test_a_git_that_is_too_old_says_what_to_install(make: Maker, tmp_path: Path) -> None:
    old = tmp_path / "old/git"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho git version 2.34.1\n")
    old.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"2\.34\.1 is too old.*2\.38"):
        make(environment={"PATH": str(old.parent)}).fetch()


def test_a_data_directory_that_cannot_be_written_is_named(make: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="ORCH_DATA_DIR"):
        make("file").fetch()


def test_a_git_that_hangs_is_ended_with_its_children(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow/git"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = version ] && {{ echo git version 2.39.0; exit; }}\n'
        f"sleep 300 & echo $! > {tmp_path}/pid\nwait\n"
    )
    slow.chmod(0o755)
    monkeypatch.setattr(git_runner, "LOCAL_TIMEOUT_S", 1.5)
    with pytest.raises(TransientError, match="longer than"):
        make(environment={"PATH": f"{slow.parent}:{os.environ['PATH']}"}).fetch()
    wait_until(lambda: is_dead(int((tmp_path / "pid").read_text())))


def test_a_lock_outlives_its_owner_as_long_as_a_git_child_works(make: Maker, tmp_path: Path) -> None:
    """A killed owner leaves a git that still writes; nobody may remove its lock files meanwhile."""
    ready, go = tmp_path / "ready", tmp_path / "go"
    slow = tmp_path / "slow/git"
    slow.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True).stdout.strip()
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *" fetch "*) touch {ready}; while [ ! -e {go} ]; do sleep 0.02; done;; esac\n'
        f'exec {real} "$@"\n'
    )
    slow.chmod(0o755)
    work = make(environment={"PATH": f"{slow.parent}:{os.environ['PATH']}"})
    owner = multiprocessing.get_context("fork").Process(target=work.fetch)
    owner.start()
    while not ready.exists():
        owner.join(0.02)
    assert owner.pid is not None
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    held = threading.Thread(target=make().fetch, daemon=True)
    held.start()
    held.join(0.3)
    assert held.is_alive()
    go.touch()
    held.join(20)
    assert not held.is_alive()


def test_processes_that_prepare_at_once_all_succeed(make: Maker) -> None:
    context = multiprocessing.get_context("fork")
    crowd = [context.Process(target=make().prepare, args=(f"orch/{number}",)) for number in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert [one.exitcode for one in crowd] == [0, 0, 0, 0]
    assert make().worktrees() == [f"orch/{number}" for number in range(4)]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights")
def test_what_is_made_belongs_to_this_user_alone(work: GitWorkspaces, tmp_path: Path) -> None:
    work.fetch()
    assert stat.S_IMODE((tmp_path / "node/mirrors").stat().st_mode) == 0o700
