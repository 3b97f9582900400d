"""One agent under the real shim: how it starts, what it may do, how it ends, and what is left of it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import procfs, shim
from orchestrator.domain.deaths import Death, death_of
from tests.adapters.agent_processes import DAEMON, ShimRun, pid_in, sleeper
from tests.processes import NAP, is_running, until

IGNORES_TERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); {NAP}"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[ShimRun]:
    made = ShimRun(tmp_path)
    yield made
    made.end()


def has_printed(run: ShimRun, text: str) -> None:
    until(lambda: (run.dir / "stdout.log").exists() and text in run.stdout())


class TestStart:
    def test_the_prompt_comes_on_stdin_which_then_closes(self, run: ShimRun) -> None:
        ended = run.run("import sys; print(sys.stdin.read().upper(), end=''); sys.exit(3)", prompt=b"do it")
        assert run.stdout() == "DO IT"
        assert (ended["exit_code"], ended["signal"], ended["reason"], ended["strays"]) == (3, None, "exited", 0)

    def test_a_long_prompt_arrives_whole(self, run: ShimRun) -> None:
        run.run("import sys; print(len(sys.stdin.read()))", prompt=b"x" * 3_000_000)
        assert run.stdout().strip() == "3000000"

    def test_identities_are_on_disk_before_the_agent_does_anything(self, run: ShimRun) -> None:
        run.run("import json, os; print(os.getpid() == json.load(open('shim.json'))['agent_pgid'])")
        assert run.stdout().strip() == "True"

    def test_it_costs_the_machine_less_than_twelve_megabytes(self, run: ShimRun) -> None:
        run.start(f"print('up', flush=True); {NAP}")
        has_printed(run, "up")
        _, resident, shared, *_ = Path(f"/proc/{run.identity()['pid']}/statm").read_text().split()
        own = (int(resident) - int(shared)) * resource.getpagesize()
        assert own < 12_000_000, "what its end gives back; fifty of them at once are in tests/runs"

    def test_the_shim_writes_who_it_is(self, run: ShimRun) -> None:
        run.start()
        stored = run.identity()
        seen = procfs.look(stored["pid"])
        assert seen is not None
        assert (seen.start_ticks, seen.sid) == (stored["start_ticks"], stored["pid"]), "a session leader"
        assert (stored["node"], stored["boot_id"], stored["pid_ns"]) == (
            "here",
            procfs.boot_id(),
            procfs.pid_namespace(),
        )

    def test_the_agent_gets_the_given_environment_and_nothing_else(self, run: ShimRun) -> None:
        run.run("import os; print(sorted(os.environ))", env={"A": "1", "ORCH_RUN_ID": run.run_id})
        assert run.stdout().strip() in ("['A', 'ORCH_RUN_ID']", "['A', 'LC_CTYPE', 'ORCH_RUN_ID']")

    def test_signals_ignored_above_are_not_ignored_in_the_agent(self, run: ShimRun) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a Celery child; inherited over exec
        try:
            run.run(NAP, argv=["grep", "-E", "SigIgn|SigBlk", "/proc/self/status"])
        finally:
            signal.signal(signal.SIGINT, before)
        # Signals 32 and 33 are the C library's own: its posix_spawn, by which make starts us, leaves one ignored or
        # blocked, and no program can change that.
        kept = [int(line.split()[1], 16) & ~(0b11 << 31) for line in run.stdout().splitlines()]
        assert kept == [0, 0]

    def test_the_agent_has_its_own_session_and_can_gain_no_rights(self, run: ShimRun) -> None:
        run.run(
            "import json, os, resource\n"
            "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
            "print(json.dumps([os.getsid(0) == os.getpid() == os.getpgrp(), status['NoNewPrivs'].strip(),\n"
            "                  resource.getrlimit(resource.RLIMIT_CORE), os.umask(0),\n"
            "                  [fd for fd in range(3, 64) if os.path.exists(f'/proc/self/fd/{fd}')]]))"
        )
        assert json.loads(run.stdout()) == [True, "1", [0, 0], 0o077, []]

    @pytest.mark.parametrize(
        ("change", "named"), [({"argv": ["no-such-program"]}, "no-such-program"), ({"cwd": "/no/where"}, "/no/where")]
    )
    def test_a_program_that_cannot_be_started_is_named_in_the_record(
        self, run: ShimRun, change: dict[str, Any], named: str
    ) -> None:
        ended = run.run(NAP, **change)
        assert ended["reason"] == "bad-start"
        assert named in ended["detail"]

    @pytest.mark.parametrize("request_text", ["{", "[]", '{"run_id": "x"}'])
    def test_a_damaged_request_is_a_bad_start(self, run: ShimRun, request_text: str) -> None:
        (run.dir / "request.json").write_text(request_text)
        assert run.launch() == 0
        assert run.exit()["reason"] == "bad-start"
        assert not (run.dir / "shim.json").exists()

    def test_a_second_shim_leaves_while_the_first_one_runs_and_after_it(self, run: ShimRun) -> None:
        run.start("import sys; sys.stdin.read(); open('go').read()", cwd=str(run.dir))
        run.exit()
        assert run.launch() == shim.EXIT_SPENT

        other = ShimRun(run.dir)
        try:
            other.start()
            assert other.launch() == shim.EXIT_BUSY
            assert is_running(other.identity()["agent_pgid"])
        finally:
            other.end()

    def test_asked_to_stop_beforehand_it_never_starts(self, run: ShimRun) -> None:
        (run.dir / "stop").write_text("{}")
        assert run.run(NAP)["reason"] == "stopped"
        assert not (run.dir / "shim.json").exists()

    def test_it_starts_fast_and_small(self, run: ShimRun) -> None:
        run.start()
        status = Path(f"/proc/{run.identity()['pid']}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak
        assert int(peak[1]) < 12 * 1024
        assert min(_cpu_seconds_of_a_launch(run) for _ in range(5)) < 0.06

    def test_it_needs_nothing_but_the_standard_library(self, run: ShimRun) -> None:
        listed = subprocess.run(
            [sys.executable, "-I", "-S", "-X", "importtime", shim.__file__, str(run.dir)],
            capture_output=True,
            text=True,
        )
        loaded = {line.rsplit("|", 1)[1].strip() for line in listed.stderr.splitlines() if "|" in line}
        ours = {name for name in loaded if name.split(".")[0] == "orchestrator"}
        assert ours <= {
            "orchestrator",
            "orchestrator.adapters",
            *(f"orchestrator.adapters.{name}" for name in ("deaths", "procfs", "run_directory", "shim_agent")),
        }


def _cpu_seconds_of_a_launch(run: ShimRun) -> float:
    """Processor time of one start up to the lock; the clock on the wall belongs to whatever else runs here."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.launch() == shim.EXIT_BUSY
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class TestLimits:
    def test_the_wall_clock_ends_an_agent_that_talks(self, run: ShimRun) -> None:
        ended = run.run(
            "import time\nwhile True: print('.', flush=True); time.sleep(0.05)", wall_clock_s=0.6, silence_s=5
        )
        assert (ended["reason"], ended["signal"]) == ("timed-out", signal.SIGTERM)

    def test_silence_ends_an_agent(self, run: ShimRun) -> None:
        assert run.run(NAP, silence_s=0.3)["reason"] == "silent"

    def test_any_output_counts_as_life(self, run: ShimRun) -> None:
        talks = "import sys, time\nfor i in range(12): sys.stderr.write('.'); sys.stderr.flush(); time.sleep(0.08)"
        assert run.run(talks, silence_s=0.6)["reason"] == "exited"

    def test_a_flood_is_cut_in_its_middle_and_said_so(self, run: ShimRun) -> None:
        flood = "import sys\nfor i in range(200): sys.stdout.write('x' * 100_000)\nprint(); print('last line')"
        assert run.run(flood, output_cap=300_000)["exit_code"] == 0
        text = run.stdout()
        assert len(text) < 301_000
        assert "bytes cut by the orchestrator" in text
        assert text.endswith("last line\n")

    def test_output_below_the_cap_is_whole_and_has_no_mark(self, run: ShimRun) -> None:
        run.run("print('x' * 299_999)", output_cap=300_000)
        assert run.stdout() == "x" * 299_999 + "\n"

    def test_a_full_disk_costs_output_only(self, run: ShimRun) -> None:
        (run.dir / "stdout.log").symlink_to("/dev/full")
        assert run.run("import sys; print('x' * 100_000); sys.exit(4)")["exit_code"] == 4

    def test_files_larger_than_the_limit_are_refused(self, run: ShimRun) -> None:
        ended = run.run("with open('big', 'wb') as f: f.write(b'x' * 5000)", file_size_limit=4096)
        assert ended["exit_code"] == 1
        assert "File too large" in (run.dir / "stderr.log").read_text()


class TestStop:
    def test_the_stop_file_ends_the_agent_gently(self, run: ShimRun) -> None:
        run.start(f"import signal, sys; signal.signal(15, lambda *a: sys.exit(7)); print('on', flush=True); {NAP}")
        has_printed(run, "on")
        (run.dir / "stop").write_text("{}")
        ended = run.exit()
        assert (ended["reason"], ended["exit_code"]) == ("stopped", 7)

    def test_sigterm_to_the_shim_means_the_same(self, run: ShimRun) -> None:
        run.start()
        os.kill(run.identity()["pid"], signal.SIGTERM)
        assert run.exit(3)["reason"] == "stopped"

    def test_what_a_terminal_sends_does_not_stop_it(self, run: ShimRun) -> None:
        run.start("import time; time.sleep(0.5); print('done')")
        until(lambda: _handles(run.identity()["pid"]))
        os.kill(run.identity()["pid"], signal.SIGINT)
        os.kill(run.identity()["pid"], signal.SIGHUP)
        assert run.exit()["reason"] == "exited"

    def test_an_agent_that_ignores_sigterm_is_killed_after_the_grace(self, run: ShimRun) -> None:
        run.start(IGNORES_TERM, grace_s=60)
        has_printed(run, "on")
        (run.dir / "stop").write_text('{"grace_s": 0.2}')
        assert run.exit()["signal"] == signal.SIGKILL

    def test_the_gentle_signal_comes_first_and_to_the_main_process(self, run: ShimRun) -> None:
        run.start(
            f"import signal, sys; signal.signal(2, lambda *a: sys.exit(9)); print('on', flush=True); {NAP}",
            gentle_signal=signal.SIGINT,
        )
        has_printed(run, "on")
        (run.dir / "stop").write_text("{}")
        assert run.exit()["exit_code"] == 9

    def test_an_agent_that_waits_on_stdin_for_ever_can_be_stopped(self, run: ShimRun) -> None:
        run.start(NAP, prompt=b"x" * 1_000_000)
        os.kill(run.identity()["pid"], signal.SIGTERM)
        assert run.exit()["reason"] == "stopped"

    def test_a_frozen_agent_still_gets_its_sigterm(self, run: ShimRun) -> None:
        run.start(f"print('up', flush=True); {NAP}")
        has_printed(run, "up")  # frozen before its program runs, it would hold up the shim that waits for that
        os.kill(run.identity()["agent_pgid"], signal.SIGSTOP)
        os.kill(run.identity()["pid"], signal.SIGTERM)
        assert run.exit()["signal"] == signal.SIGTERM

    def test_the_record_names_every_process_seen_dead(self, run: ShimRun, tmp_path: Path) -> None:
        run.start(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleeper(tmp_path, 'child')!r}])")
        child = pid_in(tmp_path / "child")
        os.kill(run.identity()["pid"], signal.SIGTERM)
        proof = "\n".join(run.exit()["seen_dead"])
        assert f"pid {child} " in proof
        assert f"pid {run.identity()['agent_pgid']} " in proof

    def test_when_the_shim_is_killed_the_agent_dies_with_it(self, run: ShimRun) -> None:
        run.start()
        agent = run.identity()["agent_pgid"]
        until(lambda: is_running(agent))
        os.kill(run.identity()["pid"], signal.SIGKILL)
        until(lambda: not is_running(agent))


def _handles(pid: int) -> bool:
    """True once the shim ignores SIGINT and SIGHUP: before that it has not come far enough."""
    ignored = re.search(r"SigIgn:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(ignored) and int(ignored[1], 16) & 0b11 == 0b11


class TestStrays:
    def test_a_grandchild_in_its_own_session_is_ended_after_a_normal_end_too(
        self, run: ShimRun, tmp_path: Path
    ) -> None:
        ended = run.run(
            "import os, subprocess, sys, time\n"
            f"subprocess.Popen([sys.executable, '-c', {sleeper(tmp_path, 'stray')!r}], start_new_session=True)\n"
            f"while not os.path.exists({str(tmp_path / 'stray')!r}): time.sleep(0.01)"
        )
        stray = pid_in(tmp_path / "stray")
        assert (ended["reason"], ended["exit_code"], ended["strays"]) == ("exited", 0, 1)
        assert not is_running(stray)
        assert any(f"pid {stray} " in line for line in ended["seen_dead"])

    def test_a_daemon_that_dropped_everything_is_ended(self, run: ShimRun, tmp_path: Path) -> None:
        run.run(
            f"{DAEMON}\ndaemon({{}}, {sleeper(tmp_path, 'stray')!r})\n"
            f"import time\nwhile not os.path.exists({str(tmp_path / 'stray')!r}): time.sleep(0.01)"
        )
        assert not is_running(pid_in(tmp_path / "stray"))

    def test_a_stray_that_ignores_signals_and_holds_the_output_does_not_hold_us_up(self, run: ShimRun) -> None:
        started = time.monotonic()
        ended = run.run(f"import os\nif os.fork() == 0:\n    os.setsid()\n    {IGNORES_TERM}")
        assert ended["strays"] == 1
        assert time.monotonic() - started < 30

    def test_processes_that_fork_and_leave_all_the_time_are_ended(self, run: ShimRun) -> None:
        """A scan of /proc seldom sees one of them; the file that each writes does not lie."""
        # Bounded: a run of this test that is cut off must not fork for ever.
        chain = (
            "end = time.monotonic() + 20\n"
            "while time.monotonic() < end:\n    if os.fork(): os._exit(0)\n"
            "    os.setsid(); open('alive', 'w').write(str(os.getpid()))"
        )
        ended = run.run(
            f"import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n        exec({chain!r})\n"
            "while not os.path.exists('alive'): time.sleep(0.01)"
        )
        last = (run.dir / "alive").read_text()
        time.sleep(0.1)  # many times what one of them lives
        assert (run.dir / "alive").read_text() == last
        assert ended["detail"] == ""

    def test_orphans_of_a_running_agent_do_not_pile_up_as_zombies(self, run: ShimRun) -> None:
        run.start("import os, time\nfor _ in range(20):\n    os.spawnlp(os.P_WAIT, 'sh', 'sh', '-c', 'true & true')\n"
                  "print('on', flush=True); time.sleep(300)")  # fmt: skip
        has_printed(run, "on")
        pid = run.identity()["pid"]
        until(lambda: not [one for one in procfs.processes() if one.ppid == pid and one.state == "Z"])

    def test_another_run_is_left_alone(self, run: ShimRun) -> None:
        other = ShimRun(run.dir)
        try:
            other.start()
            run.run("pass")
            assert is_running(other.identity()["agent_pgid"])
        finally:
            other.end()


class TestProof:
    def test_it_tells_each_process_with_its_signals_and_when_it_was_seen_dead(
        self, run: ShimRun, tmp_path: Path
    ) -> None:
        """The agent saves its session on SIGINT and stays; its command ignores SIGTERM in a session of its own."""
        deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {sleeper(tmp_path, 'command')}"
        run.start(
            "import signal, subprocess, sys, time; signal.signal(signal.SIGINT, lambda *_: None);"
            f"subprocess.Popen([sys.executable, '-c', {deaf!r}], start_new_session=True); time.sleep(300)",
            gentle_signal=signal.SIGINT,
            grace_s=0.4,
        )
        command = pid_in(tmp_path / "command")
        os.kill(run.identity()["pid"], signal.SIGTERM)
        told = {one.pid: one for one in map(death_of, run.exit()["seen_dead"]) if one is not None}
        agent = told[run.identity()["agent_pgid"]]
        assert [one.split(" at ")[0] for one in agent.signals] == ["SIGINT", "SIGTERM"]
        assert [one.split(" at ")[0] for one in told[command].signals] == ["SIGKILL"]
        for one in (agent, told[command]):
            times = [*(sent.split(" at ")[1] for sent in one.signals), one.dead_at]
            assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}Z", moment) for moment in times)

    def test_what_ended_by_itself_was_sent_nothing(self, run: ShimRun) -> None:
        [line] = run.run("pass")["seen_dead"]
        found = death_of(line)
        assert found is not None and found.signals == () and found.dead_at

    def test_a_record_of_an_older_shim_is_read(self) -> None:
        assert death_of("pid 12 (a (b) c) started at tick 7: dead") == Death(12, "a (b) c", (), "")
        assert death_of("no process was ever started") is None
