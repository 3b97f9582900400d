"""Where the run happens: the sample project, the fleet and a second one, and an engine for what people do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orchestrator.adapters.celery_nudges import CeleryNudges, producer
from orchestrator.bootstrap import build_engine
from orchestrator.demo.leftovers import end_leftovers
from orchestrator.demo.place import MARKER, Place, demo_settings, make_place
from orchestrator.demo.project import make_project
from orchestrator.demo.story import PROJECT
from orchestrator.domain.stages import AGENT_STAGES
from orchestrator.embedded.places import places
from orchestrator.embedded.reachable import with_stores
from orchestrator.engine.context import Engine
from orchestrator.fleet import Fleet, FleetError
from orchestrator.settings import Settings
from orchestrator.store.database import Store
from tests.chaos.plan import CEILING_S

AGENT: Final = Path(__file__).parent / "agent.py"
SECRET: Final = "chaos"
SECOND_NODE: Final = "demo-b"
CONCURRENCY: Final = 4
NODE_LOST_S: Final = 30.0
_LEAST_FREE_BYTES: Final = 2 * 1024 * 1024
"""Below it no agent is started: the little disk of the run is not the default's quarter of a gigabyte."""

TIMINGS: Final = {
    "ORCH_REAPER_INTERVAL_S": "2",
    "ORCH_RECONCILER_INTERVAL_S": "1",
    "ORCH_FINALIZER_INTERVAL_S": "1",
    "ORCH_INBOX_INTERVAL_S": "2",
    "ORCH_REAPER_FINALIZE_GRACE_S": "5",
    "ORCH_REAPER_MAX_RUNNING_S": f"{CEILING_S:.0f}",
    "ORCH_NODE_REPORT_INTERVAL_S": "2",
    "ORCH_NODE_LOST_S": f"{NODE_LOST_S:.0f}",
    "ORCH_STOP_GRACE_S": "1",
}
"""Seconds where the defaults are minutes: what waits for a sweep or a ceiling is to happen within the run."""

_GIT: Final = """#!/bin/sh
# git, and requests that land late while somebody asks for it. Who sent the request is told, so that it can be killed.
if [ -e {flag} ]; then
  case " $* " in
    *" update-ref "*|*" push "*) echo $PPID > {senders}/$$; sleep "$(cat {flag})" ;;
  esac
fi
exec {git} "$@"
"""
_STATES: Final = """
CREATE TABLE IF NOT EXISTS chaos_states (
  id bigint GENERATED ALWAYS AS IDENTITY, item text NOT NULL, state text NOT NULL, at timestamptz DEFAULT now());
CREATE OR REPLACE FUNCTION chaos_state() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO chaos_states (item, state) VALUES (new.key, new.state); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER chaos_states AFTER UPDATE OF state ON local_items FOR EACH ROW
  WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION chaos_state();
"""
"""The tracker keeps only the present state: this is its log, which only grows."""


@dataclass(frozen=True, slots=True)
class LateGit:
    """``flag`` holds the seconds that requests wait; ``senders`` has a file with the pid of each one's sender."""

    flag: Path
    senders: Path


class Arena:
    """Everything that runs. All of it in the main thread: fleets die with the thread that started them."""

    def __init__(self, data_dir: Path, say: Callable[[str], None]) -> None:
        self.place = make_place(data_dir, None)
        self._say = say
        self.late = LateGit(self.place.world / "late", self.place.world / "senders")
        self.late.senders.mkdir(mode=0o700)
        self.settings = self._settings()
        self.second_place = self._second_place()
        self.second_settings = self._second_settings()
        _write_config(self.place)
        make_project(self.place)
        self.fleet = Fleet(self.settings, say)
        self.second: Fleet | None = None
        self.engine = self._engine()
        self.relaunches: list[str] = []

    # --- settings --------------------------------------------------------------------------------------------

    def _settings(self) -> Settings:
        slow_git = write_git(self.place.world / "bin", self.late)
        environment = {**self.place.environment, "PATH": f"{slow_git}:{self.place.environment['PATH']}"}
        wanted = {**TIMINGS, "ORCH_GITEA_WEBHOOK_SECRET": SECRET}
        return demo_settings(replace(self.place, environment=environment), wanted)

    def _second_place(self) -> Place:
        """Its world stays empty: both fleets work for the same project."""
        return make_place(self.place.data_dir / "second", None)

    def _second_settings(self) -> Settings:
        where = places(self.place.data_dir)
        return replace(
            self.settings,
            data_dir=self.second_place.data_dir,
            node=SECOND_NODE,
            port=self.second_place.ports.web,
            flower_port=self.second_place.ports.flower,
            database_url=where.database_url(),
            broker_url=where.broker_url,
        )

    def _engine(self) -> Engine:
        usable = with_stores(self.settings)
        assert usable.broker_url is not None
        return build_engine(usable, CeleryNudges(producer(usable.broker_url)), pool_size=2)

    # --- fleets ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The first start, waited for."""
        self.fleet.start()
        with self.engine.store.transaction() as connection:
            connection.execute(text(_STATES))

    def start_again(self) -> None:
        """`orch up` after a kill or a reboot; does not wait until it is ready."""
        self.fleet.launch()

    def rebooted(self) -> None:
        """This process has to see the new boot id as well."""
        self.engine.store.engine.dispose()
        self.engine = self._engine()

    def start_second(self) -> None:
        if self.second is None:
            self.second = Fleet(self.second_settings, lambda line: self._say(f"{SECOND_NODE}: {line}"))
            self.second.launch()

    def stop_second(self, *, at_once: bool) -> None:
        if self.second is None:
            return
        if at_once:
            self.second.kill()
        else:
            self.second.stop(grace_s=3.0)
        self.second = None

    def keep_up(self) -> None:
        """What an init system does: a fleet that gave up (its database was away while it started) is started again."""
        for name, fleet in (("fleet", self.fleet), (SECOND_NODE, self.second)):
            if fleet is not None and fleet.ended():
                why = fleet.last_words()
                self.relaunches.append(f"{name}: {why}")
                self._say(f"{name} gave up ({why}); started again")
                fleet.launch()
        for fleet in self.fleets():
            fleet.relay()

    def fleets(self) -> list[Fleet]:
        return [self.fleet] if self.second is None else [self.fleet, self.second]

    def answers(self) -> bool:
        """Whether the database does."""
        try:
            with self.engine.store.transaction() as connection:
                return bool(connection.execute(text("SELECT true")).scalar_one())
        except DBAPIError:
            return False

    def stop(self) -> None:
        """Everything in order."""
        self.stop_second(at_once=False)
        self.fleet.stop(grace_s=5.0)

    def end(self) -> list[str]:
        """Whatever happens: nothing that was started runs afterwards; what could not be ended."""
        for fleet in self.fleets():
            with suppress(FleetError):
                fleet.kill()
        self.engine.store.engine.dispose()
        return [*end_leftovers(self.second_place), *end_leftovers(self.place)]

    @property
    def runs(self) -> Path:
        return runs_of(self.place.data_dir)

    @property
    def store(self) -> Store:
        return self.engine.store

    @property
    def nudges(self) -> CeleryNudges:
        assert isinstance(self.engine.nudges, CeleryNudges)
        return self.engine.nudges


def runs_of(data_dir: Path) -> Path:
    """The directory of agent runs, which lies on the little disk."""
    return data_dir / "runs"


def write_git(folder: Path, late: LateGit) -> Path:
    """A ``git`` that stands before the real one in the PATH; its folder."""
    folder.mkdir(mode=0o700)
    real = shutil.which("git")
    assert real, "git is not installed"
    (folder / "git").write_text(_GIT.format(flag=late.flag, senders=late.senders, git=real))
    (folder / "git").chmod(0o700)
    return folder


def _write_config(place: Place) -> None:
    agents = "\n".join(f"      {stage}: {json.dumps(_agent(place, stage))}" for stage in AGENT_STAGES)
    place.config.write_text(
        f"""\
projects:
  - key: {PROJECT}
    repository: {json.dumps(str(place.repository))}
    concurrency: {CONCURRENCY}
    on_deploy_failure: fix-forward
    limits: {{runs_per_project: 8, free_disk_bytes: {_LEAST_FREE_BYTES}}}
    agents:
{agents}
"""
    )


def _agent(place: Place, stage: str) -> dict[str, object]:
    return {
        "command": [sys.executable, "-I", str(AGENT), str(stage), str(place.cues)],
        "wall_clock_s": 300,
        "silence_s": 300,
        # The scripted agents note their cues outside of the worktree, where a fence lets nobody write.
        "sandbox": "off",
        "environment": {MARKER: str(place.world)},
    }
