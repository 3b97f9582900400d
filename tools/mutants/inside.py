"""Mutants of what stands in the database: who may enter, who may claim, who may commit."""

from __future__ import annotations

from typing import Final

from tools.mutants.mutant import Edit, Mutant

_LEASES: Final = "orchestrator/store/leases.py"
_LEDGER: Final = "orchestrator/store/ledger.py"
_COMMITS: Final = "orchestrator/store/stage_commits.py"
_PINNED: Final = "tests/schedules/test_schedules.py::test_a_pinned_schedule_breaks_nothing"
_LIVES: Final = (
    "owner is not None and is_alive(owner, ProbeInTransaction(connection, probe)):\n        return Busy(owner, age_s"
)
_SEQ: Final = "AND stage_seq = :seq "
_EPOCH: Final = "AND lease_epoch = :epoch"

MUTANTS: Final = (
    Mutant(
        "enter-without-lease",
        "lease",
        "NO_LEASE",
        "whoever asks is let in, whoever is inside",
        "I2 I3 I5 I8 I9 I11",
        (
            Edit(
                _LEASES,
                f"found is not None and {_LIVES}",
                _LIVES.replace("owner is not None and is_alive", "False and is_alive"),
            ),
        ),
        (
            "tests/store/test_leases.py::test_of_eight_that_enter_at_once_one_gets_in",
            "tests/store/test_leases.py::test_a_live_owner_keeps_others_out_and_they_hear_who_it_is",
            "tests/engine/test_drive.py::test_the_incident_with_the_lease_is_one_merge_and_done[off]",
            f"{_PINNED}[merge/finalizer+operator/finalizer:gate.check_coverage.before,operator,finalizer]",
            f"{_PINNED}[merge/monitor+stop/monitor:effect.merge_pr.looked,stop,monitor]",
        ),
    ),
    Mutant(
        "lease-by-age",
        "identity",
        "TTL",
        "a lease ends by its age, not by its owner's death",
        "I8 I9 I11",
        (
            Edit(
                _LEASES,
                _LIVES,
                _LIVES.replace(
                    "is_alive(owner, ProbeInTransaction(connection, probe))", "age_s(connection, task_id) < 900"
                ),
            ),
        ),
        (
            "tests/store/test_leases.py::test_a_live_owner_keeps_its_lease_however_long_it_takes",
            "tests/store/test_leases.py::test_the_lease_of_a_killed_owner_is_taken_over_with_a_higher_epoch",
        ),
    ),
    Mutant(
        "back-without-lease",
        "lease on the way back",
        "RETREAT_UNLEASED",
        "going back to development takes no lease",
        "I2 I3 I5",
        (
            Edit(
                "orchestrator/engine/region.py",
                "closing, engine.lease_is_enforced(view.project))",
                'closing, engine.lease_is_enforced(view.project) and not edge.endswith("-> development"))',
            ),
        ),
        ("tests/engine/test_going_back.py::test_a_rejection_waits_for_the_owner_that_merges",),
    ),
    Mutant(
        "stop-does-not-wait",
        "STOP's wait",
        "STOP_NO_WAIT",
        "a STOP enters while an owner is inside",
        "I11",
        (Edit(_LEASES, _LIVES, _LIVES.replace("is_alive(", "not entry.closing and is_alive(", 1)),),
        (
            "tests/store/test_leases.py::test_a_stop_waits_for_a_live_owner",
            "tests/engine/test_stop.py::test_a_stop_waits_for_a_live_owner_and_lets_it_claim_nothing_more",
        ),
    ),
    Mutant(
        "claim-without-epoch",
        "epoch in the claim",
        "CLAIM_NO_EPOCH",
        "a claim is written under a lease that was taken away",
        "I2 I3 I5 I10",
        (
            Edit(
                _LEDGER,
                "    task = leases.lock_if_epoch_holds(connection, held)\n",
                "    task = leases.lock_task(connection, held.task_id)\n",
            ),
        ),
        (
            "tests/store/test_ledger.py::test_a_stale_epoch_claims_nothing",
            "tests/store/test_ledger.py::test_a_claim_that_waits_behind_a_release_by_force_writes_nothing",
        ),
    ),
    Mutant(
        "send-without-epoch",
        "epoch in the claim",
        "CLAIM_NO_EPOCH",
        "a claimed request leaves, or is repeated, under a lease that was taken away",
        "I2 I3 I5 I10",
        (
            Edit(
                _LEDGER,
                "    if leases.lock_if_epoch_holds(connection, held) is None:\n"
                '        return LostRace("the epoch moved on")\n'
                "    done = connection.execute(\n"
                "        text(\n"
                '            """UPDATE effects SET sends',
                '    done = connection.execute(\n        text(\n            """UPDATE effects SET sends',
            ),
        ),
        ("tests/store/test_ledger.py::test_nothing_is_sent_under_a_lease_that_was_taken_away",),
    ),
    Mutant(
        "commit-without-epoch",
        "epoch in the commit",
        "CAS_NO_EPOCH",
        "a stage is committed under a lease that was taken away, as long as the visit is the same",
        "I2 I3 I5 I10",
        (Edit(_COMMITS, _EPOCH, ""),),
        (
            "tests/store/test_stage_commits.py::test_an_owner_whose_lease_was_taken_away_commits_nothing",
            "tests/store/test_stage_commits.py::test_a_commit_that_waits_behind_a_release_by_force_loses",
        ),
        "once the task has moved on, stage and stage_seq stop the same owner: only within a visit is it seen",
    ),
    Mutant(
        "commit-without-stage-seq",
        "stage_seq",
        "CAS_STAGE",
        "a decision of an earlier visit of the same stage is committed",
        "I12 where the epoch does not stop it",
        (Edit(_COMMITS, _SEQ, ""),),
        ("tests/store/test_stage_commits.py::test_a_decision_of_an_earlier_visit_does_not_commit_in_a_later_one",),
        "whoever lives through another visit has lost its lease, so end to end the epoch stops it",
    ),
    Mutant(
        "commit-by-stage-alone",
        "stage_seq",
        "CAS_NO_EPOCH CAS_STAGE",
        "neither the visit nor the lease is compared: review -> development -> review goes unnoticed",
        "I2 I3 I5 I12",
        (Edit(_COMMITS, _SEQ + _EPOCH, ""),),
        (
            "tests/store/test_stage_commits.py::test_an_owner_that_slept_through_another_visit_commits_nothing",
            "tests/engine/test_going_back.py::test_an_owner_that_slept_through_another_visit_commits_nothing",
        ),
        "both removed together, since each covers the other",
    ),
    Mutant(
        "commit-without-any-guard",
        "stage_seq",
        "CAS_NO_EPOCH NO_CAS",
        "a stage is committed whatever stage the task is in by now",
        "I2 I3 I4 I5 I12",
        (Edit(_COMMITS, "WHERE id = :id AND stage = :expected {fences}", "WHERE id = :id"),),
        ("tests/store/test_stage_commits.py::test_a_decision_of_an_earlier_visit_does_not_commit_in_a_later_one",),
        "the stage graph as a trigger still refuses a step that is no edge",
    ),
)
