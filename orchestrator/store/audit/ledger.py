"""I1, I2, I7, I8 and I11 to I14 in the ledger: single effects, of their visit, settled before it is left."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.stages import EffectKind
from orchestrator.store.audit.scope import NAME, OVER, Check, one_of

CLEANUP: Final = one_of(
    (EffectKind.CLOSE_PR, EffectKind.DELETE_BRANCH, EffectKind.REMOVE_WORKTREE, EffectKind.TRACKER_STATE)
)
"""What STOP itself does; all else ends with its acknowledgement."""
KEYLESS: Final = one_of((EffectKind.NOTIFY,))
"""Kinds whose target recognises no repetition (``Effect.keyless``)."""
_STARTS: Final = (
    f"(VALUES ('staging', '{EffectKind.START_DEPLOY_STAGING}'),"
    f" ('production', '{EffectKind.START_DEPLOY_PRODUCTION}')) AS start(environment, kind)"
)

ONE_MERGE: Final = Check(
    "one merge a pull request",
    sql=f"""SELECT min(e.task_id), 'I1', format('pull request %s of %s has %s confirmed merges: %s',
        split_part(e.target, '@', 1), t.project, count(*),
        string_agg(format('%s at %s', left(e.result->>'merge_sha', 12), e.settled_at), ' and ' ORDER BY e.id))
      FROM effect e JOIN tasks t ON t.id = e.task_id
      WHERE e.kind = '{EffectKind.MERGE_PR}' AND e.status = 'confirmed'
      GROUP BY t.project, split_part(e.target, '@', 1)
      HAVING count(DISTINCT coalesce(e.result->>'merge_sha', e.id::text)) > 1""",
)

AS_DECIDED: Final = Check(
    "what landed is what was built and tested",
    sql=f"""SELECT e.task_id, 'I2', one.evidence FROM effect e JOIN tasks t ON t.id = e.task_id
      CROSS JOIN LATERAL (VALUES
        (CASE WHEN e.result->>'merge_sha' IS DISTINCT FROM e.request->>'candidate'
          THEN format('%s landed %s and %s was built for it', {NAME}, left(e.result->>'merge_sha', 12),
            left(e.request->>'candidate', 12)) END),
        (CASE WHEN coalesce(e.request->>'tree', '') <> '' AND NOT EXISTS (SELECT FROM gate_results g
            WHERE g.project = t.project AND g.gate = 'check_branch_mergeable' AND g.tree_sha = e.request->>'tree'
              AND g.outcome = 'pass')
          THEN format('%s merged the tree %s, which no test has passed', {NAME}, left(e.request->>'tree', 12)) END)
      ) AS one(evidence)
      WHERE e.kind = '{EffectKind.MERGE_PR}' AND e.status = 'confirmed' AND NOT e.result ? 'by_hand'
        AND coalesce(e.request->>'candidate', '') <> '' AND one.evidence IS NOT NULL""",
)

AFTER_STOP: Final = Check(
    "nothing but cleanup after an acknowledged STOP",
    also="""told AS (SELECT task_id, max(id) AS id, max(at) AS at FROM events WHERE kind = 'stop.acknowledged'
      GROUP BY task_id)""",
    sql=f"""SELECT e.task_id, CASE WHEN e.kind IN {KEYLESS} THEN 'I11' ELSE 'I7' END,
        format('%s was %s at %s, after the STOP was acknowledged at %s', {NAME}, substr(c.kind, 8), c.at,
          told.at)
      FROM told JOIN change c ON c.task_id = told.task_id AND c.id > told.id JOIN effect e ON e.id = c.effect_id
      WHERE e.kind NOT IN {CLEANUP} AND c.kind IN ('effect.claimed', 'effect.adopted', 'effect.confirmed')
      UNION ALL
      SELECT e.task_id, CASE WHEN e.kind IN {KEYLESS} THEN 'I11' ELSE 'I7' END,
        format('%s left at %s, after the STOP was acknowledged at %s', {NAME}, greatest(e.sent_at, e.claimed_at),
          t.stop_acknowledged_at)
      FROM effect e JOIN audited t ON t.id = e.task_id
      WHERE e.kind NOT IN {CLEANUP} AND greatest(e.sent_at, e.claimed_at) > t.stop_acknowledged_at
      UNION ALL
      SELECT d.task_id, 'I7', format('deployment %s to %s started at %s, after the STOP was acknowledged at %s', d.id,
          d.environment, d.started_at, t.stop_acknowledged_at)
      FROM deployments d JOIN audited t ON t.id = d.task_id WHERE d.started_at > t.stop_acknowledged_at""",
)

KEYLESS_ONCE: Final = Check(
    "a keyless effect is repeated only after a fault",
    sql=f"""SELECT e.task_id, 'I8', format('%s was sent %s times (last at %s), and %s of its owners met a fault',
        {NAME}, e.sends, e.sent_at, e.adoptions)
      FROM effect e WHERE e.kind IN {KEYLESS} AND e.sends > 1
        AND e.sends > e.adoptions + (SELECT count(*) FROM events v WHERE v.task_id = e.task_id
          AND v.kind = 'effect.claimed' AND v.detail->>'id' = e.id::text)""",
)

OF_THEIR_VISIT: Final = Check(
    "a claim belongs to its visit and is settled before it is left",
    sql=f"""SELECT e.task_id, 'I12', format('%s names visit %s, which the task never made', {NAME}, e.visit)
      FROM effect e JOIN audited t ON t.id = e.task_id
      WHERE e.visit > t.stage_seq OR e.visit < 0
      UNION ALL
      SELECT e.task_id, one.invariant, one.evidence
      FROM change c JOIN effect e ON e.id = c.effect_id CROSS JOIN LATERAL (VALUES
        ('I12', CASE WHEN c.kind IN ('effect.claimed', 'effect.adopted')
          THEN format('%s was claimed in visit %s, at %s', {NAME}, c.stage_seq, c.at) END),
        ('I13', CASE WHEN c.kind IN ('effect.confirmed', 'effect.refused', 'effect.revoked')
            AND c.stage_seq > e.visit AND e.kind NOT IN {KEYLESS}
          THEN format('%s was still open when visit %s was left; settled in visit %s, at %s', {NAME}, e.visit,
            c.stage_seq, c.at) END)
      ) AS one(invariant, evidence) WHERE c.stage_seq <> e.visit AND one.evidence IS NOT NULL
      UNION ALL
      SELECT e.task_id, 'I13', format('%s is open since %s, and its visit was left', {NAME}, e.claimed_at)
      FROM effect e JOIN audited t ON t.id = e.task_id
      WHERE e.status = 'claimed' AND e.visit < t.stage_seq AND e.kind NOT IN {KEYLESS}""",
)
# A message to people that could not be sent holds nothing up: it may outlive its visit, but not the task.

OPEN_AT_REST: Final = Check(
    "no open claim at rest",
    sql=f"""SELECT e.task_id, 'I13', format('%s is open at rest since %s', {NAME}, e.claimed_at)
      FROM effect e JOIN audited t ON t.id = e.task_id
      WHERE e.status = 'claimed'
        AND (t.stage IN {OVER} OR t.parked_at IS NOT NULL AND e.kind <> '{EffectKind.TRACKER_STATE}')
        AND (t.stage <> 'cancelled' OR t.stop_acknowledged_at IS NOT NULL)
        AND NOT EXISTS (SELECT FROM transition_lease l WHERE l.task_id = t.id AND l.released_at IS NULL)""",
)
# The card of a parked task is tried for as long as the tracker does not answer: that task is not at rest yet.

DEPLOYS_AGREE: Final = Check(
    "deployments and their claims agree",
    sql=f"""SELECT d.task_id, 'I14', format('deployment %s of %s has no claim in visit %s', d.id, d.environment,
        d.visit)
      FROM deployments d JOIN audited t ON t.id = d.task_id JOIN {_STARTS} ON start.environment = d.environment
      LEFT JOIN effect e ON e.task_id = d.task_id AND e.visit = d.visit AND e.kind = start.kind
      WHERE d.kind = 'deploy' AND d.status <> 'revoked' AND e.id IS NULL
      UNION ALL
      SELECT e.task_id, 'I14', format('%s is confirmed and there is no such deployment', {NAME})
      FROM effect e JOIN {_STARTS} ON start.kind = e.kind
      LEFT JOIN deployments d ON d.task_id = e.task_id AND d.visit = e.visit AND d.environment = start.environment
        AND d.kind = 'deploy'
      WHERE e.status = 'confirmed' AND NOT e.result ? 'skipped' AND d.id IS NULL""",
)

CHECKS: Final = (
    ONE_MERGE,
    AS_DECIDED,
    AFTER_STOP,
    KEYLESS_ONCE,
    OF_THEIR_VISIT,
    OPEN_AT_REST,
    DEPLOYS_AGREE,
)
