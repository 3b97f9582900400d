"""I3 to I6 in the stage history: a path of the graph, and what stands before each entry."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.stages import STAGE_TRANSITIONS, EffectKind, Stage
from orchestrator.store.audit.scope import NAME, OVER, Check

_EDGES: Final = ", ".join(
    f"('{source}', '{target}')" for source, targets in STAGE_TRANSITIONS.items() for target in sorted(targets)
)
_ORDERED: Final = """ordered AS (
  SELECT *, lag(id) OVER w AS earlier, lag(target) OVER w AS came_to, lag(seq) OVER w AS last_seq,
    lag(epoch) OVER w AS last_epoch
  FROM step WINDOW w AS (PARTITION BY task_id ORDER BY id))"""

PATH: Final = Check(
    "the stage history is a path",
    also=_ORDERED,
    sql=f"""SELECT task_id, one.invariant, one.evidence FROM ordered CROSS JOIN LATERAL (VALUES
      ('I4', CASE WHEN earlier IS NULL AND source IS NOT NULL THEN 'its history does not begin with its start' END),
      ('I4', CASE WHEN earlier IS NOT NULL AND (source IS DISTINCT FROM came_to OR (came_to, target) NOT IN ({_EDGES}))
        THEN format('#%s goes %s -> %s, after it had come to %s', seq, source, target, came_to) END),
      ('I4', CASE WHEN seq <> last_seq + 1
        THEN format('stage_seq went from %s to %s with %s -> %s', last_seq, seq, source, target) END),
      ('I4', CASE WHEN came_to IN {OVER} THEN format('#%s left the terminal stage %s', seq, came_to) END),
      ('I4', CASE WHEN actor = '' OR epoch IS NULL THEN format('#%s names no actor or no epoch', seq) END),
      ('I10', CASE WHEN epoch < last_epoch
        THEN format('#%s was committed with epoch %s, after epoch %s', seq, epoch, last_epoch) END)
      ) AS one(invariant, evidence) WHERE one.evidence IS NOT NULL""",
)

HERE: Final = Check(
    "each task stands where its history ends",
    also="newest AS (SELECT DISTINCT ON (task_id) task_id, target, seq FROM step ORDER BY task_id, id DESC)",
    sql="""SELECT t.id, 'I4', CASE WHEN n.task_id IS NULL THEN 'it has no history'
        ELSE format('the row is at %s #%s, its history at %s #%s', t.stage, t.stage_seq, n.target, n.seq) END
      FROM audited t LEFT JOIN newest n ON n.task_id = t.id
      WHERE n.task_id IS NULL OR (n.target, n.seq) IS DISTINCT FROM (t.stage, t.stage_seq)""",
)

NO_WAY_BACK: Final = Check(
    "nobody goes back after a merge",
    sql=f"""SELECT s.task_id, 'I3', format('#%s went back to development at %s although visit %s had merged %s (%s)',
        s.seq, s.at, e.visit, left(e.result->>'merge_sha', 12), {NAME})
      FROM step s JOIN effect e ON e.task_id = s.task_id AND e.visit = s.seq - 1
        AND e.kind = '{EffectKind.MERGE_PR}' AND e.status = 'confirmed'
      WHERE s.source = '{Stage.DEPLOY_STAGING}' AND s.target = '{Stage.DEVELOPMENT}'""",
)

AFTER_MERGE: Final = Check(
    "deploy is entered only with a merge and a deploy start",
    sql=f"""SELECT s.task_id, one.invariant, one.evidence FROM step s
      LEFT JOIN effect m ON m.task_id = s.task_id AND m.visit = s.seq - 1 AND m.kind = '{EffectKind.MERGE_PR}'
        AND m.status = 'confirmed'
      LEFT JOIN effect d ON d.task_id = s.task_id AND d.visit = s.seq - 1
        AND d.kind = '{EffectKind.START_DEPLOY_PRODUCTION}' AND d.status = 'confirmed'
      CROSS JOIN LATERAL (VALUES
        ('I5', CASE WHEN m.id IS NULL
          THEN format('#%s entered deploy at %s without a merge in visit %s', s.seq, s.at, s.seq - 1) END),
        ('I6', CASE WHEN d.id IS NULL
          THEN format('#%s entered deploy at %s without a deploy start in visit %s', s.seq, s.at, s.seq - 1) END)
      ) AS one(invariant, evidence) WHERE s.target = '{Stage.DEPLOY}' AND one.evidence IS NOT NULL""",
)

DONE: Final = Check(
    "done only with a deploy that answers",
    sql=f"""SELECT t.id, 'I6', 'it is done and no production deploy of it was seen to answer' FROM audited t
      WHERE t.stage = '{Stage.DONE}'
        AND NOT EXISTS (SELECT FROM deployments d WHERE d.task_id = t.id AND d.environment = 'production'
          AND d.status = 'succeeded')
        AND NOT EXISTS (SELECT FROM gate_results g WHERE g.task_id = t.id AND g.gate = 'check_deploy_observed'
          AND g.outcome = 'pass')
        AND NOT EXISTS (SELECT FROM effects e WHERE e.task_id = t.id AND e.status = 'confirmed'
          AND e.kind = '{EffectKind.START_DEPLOY_PRODUCTION}' AND e.result ? 'skipped')""",
)

PUT_BACK: Final = Check(
    "a version that failed in production is put back before its task leaves",
    sql=f"""SELECT s.task_id, 'I16', format(
        '#%s left deploy for %s at %s, and nobody had put back what deployment %s of %s had left in production',
        s.seq, s.target, s.at, d.id, left(d.sha, 12))
      FROM step s JOIN deployments d ON d.task_id = s.task_id AND d.visit = s.seq - 2 AND d.kind = 'deploy'
        AND d.environment = 'production' AND d.status = 'failed' AND d.previous_sha IS NOT NULL
      WHERE s.source = '{Stage.DEPLOY}' AND s.target <> '{Stage.DONE}'
        AND NOT EXISTS (SELECT FROM effect e WHERE e.task_id = s.task_id AND e.visit = s.seq - 1
          AND e.kind = '{EffectKind.ROLL_BACK_DEPLOY}' AND e.status IN ('confirmed', 'refused'))""",
)

STARTED_ONCE: Final = Check(
    "a deployment starts once, and one runs in an environment",
    sql="""SELECT e.task_id, 'I6', format('deployment %s (%s) was started %s times, at %s', e.detail->>'id',
        e.detail->>'environment', count(*), string_agg(e.at::text, ' and ' ORDER BY e.id))
      FROM events e JOIN audited t ON t.id = e.task_id WHERE e.kind = 'deployment.running'
      GROUP BY e.task_id, e.detail->>'id', e.detail->>'environment' HAVING count(*) > 1
      UNION ALL
      SELECT min(d.task_id), 'I6', format('deployments %s run in %s of %s at once',
        string_agg(d.id::text, ' and ' ORDER BY d.id), d.environment, d.project)
      FROM deployments d WHERE d.status = 'running' GROUP BY d.project, d.environment HAVING count(*) > 1""",
)

CHECKS: Final = (PATH, HERE, NO_WAY_BACK, AFTER_MERGE, DONE, PUT_BACK, STARTED_ONCE)
