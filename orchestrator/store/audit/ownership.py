"""I9 and I10 in the history of leases: one owner at a time, and nothing written without the epoch of the day.

A lease leaves one row of history, at its end; the one that is held now is the row of ``transition_lease``. Rows of one
task are in the order in which its locked row let them be written, so order is told by their ids and by no clock.
"""

from __future__ import annotations

from typing import Final

from orchestrator.store.audit.scope import NAME, Check

_ENDED: Final = """ended AS (
  SELECT e.id, e.task_id, e.epoch, e.at, e.detail->>'how' AS how, e.detail->>'actor' AS holder
  FROM events e JOIN audited t ON t.id = e.task_id WHERE e.kind = 'lease.ended')"""

ONE_AFTER_ANOTHER: Final = Check(
    "leases follow one another",
    also=_ENDED,
    sql="""SELECT task_id, 'I9', format('the lease of epoch %s ended at %s, after that of epoch %s had', epoch, at,
        before)
      FROM (SELECT *, max(epoch) OVER (PARTITION BY task_id ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING
        AND 1 PRECEDING) AS before FROM ended) AS e WHERE epoch <= before
      UNION ALL
      SELECT t.id, 'I9', format('its lease is held under epoch %s, by %s since %s, and its row says %s', l.epoch,
        l.actor, l.acquired_at, t.lease_epoch)
      FROM transition_lease l JOIN audited t ON t.id = l.task_id
      WHERE l.released_at IS NULL AND l.epoch <> t.lease_epoch
      UNION ALL
      SELECT l.task_id, 'I9', format('its lease is held under epoch %s, which had ended at %s (%s)', l.epoch, e.at,
        e.how)
      FROM transition_lease l JOIN ended e ON e.task_id = l.task_id AND e.epoch >= l.epoch
      WHERE l.released_at IS NULL""",
)

UNDER_A_LEASE: Final = Check(
    "every commit and claim under the lease of its epoch",
    also=f"""{_ENDED}, written AS (
      SELECT id, task_id, epoch, at, 'the commit of #' AS what, seq::bigint AS number
      FROM step WHERE source IS NOT NULL AND NOT unguarded
      UNION ALL
      SELECT c.id, c.task_id, c.epoch, c.at, c.kind || ' of effect ', c.effect_id FROM change c)""",
    sql="""SELECT w.task_id, 'I10', CASE
          WHEN e.id < w.id THEN format('%s%s at %s has epoch %s, whose lease had ended at %s (%s, held by %s)',
            w.what, w.number, w.at, w.epoch, e.at, e.how, e.holder)
          ELSE format('%s%s at %s has epoch %s, and no lease ever had it', w.what, w.number, w.at, w.epoch) END
      FROM written w LEFT JOIN ended e ON e.task_id = w.task_id AND e.epoch = w.epoch
      LEFT JOIN transition_lease l ON l.task_id = w.task_id AND l.epoch = w.epoch AND l.released_at IS NULL
      WHERE e.id < w.id OR (e.id IS NULL AND l.task_id IS NULL)""",
)

CURRENT_EPOCH: Final = Check(
    "every claim with the epoch that was current",
    sql=f"""SELECT e.task_id, 'I10', format('%s: %s wrote epoch %s at %s, when %s was current', {NAME},
        substr(c.kind, 8), c.written_epoch, c.at, c.epoch)
      FROM change c JOIN effect e ON e.id = c.effect_id WHERE c.written_epoch <> c.epoch
      UNION ALL
      SELECT e.task_id, 'I10', format('%s has epoch %s, the task %s', {NAME}, e.epoch, t.lease_epoch)
      FROM effect e JOIN audited t ON t.id = e.task_id WHERE e.epoch > t.lease_epoch""",
)

CHECKS: Final = (ONE_AFTER_ANOTHER, UNDER_A_LEASE, CURRENT_EPOCH)
