"""Triggers: history that no code path can forget, and the rules that a CHECK cannot see.

``orch.actor`` is a setting of the transaction that ``store.database.Store.transaction`` makes; it names who changed
the row. ``orch.lease`` is ``off`` in a transaction that works without the transition lease (``store.leases``): what it
writes says so, since no epoch stands behind it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from orchestrator.domain.stages import STAGE_TRANSITIONS
from orchestrator.store.schema import stage_edges

FUNCTIONS: Final = (
    """
    CREATE OR REPLACE FUNCTION orch_actor() RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT coalesce(nullif(current_setting('orch.actor', true), ''), session_user::text) $$
    """,
    """
    CREATE OR REPLACE FUNCTION orch_lease_mark() RETURNS jsonb LANGUAGE sql STABLE AS
    $$ SELECT CASE WHEN current_setting('orch.lease', true) = 'off' THEN '{"lease": "off"}'::jsonb ELSE '{}' END $$
    """,
    """
    CREATE OR REPLACE FUNCTION refuse_illegal_stage_step() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.stage = OLD.stage THEN
        IF NEW.stage_seq <> OLD.stage_seq THEN
          RAISE EXCEPTION 'stage_seq moves only with the stage' USING ERRCODE = 'check_violation',
            CONSTRAINT = 'stage_seq_moves_only_with_the_stage';
        END IF;
      ELSIF NEW.stage_seq <> OLD.stage_seq + 1 THEN
        RAISE EXCEPTION 'a stage commit raises stage_seq by one' USING ERRCODE = 'check_violation',
          CONSTRAINT = 'a_stage_commit_raises_stage_seq_by_one';
      ELSIF NOT EXISTS (SELECT FROM stage_edges e WHERE e.source = OLD.stage AND e.target = NEW.stage) THEN
        RAISE EXCEPTION 'no edge % -> %', OLD.stage, NEW.stage USING ERRCODE = 'check_violation',
          CONSTRAINT = 'a_stage_commit_follows_an_edge';
      END IF;
      IF NEW.lease_epoch < OLD.lease_epoch THEN
        RAISE EXCEPTION 'the epoch never falls' USING ERRCODE = 'check_violation',
          CONSTRAINT = 'the_epoch_never_falls';
      END IF;
      RETURN NEW;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION record_task_history() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE kind text := NULL; detail jsonb := '{}';
    BEGIN
      IF TG_OP = 'INSERT' THEN
        kind := 'task.created'; detail := jsonb_build_object('to', NEW.stage);
      ELSIF NEW.stage <> OLD.stage THEN
        kind := 'stage.committed';
        detail := jsonb_build_object('from', OLD.stage, 'to', NEW.stage) || orch_lease_mark();
      ELSIF NEW.stop_requested_at IS DISTINCT FROM OLD.stop_requested_at THEN
        kind := 'stop.requested'; detail := jsonb_build_object('by', NEW.stop_requested_by);
      ELSIF NEW.stop_acknowledged_at IS DISTINCT FROM OLD.stop_acknowledged_at THEN
        kind := 'stop.acknowledged';
      ELSIF NEW.parked_at IS DISTINCT FROM OLD.parked_at THEN
        kind := CASE WHEN NEW.parked_at IS NULL THEN 'task.unparked' ELSE 'task.parked' END;
        detail := jsonb_build_object('reason', coalesce(NEW.parked_reason, OLD.parked_reason));
      ELSIF NEW.approved_at IS DISTINCT FROM OLD.approved_at AND NEW.approved_at IS NOT NULL THEN
        kind := 'task.approved'; detail := jsonb_build_object('by', NEW.approved_by);
      END IF;
      IF kind IS NOT NULL THEN
        INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail)
        VALUES (NEW.id, NEW.work_item, kind, orch_actor(), NEW.stage_seq, NEW.lease_epoch, detail);
      END IF;
      RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION record_status_history() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE detail jsonb; was text := NULL; what text := NEW.status;
    BEGIN
      IF TG_OP = 'UPDATE' THEN
        was := OLD.status;
        IF NEW.status = OLD.status THEN
          IF to_jsonb(NEW)->'adoptions' IS NOT DISTINCT FROM to_jsonb(OLD)->'adoptions' THEN RETURN NULL; END IF;
          what := 'adopted';
        END IF;
      END IF;
      detail := jsonb_strip_nulls(jsonb_build_object('id', NEW.id, 'from', was, 'to', NEW.status))
                || (to_jsonb(NEW) - ARRAY(SELECT jsonb_object_keys(to_jsonb(NEW))
                    EXCEPT SELECT unnest(ARRAY['kind', 'target', 'environment', 'sha', 'stage', 'outcome', 'round',
                                                       'epoch'])))
                || orch_lease_mark();
      INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail)
      SELECT NEW.task_id, t.work_item, TG_ARGV[0] || '.' || what, orch_actor(), t.stage_seq,
             t.lease_epoch, detail
        FROM tasks t WHERE t.id = NEW.task_id;
      RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION record_lease_history() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE how text;
    BEGIN
      IF OLD.released_at IS NOT NULL OR (NEW.released_at IS NULL AND NEW.epoch = OLD.epoch) THEN RETURN NULL; END IF;
      how := CASE WHEN NEW.released_at IS NULL THEN 'taken' WHEN NEW.epoch = OLD.epoch THEN 'released'
                  ELSE 'forced' END;
      INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail)
      SELECT OLD.task_id, t.work_item, 'lease.ended', orch_actor(), t.stage_seq, OLD.epoch,
             jsonb_build_object('how', how, 'edge', OLD.edge, 'actor', OLD.actor, 'acquired_at', OLD.acquired_at,
               'owner', jsonb_build_object('node', OLD.owner_node, 'boot_id', OLD.owner_boot_id,
                 'pid_ns', OLD.owner_pid_ns, 'pid', OLD.owner_pid, 'start_ticks', OLD.owner_start_ticks))
             || CASE WHEN OLD.child_pgid IS NULL THEN '{}' ELSE jsonb_build_object('child',
                  jsonb_build_object('pgid', OLD.child_pgid, 'start_ticks', OLD.child_start_ticks)) END
        FROM tasks t WHERE t.id = OLD.task_id;
      RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION refuse_falling_coverage() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.line_rate < OLD.line_rate THEN
        RAISE EXCEPTION 'a coverage baseline never falls' USING ERRCODE = 'check_violation',
          CONSTRAINT = 'a_coverage_baseline_never_falls';
      END IF;
      RETURN NEW;
    END $$
    """,
)

TRIGGERS: Final = (
    (
        "a_stage_step_follows_the_graph",
        "BEFORE UPDATE OF stage, stage_seq, lease_epoch",
        "tasks",
        "refuse_illegal_stage_step()",
    ),
    ("every_task_change_leaves_a_trace", "AFTER INSERT OR UPDATE", "tasks", "record_task_history()"),
    ("every_job_change_leaves_a_trace", "AFTER INSERT OR UPDATE", "jobs", "record_status_history('job')"),
    ("every_effect_change_leaves_a_trace", "AFTER INSERT OR UPDATE", "effects", "record_status_history('effect')"),
    (
        "every_deployment_change_leaves_a_trace",
        "AFTER INSERT OR UPDATE",
        "deployments",
        "record_status_history('deployment')",
    ),
    # One row a lease, at its end: the lease that is held now is the row itself.
    ("every_lease_leaves_a_trace", "AFTER UPDATE", "transition_lease", "record_lease_history()"),
    ("a_coverage_baseline_never_falls", "BEFORE UPDATE", "coverage_baselines", "refuse_falling_coverage()"),
)


def create_triggers(connection: Connection) -> None:
    """Create or replace every function and trigger, and fill the stage graph. Repeating it is harmless."""
    for function in FUNCTIONS:
        connection.execute(text(function))
    for name, when, table, call in TRIGGERS:
        connection.execute(
            text(f"CREATE OR REPLACE TRIGGER {name} {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {call}")
        )
    rows = [
        {"source": source, "target": target}
        for source, targets in STAGE_TRANSITIONS.items()
        for target in sorted(targets)
    ]
    connection.execute(insert(stage_edges).on_conflict_do_nothing(), rows)
