"""I15 to I17 in the rows: everything moves or says why, nothing is left over, every delivery has its consequences once.

What only a sweep mends is ``passing``: it is a breach when it is still there after one.
"""

from __future__ import annotations

from typing import Final

from orchestrator.domain.stages import Stage
from orchestrator.store.audit.scope import OVER, Check
from orchestrator.store.schema import LIVE_JOB

STALE_REASON_S: Final = 3600
"""A reason that nobody has looked at for so long is none: edges that keep every worker busy take minutes."""

MOVES: Final = Check(
    "each live task moves or says why not",
    passing=True,
    sql=f"""SELECT t.id, 'I15', CASE WHEN t.reasons = '[]' THEN format('it stands at %s since %s and gives no reason',
          t.stage, t.stage_entered_at)
        ELSE format('it stands at %s, and its reason is of %s: %s', t.stage, t.reasons_at, t.reasons->>0) END
      FROM audited t WHERE t.stage NOT IN {OVER} AND t.parked_at IS NULL
        AND NOT EXISTS (SELECT FROM transition_lease l WHERE l.task_id = t.id AND l.released_at IS NULL)
        AND NOT EXISTS (SELECT FROM jobs j WHERE j.task_id = t.id AND j.{LIVE_JOB})
        AND greatest(t.stage_entered_at, t.reasons_at) < clock_timestamp() - make_interval(secs =>
          CASE WHEN t.reasons = '[]' THEN CAST(:limit AS float) ELSE greatest(:limit, {STALE_REASON_S}) END)""",
)

ACKNOWLEDGED: Final = Check(
    "a cancelled task is acknowledged",
    passing=True,
    sql="""SELECT t.id, 'I15', format('it is cancelled since %s and nobody was told', t.stage_entered_at)
      FROM audited t WHERE t.stage = 'cancelled' AND t.stop_acknowledged_at IS NULL AND t.reasons = '[]'
        AND NOT EXISTS (SELECT FROM transition_lease l WHERE l.task_id = t.id AND l.released_at IS NULL)
        AND t.stage_entered_at < clock_timestamp() - make_interval(secs => :limit)""",
)

LEFT_OVER: Final = Check(
    "no job outlives its visit",
    sql=f"""SELECT j.task_id, 'I16', format('job %s is for %s, visit %s was %s', j.id, j.stage, j.visit, s.target)
      FROM jobs j JOIN step s ON s.task_id = j.task_id AND s.seq = j.visit WHERE s.target <> j.stage
      UNION ALL
      SELECT j.task_id, 'I16', format('job %s of visit %s is %s, the task at %s #%s', j.id, j.visit, j.status, t.stage,
        t.stage_seq)
      FROM jobs j JOIN audited t ON t.id = j.task_id
      WHERE j.{LIVE_JOB} AND (t.stage IN {OVER} OR j.visit <> t.stage_seq)""",
)

HELD_AT_THE_END: Final = Check(
    "nobody holds the lease of a task that is done",
    passing=True,
    sql=f"""SELECT t.id, 'I16', format('it is done and its lease is held by %s of %s since %s', l.owner_pid,
        l.owner_node, l.acquired_at)
      FROM audited t JOIN transition_lease l ON l.task_id = t.id AND l.released_at IS NULL
      WHERE t.stage = '{Stage.DONE}'""",
)

DELIVERIES: Final = Check(
    "every delivery is processed",
    passing=True,
    sql="""SELECT CAST(NULL AS bigint), 'I17', format('delivery %s (%s %s) was accepted at %s and is not'
        ' processed after %s attempts%s', i.id, i.source, i.delivery, i.received_at, i.attempts,
        CASE WHEN i.error = '' THEN '' ELSE '; last error: ' || i.error END)
      FROM inbox i WHERE i.processed_at IS NULL AND i.not_before < clock_timestamp() - make_interval(secs => :limit)
        AND CAST(:item AS text) IS NULL""",
)

ONCE: Final = Check(
    "a delivery has its consequences once",
    also=f"""passage AS (SELECT t.id, t.work_item, min(s.id) AS began, min(s.at) AS began_at,
        max(s.id) FILTER (WHERE s.target IN {OVER}) AS ended
      FROM audited t JOIN step s ON s.task_id = t.id GROUP BY t.id, t.work_item)""",
    sql="""SELECT b.id, 'I17', format('task %s began at %s while task %s of the same work item was live', b.id,
        b.began_at, a.id)
      FROM passage a JOIN passage b ON b.work_item = a.work_item AND b.id > a.id
      WHERE a.ended IS NULL OR a.ended > b.began
      UNION ALL
      SELECT CAST(NULL AS bigint), 'I17', format('delivery %s of %s was kept %s times: %s', min(i.delivery), i.source,
        count(*), string_agg(i.id::text, ', ' ORDER BY i.id))
      FROM inbox i WHERE CAST(:item AS text) IS NULL GROUP BY i.source, i.dedupe_key HAVING count(*) > 1""",
)

CHECKS: Final = (MOVES, ACKNOWLEDGED, LEFT_OVER, HELD_AT_THE_END, DELIVERIES, ONCE)
