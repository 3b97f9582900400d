"""Histories of tasks that went to production as they should, written by SQL: as many as wanted, as rows really are.

One task is played through on paper (``_Play``); Postgres repeats it. Rows go in past the triggers, which would write
the history a second time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from sqlalchemy import Connection, text

from orchestrator.domain.stages import AGENT_STAGES, START_EFFECTS, Edge, EffectKind, Stage, forward_edge

_PATH: Final = (
    Stage.ANALYSIS,
    Stage.ARCHITECTURE,
    Stage.DEVELOPMENT,
    Stage.REVIEW,
    Stage.TESTING,
    Stage.DEPLOY_STAGING,
    Stage.DEPLOY,
    Stage.DONE,
)
_ENVIRONMENTS: Final = {
    EffectKind.START_DEPLOY_STAGING: "staging",
    EffectKind.START_DEPLOY_PRODUCTION: "production",
}
_OWNER: Final = {"node": "here", "boot_id": "an-earlier-boot", "pid_ns": 1, "pid": 4711, "start_ticks": 1}
_EVIDENCE: Final = "312 passed, 4 skipped in 81.02 s; coverage 91.4 %, baseline 91.2 %. " * 3


@dataclass
class _Play:
    """One task's rows as templates: ``n`` orders events, ``minute`` times everything."""

    events: list[dict[str, object]] = field(default_factory=list)
    effects: list[dict[str, object]] = field(default_factory=list)
    gates: list[dict[str, object]] = field(default_factory=list)
    jobs: list[dict[str, object]] = field(default_factory=list)
    deployments: list[dict[str, object]] = field(default_factory=list)
    epoch: int = 0
    seq: int = 0

    def event(self, kind: str, detail: Mapping[str, object], **ids: int) -> None:
        row = {"n": len(self.events), "kind": kind, "seq": self.seq, "epoch": self.epoch, "detail": detail}
        self.events.append({**row, **ids, "minute": len(self.events)})

    def visit(self, stage: Stage) -> None:
        """A lease that launches the agent, and one that finds its work good and takes the edge."""
        if stage in AGENT_STAGES:
            self._lease(stage, "launch")
            self._job(stage)
        edge = forward_edge(stage)
        assert edge is not None
        self.epoch += 1
        for gate in edge.gates:
            self.gates.append({"gate": gate, "visit": self.seq, "epoch": self.epoch, "minute": len(self.events)})
        for kind in (*(START_EFFECTS if stage is Stage.ANALYSIS else ()), *edge.effects):
            self._effect(kind, edge)
        self.seq += 1
        self.event("stage.committed", {"from": edge.source, "to": edge.target})
        self._ended(edge.name)

    def _lease(self, stage: Stage, edge: str) -> None:
        self.epoch += 1
        self._ended(f"{stage}: {edge}")

    def _ended(self, edge: str) -> None:
        detail = {"how": "released", "edge": edge, "actor": "monitor", "acquired_at": "2026-01-01", "owner": _OWNER}
        self.event("lease.ended", detail)

    def _job(self, stage: Stage) -> None:
        job = len(self.jobs)
        for earlier, status in pairwise((None, "queued", "running", "finished")):
            detail = {"from": earlier, "to": status, "stage": stage, "round": 0}
            self.event(f"job.{status}", detail, job=job)
        self.jobs.append({"n": job, "stage": stage, "visit": self.seq, "minute": len(self.events)})

    def _effect(self, kind: EffectKind, edge: Edge) -> None:
        effect, target = len(self.effects), "" if kind is EffectKind.MERGE_PR else edge.name
        claimed = len(self.events)
        self.event(
            "effect.claimed", {"kind": kind, "target": target, "to": "claimed", "epoch": self.epoch}, effect=effect
        )
        if kind in _ENVIRONMENTS:
            self._deployment(_ENVIRONMENTS[kind])
        detail = {"kind": kind, "target": target, "from": "claimed", "to": "confirmed", "epoch": self.epoch}
        self.event("effect.confirmed", detail, effect=effect)
        row = {"n": effect, "kind": kind, "target": target, "visit": self.seq, "epoch": self.epoch}
        self.effects.append({**row, "minute": claimed})

    def _deployment(self, environment: str) -> None:
        deployment = len(self.deployments)
        for earlier, status in pairwise((None, "requested", "running", "succeeded")):
            detail = {"from": earlier, "to": status, "environment": environment}
            self.event(f"deployment.{status}", detail, deployment=deployment)
        row = {"n": deployment, "environment": environment, "visit": self.seq, "minute": len(self.events)}
        self.deployments.append(row)


def _play() -> _Play:
    play = _Play()
    play.event("task.created", {"to": Stage.ANALYSIS})
    for stage in _PATH[:-1]:
        play.visit(stage)
    return play


ROWS_A_TASK: Final = 1 + len(_play().events) + len(_play().effects)
"""Rows of ``tasks``, ``events`` and ``effects`` that one task leaves."""

_AT: Final = "timestamptz '2026-01-01' + make_interval(mins => t.id::int % 100000, secs => 10 * p.minute)"
_SHA: Final = "left(encode(sha256(t.id::text::bytea), 'hex'), 40)"
_TREE: Final = "left(encode(sha256(('tree' || t.id)::bytea), 'hex'), 40)"


def _from(columns: str) -> str:
    return f"FROM tasks t CROSS JOIN jsonb_to_recordset(CAST(:rows AS jsonb)) AS p(n int, minute int, {columns})"


_TASKS: Final = f"""INSERT INTO tasks (work_item, project, title, body, branch, stage, stage_seq, lease_epoch,
    pull_request, merged_sha, created_at, stage_entered_at)
  SELECT 'P' || n % 20 || '-' || n, 'P' || n % 20, 'Add a value to the table of figures',
    repeat('As a person I want. ', 20),
    'orch/P' || n % 20 || '-' || n, 'done', {len(_PATH) - 1}, :epoch, n,
    left(encode(sha256(n::text::bytea), 'hex'), 40), timestamptz '2026-01-01', timestamptz '2026-01-02'
  FROM generate_series(1, :count) AS n"""
_EVENTS: Final = f"""INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail, at)
  SELECT t.id, t.work_item, p.kind, 'monitor', p.seq, p.epoch, p.detail || CASE
      WHEN p.effect IS NOT NULL THEN jsonb_build_object('id', (t.id - 1) * :effects + p.effect + 1)
      WHEN p.job IS NOT NULL THEN jsonb_build_object('id', (t.id - 1) * :jobs + p.job + 1)
      WHEN p.deployment IS NOT NULL THEN jsonb_build_object('id', (t.id - 1) * :deployments + p.deployment + 1)
      ELSE '{{}}' END, {_AT}
  {_from("kind text, seq int, epoch int, detail jsonb, effect int, job int, deployment int")} ORDER BY t.id, p.n"""
_EFFECTS: Final = f"""INSERT INTO effects (id, task_id, visit, kind, target, status, epoch, actor, sends, request,
    result, claimed_at, sent_at, settled_at) OVERRIDING SYSTEM VALUE
  SELECT (t.id - 1) * :effects + p.n + 1, t.id, p.visit, p.kind,
    CASE WHEN p.kind = 'merge_pr' THEN '#' || t.pull_request || '@' || left({_SHA}, 12) ELSE p.target END,
    'confirmed', p.epoch, 'monitor', 1,
    CASE WHEN p.kind = 'merge_pr' THEN jsonb_build_object('candidate', {_SHA}, 'tree', {_TREE}, 'branch', t.branch)
      ELSE jsonb_build_object('work_item', t.work_item, 'text', 'It is done, and the next stage begins.') END,
    CASE WHEN p.kind = 'merge_pr' THEN jsonb_build_object('merge_sha', {_SHA}) ELSE '{{}}' END, {_AT},
    {_AT} + interval '1 s', {_AT} + interval '2 s'
  {_from("visit int, kind text, target text, epoch int")} ORDER BY t.id, p.n"""
_GATES: Final = f"""INSERT INTO gate_results (task_id, project, visit, round, gate, outcome, evidence, tree_sha, epoch,
    at)
  SELECT t.id, t.project, p.visit, 0, p.gate, 'pass', :evidence, {_TREE}, p.epoch, {_AT}
  {_from("visit int, gate text, epoch int")} ORDER BY t.id"""
_JOBS: Final = f"""INSERT INTO jobs (id, task_id, stage, visit, round, status, outcome, finished_at)
    OVERRIDING SYSTEM VALUE
  SELECT (t.id - 1) * :jobs + p.n + 1, t.id, p.stage, p.visit, 0, 'finished', 'verdict', {_AT}
  {_from("stage text, visit int")} ORDER BY t.id, p.n"""
_DEPLOYMENTS: Final = f"""INSERT INTO deployments (id, project, environment, task_id, visit, sha, status, requested_at,
    started_at, finished_at) OVERRIDING SYSTEM VALUE
  SELECT (t.id - 1) * :deployments + p.n + 1, t.project, p.environment, t.id, p.visit, {_SHA}, 'succeeded', {_AT},
    {_AT}, {_AT} {_from("environment text, visit int")} ORDER BY t.id, p.n"""
_LEASES: Final = """INSERT INTO transition_lease (task_id, edge, actor, epoch, acquired_at, released_at)
  SELECT id, 'deploy -> done', 'monitor', lease_epoch, stage_entered_at, stage_entered_at FROM tasks"""
_INBOX: Final = """INSERT INTO inbox (source, delivery, dedupe_key, event, body, work_item, received_at, processed_at)
  SELECT 'gitea', 'd' || t.id || '-' || n, t.id || '-' || n, 'push', '{}', t.work_item, t.created_at, t.created_at
  FROM tasks t CROSS JOIN generate_series(1, 4) AS n"""


def fill(connection: Connection, count: int) -> None:
    """Write ``count`` finished tasks with all that they leave into an empty database."""
    play = _play()
    sizes = {"effects": len(play.effects), "jobs": len(play.jobs), "deployments": len(play.deployments)}
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    connection.execute(text(_TASKS), {"count": count, "epoch": play.epoch})
    connection.execute(text(_EVENTS), {"rows": json.dumps(play.events), **sizes})
    connection.execute(text(_EFFECTS), {"rows": json.dumps(play.effects), "effects": sizes["effects"]})
    connection.execute(text(_GATES), {"rows": json.dumps(play.gates), "evidence": _EVIDENCE})
    connection.execute(text(_JOBS), {"rows": json.dumps(play.jobs), "jobs": sizes["jobs"]})
    rows = {"rows": json.dumps(play.deployments), "deployments": sizes["deployments"]}
    connection.execute(text(_DEPLOYMENTS), rows)
    connection.execute(text(_LEASES))
    connection.execute(text(_INBOX))
