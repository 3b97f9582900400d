"""What this node can say of processes, and that it ends exactly the one that is meant."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters import procfs
from orchestrator.adapters.host import LinuxHost, PortableHost, this_host
from orchestrator.domain.ownership import Liveness, Owner
from tests.processes import Children, first_line, is_running, state_of, until

HostMaker = Callable[..., LinuxHost]


@pytest.fixture(params=[LinuxHost, PortableHost], ids=["proc", "psutil"])
def make_host(request: pytest.FixtureRequest) -> HostMaker:
    maker: HostMaker = request.param
    return maker


@pytest.fixture
def host(make_host: HostMaker) -> LinuxHost:
    return make_host("here")


def owner_of(host: LinuxHost, pid: int) -> Owner:
    seen = host.process(pid)
    assert seen is not None
    return Owner(host.node, host.boot_id, host.pid_ns, pid, seen.start_ticks)


class TestLiveness:
    def test_this_process_is_alive(self, host: LinuxHost) -> None:
        assert host.liveness(host.myself()) is Liveness.ALIVE

    def test_a_forked_child_is_somebody_else(self) -> None:
        host = LinuxHost("here")
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, str(host.myself()).encode())
            os._exit(0)
        os.wait()
        assert os.read(reader, 1000).decode() != str(host.myself())
        os.close(reader)
        os.close(writer)

    def test_a_zombie_is_dead(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        owner = owner_of(host, child.pid)
        assert host.liveness(owner) is Liveness.ALIVE
        os.kill(child.pid, signal.SIGKILL)
        until(lambda: state_of(child.pid) == "Z")
        assert host.liveness(owner) is Liveness.DEAD

    def test_a_process_that_is_gone_is_dead(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        owner = owner_of(host, child.pid)
        child.kill()
        child.wait()
        assert host.liveness(owner) is Liveness.DEAD

    def test_a_stopped_process_is_alive(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        os.kill(child.pid, signal.SIGSTOP)
        until(lambda: state_of(child.pid) == "T")
        assert host.liveness(owner_of(host, child.pid)) is Liveness.ALIVE

    def test_the_same_pid_with_another_start_time_is_dead(self, host: LinuxHost) -> None:
        another = dataclasses.replace(host.myself(), start_ticks=host.myself().start_ticks - 3)
        assert host.liveness(another) is Liveness.DEAD

    def test_a_thread_is_not_a_process(self, children: Children) -> None:
        host = LinuxHost("here")
        child = children.start(
            "import threading, time; t = threading.Thread(target=time.sleep, args=(300,)); t.start();"
            "print(t.native_id, flush=True)"
        )
        thread_id = int(first_line(child))
        assert Path(f"/proc/{thread_id}/stat").exists(), "the trap: /proc answers for threads too"
        os.kill(thread_id, 0)
        assert host.process(thread_id) is None

    def test_another_boot_of_this_node_is_dead(self, host: LinuxHost) -> None:
        assert host.liveness(dataclasses.replace(host.myself(), boot_id="other")) is Liveness.DEAD

    @pytest.mark.parametrize(("lost", "expected"), [(False, Liveness.UNKNOWN), (True, Liveness.DEAD)])
    @pytest.mark.parametrize("elsewhere", [{"node": "other"}, {"pid_ns": 7}])
    def test_who_lives_elsewhere_is_dead_only_when_its_node_is_lost(
        self, make_host: HostMaker, lost: bool, expected: Liveness, elsewhere: dict[str, str]
    ) -> None:
        asked: list[Owner] = []

        def is_lost(owner: Owner) -> bool:
            asked.append(owner)
            return lost

        host = make_host("here", is_lost)
        owner = dataclasses.replace(host.myself(), **elsewhere)  # type: ignore[arg-type]  # a table of replacements
        assert host.liveness(owner) is expected
        assert asked == [owner]

    def test_a_reading_that_drifts_by_a_hundredth_is_the_same_process(self) -> None:
        host = PortableHost("here")
        assert host.liveness(dataclasses.replace(host.myself(), start_ticks=host.myself().start_ticks + 1)) is (
            Liveness.ALIVE
        )

    def test_the_host_of_this_system_is_found(self) -> None:
        assert isinstance(this_host("here"), LinuxHost)


@pytest.mark.skipif(not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK) or os.getuid() != 0, reason="needs root")
def test_a_pid_that_was_given_out_again_is_told_apart(children: Children) -> None:
    host = LinuxHost("here")
    first = children.start()
    owner = owner_of(host, first.pid)
    first.kill()
    first.wait()
    until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") > owner.start_ticks + 2)
    taken = until(lambda: _take_pid(children, owner.pid))
    assert taken.pid == owner.pid
    assert host.liveness(owner) is Liveness.DEAD
    assert host.kill(owner, 1.0)
    assert is_running(taken.pid), "the innocent successor was not touched"


def _take_pid(children: Children, pid: int) -> subprocess.Popen[str] | None:
    """Other processes of this machine may be faster; then it is tried again."""
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1), encoding="ascii")
    child = children.start()
    return child if child.pid == pid else None


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
def test_a_process_that_proc_hides_is_not_taken_for_dead() -> None:
    look = (
        f"import sys, os; sys.path.append({str(Path(__file__).parents[2])!r})\n"
        "from orchestrator.adapters import procfs\n"
        f"print(os.path.exists('/proc/{os.getpid()}'), procfs.has_ended({os.getpid()}, 1))"
    )
    seen = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-ec"),
            'mount -t proc -o hidepid=2 proc /proc; exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"',
            *("sh", sys.executable, "-I", "-S", "-c", look),
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if "mount" in seen.stderr or "Permission denied" in seen.stderr:
        pytest.skip(f"cannot mount or reach the sources as nobody: {seen.stderr}")
    assert seen.stdout.split() == ["False", "False"], seen.stderr


class TestKill:
    def test_it_sees_the_process_dead(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        assert host.kill(owner_of(host, child.pid), 5.0)
        assert not is_running(child.pid)

    def test_a_stopped_process_dies_too(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        os.kill(child.pid, signal.SIGSTOP)
        assert host.kill(owner_of(host, child.pid), 5.0)

    def test_who_has_another_start_time_is_not_touched(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        owner = owner_of(host, child.pid)
        assert host.kill(dataclasses.replace(owner, start_ticks=owner.start_ticks - 9), 1.0)
        assert is_running(child.pid)

    def test_who_is_dead_already_is_a_success(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        owner = owner_of(host, child.pid)
        child.kill()
        until(lambda: state_of(child.pid) == "Z")
        assert host.kill(owner, 1.0)

    def test_who_lives_on_another_node_cannot_be_killed_from_here(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        assert not host.kill(dataclasses.replace(owner_of(host, child.pid), node="other"), 1.0)
        assert is_running(child.pid)


class TestKillGroup:
    def test_every_member_is_ended(self, host: LinuxHost, children: Children) -> None:
        child = children.start(
            "import subprocess, time; c = subprocess.Popen(['sleep', '300']); print(c.pid, flush=True); time.sleep(300)"
        )
        member = int(first_line(child))
        assert host.kill_group(child.pid, 5.0)
        assert not is_running(child.pid)
        assert not is_running(member)

    def test_a_member_that_ignores_sigterm_is_killed(self, host: LinuxHost, children: Children) -> None:
        child = children.start(
            "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); time.sleep(300)"
        )
        first_line(child)
        assert host.kill_group(child.pid, 1.0)
        assert not is_running(child.pid)

    def test_a_group_that_left_only_a_zombie_is_empty(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        child.kill()
        until(lambda: state_of(child.pid) == "Z")
        assert host.kill_group(child.pid, 1.0)

    def test_a_group_that_is_gone_is_empty(self, host: LinuxHost, children: Children) -> None:
        child = children.start()
        child.kill()
        child.wait()
        assert host.kill_group(child.pid, 1.0)

    def test_a_group_number_that_was_given_to_somebody_else_is_left_alone(
        self, host: LinuxHost, children: Children
    ) -> None:
        child = children.start()
        ticks = owner_of(host, child.pid).start_ticks
        assert host.kill_group(child.pid, 1.0, leader_start_ticks=ticks - 9)
        assert is_running(child.pid)
        assert host.kill_group(child.pid, 1.0, leader_start_ticks=ticks)
        assert not is_running(child.pid)

    @pytest.mark.parametrize("group", [0, 1, os.getpgrp()])
    def test_our_own_group_and_that_of_init_are_refused(self, host: LinuxHost, group: int) -> None:
        with pytest.raises(ValueError, match="not one to end"):
            host.kill_group(group, 1.0)


def test_free_space_is_told_also_for_a_directory_that_is_not_there_yet(host: LinuxHost, tmp_path: Path) -> None:
    assert host.free_bytes(tmp_path / "a" / "b") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)


def test_a_signal_reaches_only_the_process_whose_start_was_named(children: Children) -> None:
    child = children.start()
    ticks = owner_of(LinuxHost("here"), child.pid).start_ticks
    assert not procfs.send(child.pid, ticks - 9, signal.SIGKILL)
    assert is_running(child.pid)
    assert procfs.send(child.pid, ticks, signal.SIGKILL)
    until(lambda: not is_running(child.pid))
    assert not procfs.send(child.pid, ticks, signal.SIGKILL), "a zombie is not signalled"
