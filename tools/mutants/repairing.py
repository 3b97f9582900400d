"""Mutants of the reaper: kill before release, the ceiling, and the flip that comes before anything else."""

from __future__ import annotations

from typing import Final

from tools.mutants.mutant import Edit, Mutant

_REAPER: Final = "orchestrator/engine/reaper.py"

MUTANTS: Final = (
    Mutant(
        "release-without-kill",
        "kill before release",
        "T3_NOKILL",
        "at the ceiling the lease is taken from an owner that goes on",
        "I9 I11",
        (Edit(_REAPER, "or engine.host.kill(owner, _KILL_S)\n", "or True\n"),),
        (
            "tests/engine/test_reaper.py::test_at_the_ceiling_the_owner_is_killed_and_seen_dead_before_its_lease_is_taken_away",
            "tests/engine/test_reaper.py::test_a_lease_held_over_the_ceiling_is_ended_without_any_job",
        ),
    ),
    Mutant(
        "no-ceiling-of-runs",
        "Tier 3",
        "NO_TIER3",
        "a run that hangs is left alone for ever",
        "progress (I15)",
        (
            Edit(
                "orchestrator/domain/repair.py",
                "    if sight.running_s > bounds.ceiling_s and not sight.settled:\n",
                "    if False:\n",
            ),
        ),
        (
            "tests/unit/test_repair.py::test_the_ceiling_ignores_every_marker",
            "tests/engine/test_reaper.py::test_at_the_ceiling_the_owner_is_killed_and_seen_dead_before_its_lease_is_taken_away",
        ),
    ),
    Mutant(
        "no-ceiling-of-leases",
        "Tier 3",
        "NO_TIER3 with MAXHANG=1 or FOREIGN",
        "an owner that hangs, or whose death nobody can see, keeps its lease for ever",
        "progress (I15)",
        (Edit(_REAPER, "    if age_s <= engine.timings.reaper_max_running_s:\n", "    if age_s >= 0:\n"),),
        (
            "tests/engine/test_reaper.py::test_a_lease_held_over_the_ceiling_is_ended_without_any_job",
            "tests/engine/test_reaper.py::test_an_owner_that_cannot_be_killed_loses_its_lease_all_the_same_and_people_hear_that_it_lives",
        ),
    ),
    Mutant(
        "reaper-acts-before-it-wins",
        "claim before act in the reaper",
        "",
        "a reaper that lost the flip records an outcome and nudges all the same",
        "I8 I17",
        (Edit(_REAPER, "    if isinstance(won, Committed):\n        _record(", "    if won:\n        _record("),),
        ("tests/engine/test_reaper.py::test_a_reaper_that_loses_the_flip_records_nothing_and_nudges_nobody",),
    ),
    Mutant(
        "flip-without-guard",
        "claim before act in the reaper",
        "",
        "a job is ended by everybody who thinks that it should end",
        "I8 I17",
        (
            Edit(
                "orchestrator/store/jobs.py",
                "finished_at = clock_timestamp() WHERE id = :id AND status = 'running' RETURNING task_id",
                "finished_at = clock_timestamp() WHERE id = :id RETURNING task_id",
            ),
        ),
        ("tests/store/test_jobs.py::test_of_two_reapers_one_ends_the_job",),
    ),
)
