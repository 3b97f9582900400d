"""After the schedule: faults stop, sweeps run until nothing moves, and every invariant is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from orchestrator import audit
from orchestrator.domain.stages import TERMINAL, Stage
from orchestrator.engine import region
from orchestrator.store.database import Store
from tests.schedules import fleet
from tests.schedules.place import ITEM, Place
from tests.schedules.scheduler import Actor, State

_SWEEPS: Final = 24
_FENCED: Final = (
    *("INSERT INTO effects", "UPDATE effects SET sends", "UPDATE effects SET status"),
    "UPDATE tasks SET stage = ",
)
"""What is written under an epoch."""
_INSIDE: Final = ("gate.", "effect.", "stage.before")


class Witness:
    """Watches who is inside the region: I9 is only to be seen while it happens."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._inside: dict[str, object] = {}
        self._epochs: dict[str, object] = {}
        self.breaches: list[str] = []

    def at_point(self, actor: Actor, point: str) -> None:
        key = (actor.owner, self._place.task_id)
        if point == "lease.acquired":
            self._inside[actor.name] = region._inside.get(key)
        if point in ("stage.after_commit", "lease.released"):  # the lease went back: with the commit, or by itself
            self._inside.pop(actor.name, None)
        if not point.startswith(_INSIDE) or not self._is_inside(actor):
            return
        others = [one for one in self._place.scheduler.actors if one is not actor and self._is_inside(one)]
        if others and not self._taken_by_force():
            self.breaches.append(
                f"I9 {ITEM}: {actor.name} is at {point} while {others[0].name} is inside at {others[0].point}"
            )

    def at_write(self, actor: Actor, connection: Connection, statement: str, values: object) -> None:
        """I10: whoever claims or commits entered with the epoch that the task has now, under the lock of its row."""
        words = " ".join(statement.split())
        if words.startswith("INSERT INTO transition_lease") and isinstance(values, dict):
            self._epochs[actor.name] = values["epoch"]
        mine = self._epochs.get(actor.name)
        if mine is None or not words.startswith(_FENCED) or not self._place.engine.switches.transition_lease_enabled:
            return
        now = connection.exec_driver_sql("SELECT lease_epoch FROM tasks").scalar_one()
        if mine != now:
            self.breaches.append(f"I10 {ITEM}: {actor.name} wrote «{words[:40]}» with epoch {mine}, the task has {now}")

    def _is_inside(self, actor: Actor) -> bool:
        token = self._inside.get(actor.name)
        here = region._inside.get((actor.owner, self._place.task_id))
        return token is not None and token is here and not actor.is_over and not actor.doomed

    def _taken_by_force(self) -> bool:
        """Someone who lost its lease by force and cannot be killed is a zombie: its writes are the epoch's matter."""
        rows = self._place.rows("SELECT detail->>'why' AS why FROM events WHERE kind = 'lease.forced'")
        immortal = any(one.unkillable for one in self._place.scheduler.actors)
        return any(row.why.startswith("released by") or (immortal and row.why.startswith("tier 3")) for row in rows)


def settle(place: Place, *, land_after: int = 0) -> list[str]:
    """Faults stop and sweeps run until the task stands still; what is still in flight lands after ``land_after``
    sweeps, at the latest when nothing else moves. Lines for what does not come to rest."""
    problems: list[str] = []
    idle = 0
    fleet_box = place.nudges.fleet
    for actor in place.scheduler.actors:
        fleet_box.extend(one for one in actor.nudges if one not in fleet_box)
    before = None
    for number in range(_SWEEPS):
        if number >= land_after or idle:
            for request in list(place.network.flight):
                place.network.deliver_one(request)
        problems += [f"I15 {ITEM}: a sweep failed: {one}" for one in fleet.sweep(place)]
        now = _signature(place)
        idle = idle + 1 if now == before and not place.network.flight else 0
        if idle > 2 or (_at_rest(place) and not place.network.flight and _nothing_is_held(place)):
            break
        if idle:
            place.pass_hour()
        before = now
    else:
        problems.append(f"I15 {ITEM}: it does not come to rest in {_SWEEPS} sweeps: {_signature(place)}")
    return problems


def _signature(place: Place) -> object:
    row = place.rows(
        """SELECT stage, stage_seq, round, parked_at IS NOT NULL AS parked, stop_acknowledged_at IS NOT NULL AS told,
          (SELECT count(*) FROM effects WHERE status = 'claimed') AS open,
          (SELECT string_agg(status, ',' ORDER BY id) FROM deployments) AS deploys,
          (SELECT count(*) FROM gate_results) AS judged, (SELECT count(*) FROM jobs) AS jobs FROM tasks"""
    )[0]
    return tuple(row)


def _nothing_is_held(place: Place) -> bool:
    """The last sweep of a schedule must leave nothing to the next one."""
    held = place.rows(
        """SELECT 1 FROM transition_lease WHERE released_at IS NULL UNION ALL
        SELECT 1 FROM merge_lease WHERE released_at IS NULL UNION ALL
        SELECT 1 FROM effects WHERE status = 'claimed' AND kind <> 'notify' UNION ALL
        SELECT 1 FROM deployments WHERE status IN ('requested', 'running')"""
    )
    return not held


def _at_rest(place: Place) -> bool:
    row = place.rows("SELECT stage, parked_at, stop_requested_at, stop_acknowledged_at FROM tasks")[0]
    if row.parked_at is not None:
        return True
    told = row.stage != Stage.CANCELLED or row.stop_acknowledged_at is not None
    return row.stage in TERMINAL and told


def breaches(place: Place, witness: Witness) -> list[str]:
    """Every invariant that does not hold in what rows, git and the outside's own log show at rest."""
    found = [f"{actor.name} left with an error: {actor.error!r}" for actor in place.scheduler.actors if actor.error]
    found += witness.breaches
    report = audit.audit(replace(place.engine, store=Store(place.store.engine)))  # it reads in ways of its own
    found += [str(one) for one in report.breaches]
    found += [f"unread: {one}" for one in report.unread]
    found += [f"{number} {ITEM}: {why}" for number, why in _of_the_outside(place)]
    return list(dict.fromkeys(found))


def _of_the_outside(place: Place) -> Iterator[tuple[str, str]]:
    yield from _merges(place)
    yield from _deploys(place)
    yield from _after_the_stop(place)
    yield from _messages(place)
    yield from _rest(place)


def _after_the_stop(place: Place) -> Iterator[tuple[str, str]]:
    """I7: the tracker is told that it is cancelled only when nothing but cleanup can land any more."""
    told = ("set_state", "cancelled")
    landed = place.network.landed
    after = landed[landed.index(told) :] if told in landed else []
    for method, argument in after:
        if method in ("merge_pull_request", "deploy", "publish", "open_pull_request"):
            yield "I7", f"{method} {argument[:20]} landed after the tracker was told that it is cancelled"


def _merges(place: Place) -> Iterator[tuple[str, str]]:
    """I1, I2, I3 and I5 by the forge's own log."""
    landed = [sha for method, sha in place.network.landed if method == "merge_pull_request"]
    if len(landed) > 1:
        yield "I1", f"its pull request was merged {len(landed)} times: {landed}"
    row = place.rows("SELECT stage, merged_sha FROM tasks")[0]
    after = (Stage.DEPLOY, Stage.DONE)
    if row.stage in after and not landed:
        yield "I5", f"it is at {row.stage} and nothing was merged"
    if landed and row.stage in (Stage.DEVELOPMENT, Stage.REVIEW, Stage.TESTING):
        yield "I3", f"it stands at {row.stage} although {landed[0][:12]} was merged"
    backs = place.rows(
        """SELECT e.id FROM events e WHERE e.kind = 'stage.committed' AND e.detail->>'to' = 'development'
        AND e.detail->>'from' IN ('deploy-staging', 'deploy')"""
    )
    claims = place.rows("SELECT request->>'candidate' AS sha, visit, status FROM effects WHERE kind = 'merge_pr'")
    for sha in landed:
        mine = [one for one in claims if one.sha == sha]
        if not any(one.status == "confirmed" for one in mine):
            yield "I2", f"{sha[:12]} was merged and its claim is {[one.status for one in mine] or 'not there'}"
        visits = [one.visit for one in mine]
        left = place.rows(
            "SELECT min(stage_seq) AS seq FROM events WHERE kind = 'stage.committed' AND detail->>'to' = 'development'"
            " AND stage_seq > :v",
            v=max(visits, default=0),
        )
        if visits and left[0].seq is not None:
            yield "I3", f"visit {max(visits)} merged {sha[:12]} and it went back at #{left[0].seq} ({len(backs)} ways)"


def _deploys(place: Place) -> Iterator[tuple[str, str]]:
    """I6 by the environments' own log."""
    rows = {row.id: row for row in place.rows("SELECT id, task_id, visit, environment, kind, status FROM deployments")}
    seen = Counter(
        (rows[number].visit, environment, rows[number].kind) if number in rows else (number, environment, "?")
        for environment, number, _ in place.environments.started
    )
    for (visit, environment, kind), count in seen.items():
        if count > 1:
            yield "I6", f"{kind} to {environment} of visit {visit} was started {count} times"
    for _, number, _ in place.environments.started:
        if number in rows and rows[number].status in ("requested", "revoked"):
            yield "I6", f"deployment {number} was started and is {rows[number].status}"
    row = place.rows("SELECT stage FROM tasks")[0]
    wanted = "production" in place.engine.project("P").repository.at("").deploys
    if wanted and row.stage == Stage.DONE and not any(one[0] == "production" for one in place.environments.started):
        yield "I6", "it is done and nothing was deployed to production"


def _messages(place: Place) -> Iterator[tuple[str, str]]:
    """I8: without a key a message may be sent once, and once more for every fault."""
    faults = place.scheduler.kills + place.network.faults + place.network.landed_late + _forced(place)
    for notifier in place.notifiers:
        said = Counter((one.title, one.text) for one in notifier.said if "forced reclaim" not in one.title)
        for (title, text), count in said.items():
            if count > 1 + faults:
                yield "I8", f"{notifier.name} were told {count} times, after {faults} faults: {title}: {text[:60]}"


def _forced(place: Place) -> int:
    return len(place.rows("SELECT 1 FROM events WHERE kind = 'lease.forced'"))


def _rest(place: Place) -> Iterator[tuple[str, str]]:
    """I13, I15, I16: at rest, nothing is open, held or left."""
    row = place.rows("SELECT stage, parked_at, parked_reason, reasons, stop_requested_at FROM tasks")[0]
    if not _at_rest(place):
        yield "I15", f"it stands at {row.stage} and does not move: {row.reasons}"
    held = place.rows("SELECT actor, edge FROM transition_lease WHERE released_at IS NULL")
    lanes = place.rows("SELECT task_id FROM merge_lease WHERE released_at IS NULL")
    if held:
        yield "I16", f"its lease is held by {held[0].actor} in {held[0].edge}"
    if lanes:
        yield "I16", "its merge lane is held"
    claims = place.rows("SELECT kind, target FROM effects WHERE status = 'claimed' AND kind <> 'notify'")
    for claim in claims:
        yield "I13", f"{claim.kind} {claim.target} is still claimed"
    if place.network.flight:
        yield "I16", f"still in flight: {[str(one) for one in place.network.flight]}"
    if any(one.state is State.BLOCKED for one in place.scheduler.actors):
        yield "I15", "an actor still waits for a lock"
