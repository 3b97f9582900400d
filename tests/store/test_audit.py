"""The audit's statements on real rows: silent on histories that went right, and each breach named with its evidence."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy
from psycopg import sql
from sqlalchemy import Connection, Engine, text

from benchmarks.histories import fill
from orchestrator.store import audit
from orchestrator.store.audit import Found, Scope, stored_texts
from orchestrator.store.database import Store
from tests.fixtures_stores import PostgresServer

ITEM = "P2-2"
"""The work item of task 2, which each breach is done to."""
OWNER = "owner_node = 'here', owner_boot_id = 'b', owner_pid_ns = 1, owner_pid = 1, owner_start_ticks = 1"
COPY = "INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail, at) SELECT"
COLUMNS = "task_id, work_item, kind, actor, stage_seq, epoch, detail, at"


@pytest.fixture(scope="module")
def histories(postgres_server: PostgresServer, template_database: str) -> Iterator[Engine]:
    """Three tasks that went to production; every test takes back what it changed."""
    name = f"t_{uuid.uuid4().hex[:16]}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    postgres_server.run_sql(create.format(sql.Identifier(name), sql.Identifier(template_database)))
    engine = sqlalchemy.create_engine(postgres_server.url(name))
    with engine.begin() as connection:
        fill(connection, 3)
    yield engine
    engine.dispose()
    postgres_server.run_sql(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def changed(histories: Engine, statements: str) -> Iterator[Connection]:
    """The histories with a change past every trigger, until the block ends."""
    with histories.connect() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for one in filter(str.strip, statements.split(";")):
            connection.exec_driver_sql(one)
        yield connection
        connection.rollback()


def found(connection: Connection, scope: Scope = Scope()) -> list[Found]:  # noqa: B008  # a frozen value
    return [one for check in audit.CHECKS for one in audit.run(connection, check, scope, limit_s=40.0)]


def effect(kind: str, visit: int) -> str:
    return f"task_id = 2 AND visit = {visit} AND kind = '{kind}'"


def event_of(what: str, kind: str, visit: int) -> str:
    chosen = f"SELECT id FROM effects WHERE {effect(kind, visit)}"
    return f"task_id = 2 AND kind = 'effect.{what}' AND (detail->>'id')::bigint = ({chosen})"


def step(seq: int) -> str:
    return f"task_id = 2 AND kind = 'stage.committed' AND stage_seq = {seq}"


def after_the_stop(kind: str, visit: int) -> str:
    """The STOP is acknowledged, and then a claim is written."""
    return f"""{COPY} task_id, work_item, 'stop.acknowledged', actor, stage_seq, epoch, '{{}}', at FROM events
        WHERE {step(7)}; {COPY} {COLUMNS} FROM events WHERE {event_of("claimed", kind, visit)}"""


HELD = f"UPDATE transition_lease SET released_at = NULL, {OWNER} WHERE task_id = 2"
STANDS = "UPDATE tasks SET stage = 'review', stage_seq = 3 WHERE id = 2"

BREACHES: dict[str, tuple[str, str, str]] = {
    "two merges of one pull request": (
        "I1",
        "pull request #2 of P2 has 2 confirmed merges",
        f"""INSERT INTO effects (id, task_id, visit, kind, target, status, epoch, actor, request, result, settled_at)
            OVERRIDING SYSTEM VALUE SELECT 999, task_id, visit, kind, '#2@other', status, epoch, actor,
              request || '{{"candidate": "f00"}}', '{{"merge_sha": "f00"}}', settled_at
            FROM effects WHERE {effect("merge_pr", 5)}""",
    ),
    "a merge of another commit than was built": (
        "I2",
        "landed f00",
        f"""UPDATE effects SET result = '{{"merge_sha": "f00"}}' WHERE {effect("merge_pr", 5)}""",
    ),
    "a merge of a tree that was not tested": (
        "I2",
        "which no test has passed",
        "DELETE FROM gate_results WHERE task_id = 2 AND gate = 'check_branch_mergeable'",
    ),
    "back to development after the merge": (
        "I3",
        "#6 went back to development",
        f"""UPDATE events SET detail = detail || '{{"to": "development"}}' WHERE {step(6)}""",
    ),
    "a step that skips a stage": (
        "I4",
        "goes architecture -> review, after it had come to architecture",
        f"""UPDATE events SET detail = detail || '{{"to": "review"}}' WHERE {step(2)}""",
    ),
    "a step that skips a number": (
        "I4",
        "stage_seq went from 2 to 9",
        f"UPDATE events SET stage_seq = 9 WHERE {step(3)}",
    ),
    "a row that is elsewhere than its history": (
        "I4",
        "the row is at deploy #6, its history at done #7",
        "UPDATE tasks SET stage = 'deploy', stage_seq = 6 WHERE id = 2",
    ),
    "a terminal stage that was left": (
        "I4",
        "#8 left the terminal stage done",
        f"""{COPY} task_id, work_item, kind, actor, 8, epoch, '{{"from": "done", "to": "review"}}', at FROM events
            WHERE {step(7)}; UPDATE tasks SET stage = 'review', stage_seq = 8 WHERE id = 2""",
    ),
    "a history without its start": (
        "I4",
        "does not begin with its start",
        "DELETE FROM events WHERE task_id = 2 AND kind = 'task.created'",
    ),
    "a step that names nobody": ("I4", "#3 names no actor", f"UPDATE events SET actor = '' WHERE {step(3)}"),
    "deploy without a merge": (
        "I5",
        "#6 entered deploy",
        f"DELETE FROM effects WHERE {effect('merge_pr', 5)}",
    ),
    "deploy without a deploy start": (
        "I6",
        "without a deploy start in visit 5",
        f"DELETE FROM effects WHERE {effect('start_deploy_production', 5)}",
    ),
    "done without a deploy that answers": (
        "I6",
        "no production deploy of it was seen to answer",
        """DELETE FROM deployments WHERE task_id = 2 AND environment = 'production';
            DELETE FROM gate_results WHERE task_id = 2 AND gate = 'check_deploy_observed'""",
    ),
    "a deployment that started twice": (
        "I6",
        "(staging) was started 2 times",
        f"""{COPY} {COLUMNS} FROM events WHERE task_id = 2 AND kind = 'deployment.running'
            AND detail->>'environment' = 'staging'""",
    ),
    "two deployments that run at once": (
        "I6",
        "run in production of P2 at once",
        f"""DROP INDEX one_running_deployment_an_environment;
            UPDATE deployments SET status = 'running', environment = 'production', {OWNER} WHERE task_id = 2""",
    ),
    "a claim after the acknowledged STOP": ("I7", "was claimed at", after_the_stop("open_pr", 2)),
    "a request that left after the acknowledged STOP": (
        "I7",
        "left at",
        "UPDATE tasks SET stop_acknowledged_at = '2026-01-01' WHERE id = 2",
    ),
    "a deployment that started after the acknowledged STOP": (
        "I7",
        "to production started at",
        "UPDATE tasks SET stop_acknowledged_at = '2026-01-01' WHERE id = 2",
    ),
    "a message that was sent twice without a fault": (
        "I8",
        "was sent 2 times",
        f"UPDATE effects SET sends = 2 WHERE {effect('notify', 6)}",
    ),
    "a lease that ended twice": (
        "I9",
        "after that of epoch",
        f"{COPY} {COLUMNS} FROM events WHERE task_id = 2 AND kind = 'lease.ended' AND epoch = 3",
    ),
    "a lease that is held after its end": ("I9", "which had ended at", HELD),
    "a lease that is held under another epoch than the task's": (
        "I9",
        "and its row says 12",
        f"{HELD}; UPDATE transition_lease SET epoch = 99 WHERE task_id = 2",
    ),
    "a commit after the end of its lease": (
        "I10",
        "the commit of #3",
        f"UPDATE events SET epoch = epoch - 1 WHERE {step(3)}",
    ),
    "a commit under a lease that nobody had": (
        "I10",
        "no lease ever had it",
        f"UPDATE events SET epoch = 99 WHERE {step(7)}",
    ),
    "a claim after the end of its lease": (
        "I10",
        "whose lease had ended at",
        f"""{COPY} {COLUMNS} FROM events WHERE {event_of("confirmed", "notify", 6)}""",
    ),
    "an epoch that falls": ("I10", "after epoch", f"UPDATE events SET epoch = 1 WHERE {step(4)}"),
    "a claim with an epoch that was over": (
        "I10",
        "claimed wrote epoch 1 at",
        f"""UPDATE events SET detail = detail || '{{"epoch": 1}}' WHERE {event_of("claimed", "open_pr", 2)}""",
    ),
    "an effect of an epoch that never was": (
        "I10",
        "has epoch 99, the task 12",
        f"UPDATE effects SET epoch = 99 WHERE {effect('notify', 0)}",
    ),
    "a message after the acknowledged STOP": ("I11", "was claimed at", after_the_stop("notify", 0)),
    "a claim in another visit than its own": (
        "I12",
        "was claimed in visit 5",
        f"UPDATE events SET stage_seq = 5 WHERE {event_of('claimed', 'open_pr', 2)}",
    ),
    "a claim of a visit that never was": (
        "I12",
        "names visit 12, which the task never made",
        f"UPDATE effects SET visit = 12 WHERE {effect('notify', 0)}",
    ),
    "a claim that was settled after its visit": (
        "I13",
        "settled in visit 5",
        f"UPDATE events SET stage_seq = 5 WHERE {event_of('confirmed', 'open_pr', 2)}",
    ),
    "a claim that is open after its visit": (
        "I13",
        "and its visit was left",
        f"UPDATE effects SET status = 'claimed', settled_at = NULL WHERE {effect('open_pr', 2)}",
    ),
    "a claim that is open at rest": (
        "I13",
        "is open at rest since",
        f"UPDATE effects SET status = 'claimed', settled_at = NULL WHERE {effect('notify', 6)}",
    ),
    "a deployment without a claim": (
        "I14",
        "of staging has no claim in visit 4",
        f"DELETE FROM effects WHERE {effect('start_deploy_staging', 4)}",
    ),
    "a deploy start without a deployment": (
        "I14",
        "there is no such deployment",
        "DELETE FROM deployments WHERE task_id = 2 AND environment = 'staging'",
    ),
    "a task that stands still without a reason": ("I15", "gives no reason", STANDS),
    "a task whose reason is of yesterday": (
        "I15",
        "its reason is of",
        f"""{STANDS}; UPDATE tasks SET reasons = '["waits"]', reasons_at = now() - interval '1 day' WHERE id = 2""",
    ),
    "a cancelled task that nobody was told of": (
        "I15",
        "nobody was told",
        "UPDATE tasks SET stage = 'cancelled' WHERE id = 2",
    ),
    "a job that outlives its task": (
        "I16",
        "of visit 0 is running, the task at done #7",
        "UPDATE jobs SET status = 'running', finished_at = NULL WHERE task_id = 2 AND visit = 0",
    ),
    "a job of another stage than its visit": (
        "I16",
        "is for review, visit 0 was analysis",
        "UPDATE jobs SET stage = 'review' WHERE task_id = 2 AND visit = 0",
    ),
    "a version that failed and stayed in production": (
        "I16",
        "#7 left deploy for cancelled",
        f"""UPDATE events SET detail = detail || '{{"to": "cancelled"}}' WHERE {step(7)};
            UPDATE deployments SET status = 'failed', previous_sha = 'f00' WHERE task_id = 2
            AND environment = 'production'""",
    ),
    "a lease that is held at the end": ("I16", "it is done and its lease is held by 1 of here", HELD),
    "a work item that was started twice": (
        "I17",
        "while task 2 of the same work item was live",
        f"UPDATE tasks SET work_item = '{ITEM}' WHERE id = 3; DELETE FROM events WHERE {step(7)}",
    ),
}
NOBODYS: dict[str, tuple[str, str, str]] = {
    "a delivery that is not processed": (
        "I17",
        "is not processed after 3 attempts; last error: boom",
        """UPDATE inbox SET processed_at = NULL, not_before = '2026-01-01', attempts = 3, error = 'boom'
            WHERE work_item = 'P2-2' AND delivery = 'd2-1'""",
    ),
    "a delivery that was kept twice": (
        "I17",
        "of gitea was kept 2 times",
        """ALTER TABLE inbox DROP CONSTRAINT a_delivery_is_kept_once;
            UPDATE inbox SET dedupe_key = 'same' WHERE delivery IN ('d2-1', 'd2-2')""",
    ),
}


def test_histories_that_went_right_have_no_breach(histories: Engine) -> None:
    with changed(histories, "") as connection:
        assert found(connection) == []


@pytest.mark.parametrize("what", [*BREACHES, *NOBODYS])
def test_each_breach_is_named_with_its_evidence(histories: Engine, what: str) -> None:
    invariant, evidence, statements = {**BREACHES, **NOBODYS}[what]
    item = ITEM if what in BREACHES else None
    with changed(histories, statements) as connection:
        assert [one for one in found(connection) if (one.invariant, one.work_item) == (invariant, item)], "not seen"
        assert any(evidence in one.evidence for one in found(connection) if one.invariant == invariant)


def test_a_version_that_failed_and_was_put_back_is_no_breach(histories: Engine) -> None:
    what = "a version that failed and stayed in production"
    put_back = f"""INSERT INTO effects (id, task_id, visit, kind, target, status, epoch, actor, request, result,
          settled_at)
        OVERRIDING SYSTEM VALUE SELECT 999, task_id, 6, 'roll_back_deploy', 'production', 'confirmed', epoch, actor,
          request, '{{"skipped": "nothing before"}}', settled_at FROM effects WHERE {effect("notify", 6)}"""
    with changed(histories, f"{BREACHES[what][2]}; {put_back}") as connection:
        assert not [one for one in found(connection) if one.invariant == "I16" and "left deploy" in one.evidence]


def test_every_check_finds_one_of_the_breaches(histories: Engine) -> None:
    seen = set()
    for invariant, evidence, statements in [*BREACHES.values(), *NOBODYS.values()]:
        with changed(histories, statements) as connection:
            for check in audit.CHECKS:
                rows = audit.run(connection, check, Scope(), limit_s=40.0)
                if any(one.invariant == invariant and evidence in one.evidence for one in rows):
                    seen.add(check.name)
    assert seen == {check.name for check in audit.CHECKS}


def test_what_was_written_while_the_lease_was_off_is_held_to_no_epoch(histories: Engine) -> None:
    off = """UPDATE events SET detail = detail || '{"lease": "off"}'
        WHERE task_id = 2 AND (kind = 'stage.committed' OR kind LIKE 'effect.%%');
        DELETE FROM events WHERE task_id = 2 AND kind = 'lease.ended'"""
    with changed(histories, off) as connection:
        assert found(connection) == []


def test_a_scope_leaves_other_tasks_alone_and_keeps_the_whole_history_of_its_own(histories: Engine) -> None:
    statements = BREACHES["a step that skips a number"][2]
    with changed(histories, statements) as connection:
        assert found(connection, Scope(item="P1-1")) == []
        assert {one.work_item for one in found(connection, Scope(item=ITEM))} == {ITEM}
        assert found(connection, Scope(since=datetime(2026, 1, 3, tzinfo=UTC))) == []
        assert {one.work_item for one in found(connection, Scope(since=datetime(2026, 1, 1, tzinfo=UTC)))} == {ITEM}


SECRET = 'a"b\\c-4711'
TEXTS = {
    "event": "UPDATE events SET detail = jsonb_build_object('why', 'token ' || %(s)s) WHERE id = 5",
    "effect": "UPDATE effects SET result = jsonb_build_object('why', %(s)s::text) WHERE id = 5",
    "gate result": "UPDATE gate_results SET evidence = E'line\n' || %(s)s WHERE id = 5",
    "job": "UPDATE jobs SET detail = %(s)s WHERE id = 5",
    "task": "UPDATE tasks SET parked_reason = %(s)s, parked_at = now() WHERE id = 2",
    "deployment": "UPDATE deployments SET detail = %(s)s WHERE id = 5",
    "delivery": "UPDATE inbox SET error = %(s)s WHERE id = 5",
    "lever": "INSERT INTO switches (name, set_by, reason) VALUES ('pause', 'x', %(s)s)",
    "tick": "INSERT INTO ticks (name, last_error) VALUES ('reap', %(s)s)",
    "comment of the built-in tracker": "INSERT INTO local_comments (item, marker, author, text)"
    " VALUES ('D-1', 'm', 'a', %(s)s)",
    "item of the built-in tracker": "INSERT INTO local_items (key, project, number, title, state, author)"
    " VALUES ('D-1', 'D', 1, %(s)s, 'x', 'a')",
    "pull request of the built-in forge": "INSERT INTO local_pull_requests (project, number, head_branch, base_branch,"
    " title, body) VALUES ('D', 1, 'h', 'b', 't', %(s)s)",
    "status of the built-in forge": "INSERT INTO local_statuses (project, sha, context, state, description)"
    " VALUES ('D', 'abc', 'ci', 'success', %(s)s)",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_secret_is_found_in_every_stored_text(histories: Engine, kind: str) -> None:
    from orchestrator.logs import spellings

    needles = tuple(one.encode() for one in spellings(SECRET))
    with changed(histories, "") as connection:
        assert list(stored_texts.leaks(connection, needles)) == []
        connection.exec_driver_sql(TEXTS[kind], {"s": SECRET})
        assert {one.kind for one in stored_texts.leaks(connection, needles)} == {kind}


def test_the_checks_read_a_snapshot_and_may_take_their_time(engine: Engine) -> None:
    with Store(engine).snapshot() as connection:
        audit.prepare(connection)
        assert found(connection) == []
        with pytest.raises(sqlalchemy.exc.InternalError, match="read-only"):
            connection.execute(text("UPDATE tasks SET stage = 'done'"))
