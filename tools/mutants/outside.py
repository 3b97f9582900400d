"""Mutants of what is done outside: look, act, read back, revoke, and what makes an act single at its target."""

from __future__ import annotations

from typing import Final

from tools.mutants.mutant import Edit, Mutant

_EFFECTS: Final = "orchestrator/engine/effects.py"
_MERGE: Final = "orchestrator/effects/merge_pr.py"
_BARE: Final = "orchestrator/adapters/forges/bare_repository.py"
_FORGE: Final = "orchestrator/adapters/forges/local.py"
_GITEA: Final = "orchestrator/adapters/forges/gitea.py"
_GITEA_API: Final = "orchestrator/adapters/forges/gitea_api.py"
_GITHUB: Final = "orchestrator/adapters/forges/github.py"
_CANCEL: Final = "orchestrator/engine/cancel.py"
_DEPLOYMENTS: Final = "orchestrator/store/deployments.py"
_SCHEMA: Final = "orchestrator/store/migrations/versions/v0001_first_schema.py"
_ONCE: Final = "            ON CONFLICT (task_id, visit, environment, kind) DO NOTHING"
_KEY: Final = "    CONSTRAINT one_deployment_a_visit_and_environment UNIQUE (task_id, visit, environment, kind),\n"
_CREATE: Final = '            f"create {_end(number)} {checked_sha(new)}",\n'
_VERIFY: Final = '            f"verify {_head(head_branch)} {new}",\n'
_TIP: Final = "        if tip != head:\n"

_PINNED: Final = "tests/schedules/test_schedules.py::test_a_pinned_schedule_breaks_nothing"
_NO_FIRST_LOOK: Final = Edit(
    _EFFECTS, "    seen = effect.look(context)\n    hit(", "    seen: Seen = Absent()\n    hit("
)
_NO_LOOK_OF_THE_ACT: Final = Edit(
    _MERGE,
    "        seen = _read(context)\n        if isinstance(seen, Landed) and",
    "        seen: Seen = Absent()\n        if isinstance(seen, Landed) and",
)

MUTANTS: Final = (
    Mutant(
        "act-without-look",
        "look and read back",
        "NO_LOOK",
        "what was claimed is sent without a look whether it is done or can still be done",
        "I3 I5 I14",
        (_NO_FIRST_LOOK, _NO_LOOK_OF_THE_ACT),
        (
            "tests/effects/test_rebuild_image.py::test_an_image_of_the_same_recipe_is_fresh_for_another_commit",
            "tests/effects/test_merge_pr.py::test_a_base_that_moved_before_the_look_asks_for_another_candidate",
            "tests/effects/test_merge_pr.py::test_acting_on_what_can_no_longer_be_done_sends_nothing",
        ),
        "what makes an act single at its target refuses the second one, and the read back finds the first",
    ),
    Mutant(
        "believe-the-answer",
        "look and read back",
        "NO_LOOK",
        "nobody looks before, and an error is taken for an answer: it was not done, so the way is back",
        "I3 I5",
        (
            _NO_FIRST_LOOK,
            _NO_LOOK_OF_THE_ACT,
            Edit(
                _EFFECTS,
                '        _log.info("%s: %s; looking again", effect.kind, error)\n',
                "        return Impossible(error.message, Then.GO_BACK)\n",
            ),
            Edit(
                _EFFECTS,
                "        seen = effect.look(context)\n        if isinstance(seen, Absent) and not",
                "        seen: Seen = Absent()\n        if isinstance(seen, Absent) and not",
            ),
        ),
        (
            "tests/effects/test_crashes.py::test_an_owner_that_dies_leaves_an_effect_that_happens_once[answered-merge_pr]",
            "tests/effects/test_crashes.py::test_an_owner_that_dies_leaves_an_effect_that_happens_once[answered-open_pr]",
        ),
    ),
    Mutant(
        "withdraw-without-read-back",
        "look and read back",
        "NO_LOOK",
        "after a withdrawal nobody looks whether it had landed before",
        "I3 I5 I14",
        (
            Edit(
                _EFFECTS,
                "        seen = Absent() if effect.keyless else effect.look(context)\n",
                "        seen: Seen = Absent()\n",
            ),
        ),
        ("tests/effects/test_merge_pr.py::test_a_merge_that_landed_before_the_withdrawal_is_returned_and_left_alone",),
    ),
    Mutant(
        "stale-read",
        "current read",
        "STALE_READ",
        "the look reads a copy of the remote that may be old",
        "I3 I5",
        (
            Edit(
                "orchestrator/adapters/git/workspaces.py",
                "return self._mirror.tip_at_remote(self._base_branch) or self._no_base()",
                "old = self._mirror.fetched_tip(self._base_branch)\n"
                "        return old or self._mirror.tip_at_remote(self._base_branch) or self._no_base()",
            ),
        ),
        (
            "tests/effects/test_merge_pr_on_real_git.py::test_a_merge_cut_off_between_git_and_the_record_is_settled_and_not_repeated",
        ),
    ),
    Mutant(
        "merge-whatever-is-there",
        "expected head",
        "NO_SHA",
        "the merge names the head that the branch has now, not the one that was judged",
        "I2 I3 I5",
        (
            Edit(
                _MERGE,
                "expected_head=decided.candidate,",
                "expected_head=str(context.ports.workspaces.branch_tip(decided.branch)),",
            ),
        ),
        ("tests/effects/test_merge_pr.py::test_a_head_that_moves_between_publish_and_merge_is_not_merged[published]",),
    ),
    Mutant(
        "forge-ignores-the-head",
        "expected head",
        "NO_SHA",
        "the built-in forge does not compare the branch with the expected head",
        "I2 I3 I5",
        (Edit(_BARE, _VERIFY, ""), Edit(_FORGE, _TIP, "        if tip is None:\n")),
        (
            "tests/adapters/test_local_forge.py::test_a_merge_that_looked_before_the_head_moved_does_not_land_after_it",
            "tests/effects/test_merge_pr_on_real_git.py::test_a_withdrawn_merge_never_lands_afterwards",
        ),
    ),
    Mutant(
        "gitea-is-not-told-the-head",
        "expected head",
        "NO_SHA",
        "Gitea is asked to merge whatever the branch has",
        "I2 I3 I5",
        (
            Edit(_GITEA_API, '"head_commit_id": head, ', ""),
            Edit(_GITEA, "        if found.head_sha != head:\n", "        if not found.head_sha:\n"),
        ),
        ("tests/adapters/test_gitea_forge.py::TestGiteaKeepsTheContract::test_a_head_that_moved_is_not_merged",),
    ),
    Mutant(
        "github-is-not-told-the-head",
        "expected head",
        "NO_SHA",
        "GitHub is asked to move the base branch wherever the head branch stands",
        "I2 I3 I5",
        (
            Edit(_GITHUB, "                Move(found.head_branch, before=expected_head, after=expected_head),\n", ""),
            Edit(_GITHUB, "        if found.head_sha != head:\n", "        if not found.head_sha:\n"),
        ),
        ("tests/adapters/test_github_forge.py::TestGithubKeepsTheContract::test_a_head_that_moved_is_not_merged",),
    ),
    Mutant(
        "forge-merges-blindly",
        "once-only merge",
        "FORGE_NAIVE",
        "the built-in forge moves the base branch without ending the pull request in the same transaction",
        "I1 I2 I3 I5",
        (
            Edit(_BARE, _CREATE + _VERIFY, ""),
            Edit(_BARE, "{new} {checked_sha(old)}", "{new}"),
        ),
        (
            "tests/adapters/test_local_forge.py::test_a_merge_that_looked_before_the_close_does_not_land_after_it",
            "tests/adapters/test_local_forge.py::test_a_merge_that_looked_before_the_base_moved_does_not_land_after_it",
        ),
    ),
    Mutant(
        "deploy-without-key",
        "deploy key",
        "NO_KEY",
        "a second request, or one that comes after the tombstone, is another deployment",
        "I6 I7",
        (
            Edit(_SCHEMA, _KEY, ""),
            Edit(_DEPLOYMENTS, _ONCE, ""),
            Edit(
                _DEPLOYMENTS,
                'text(f"{_SELECT} WHERE {where}"), key).one()',
                'text(f"{_SELECT} WHERE {where} ORDER BY d.id DESC LIMIT 1"), key).one()',
            ),
        ),
        (
            "tests/store/test_deployments.py::test_a_deployment_is_asked_for_once_a_visit_environment_and_kind",
            "tests/store/test_deployments.py::test_a_tombstone_bars_a_request_that_comes_later",
            "tests/store/test_deployments.py::test_a_tombstone_takes_a_request_back_but_not_a_running_one",
            "tests/effects/test_deploys.py::test_a_withdrawn_deploy_leaves_a_tombstone_that_a_late_request_finds",
        ),
    ),
    Mutant(
        "deployer-without-cas",
        "deploy key",
        "NO_KEY",
        "a deployer runs its row whatever became of the row",
        "I6 I7",
        (
            Edit(
                _DEPLOYMENTS,
                "WHERE d.id = :id AND d.status = 'requested' AND NOT EXISTS (",
                "WHERE d.id = :id AND NOT EXISTS (",
            ),
        ),
        (
            "tests/store/test_deployments.py::test_a_revoked_row_cannot_be_won",
            "tests/store/test_deployments.py::test_of_eight_deployers_of_one_row_one_wins",
        ),
    ),
    Mutant(
        "back-without-revocation",
        "revocation before going back",
        "NO_POISON",
        "a task goes back to development and leaves an open claim behind",
        "I2 I3 I5 I13",
        (
            Edit(
                "orchestrator/engine/back.py",
                "    if effects.withdraw_open_claims(region, scene, going_on=(*decision.before, *cleanup)):\n"
                "        return Step.AGAIN\n",
                "",
            ),
        ),
        (
            "tests/engine/test_going_back.py::test_nobody_goes_back_before_the_merge_of_a_dead_owner_is_made_impossible",
            f"{_PINNED}[merge@1/monitor+operator/monitor:merge_pull_request is sent!kill,operator,network]",
        ),
    ),
    Mutant(
        "revocation-that-can-be-undone",
        "revocation for good",
        "POISON_REOPEN",
        "a withdrawal closes the pull request, which can be opened again with the same head",
        "I2",
        (
            Edit(
                _MERGE,
                "                workspaces.move_aside(decided.branch, tip)\n",
                "                context.ports.forge.close_pull_request(int(decided.number))\n                return\n",
            ),
        ),
        (
            "tests/effects/test_merge_pr.py::test_a_withdrawn_merge_does_not_land_when_its_pull_request_is_opened_again",
            "tests/effects/test_merge_pr.py::test_closing_the_pull_request_is_no_withdrawal_because_it_can_be_opened_again",
        ),
    ),
    Mutant(
        "cancel-without-revocation",
        "revocation before cancel",
        "STOP_NO_POISON",
        "a STOP leaves the open claims of a dead owner as they are",
        "I2 I7 I13",
        (
            Edit(
                _CANCEL,
                "    effects.withdraw_open_claims(region, scene, going_on=own_effects)\n",
                "",
            ),
        ),
        ("tests/engine/test_stop.py::test_a_stop_after_a_claim_of_a_dead_owner_makes_the_merge_impossible",),
    ),
    Mutant(
        "cancel-without-tombstone",
        "revocation before cancel",
        "STOP_NO_POISON",
        "a STOP leaves a requested deployment for a deployer that comes later",
        "I2 I7",
        (Edit(_CANCEL, "    _revoke_requested_deploys(region, scene)\n", ""),),
        ("tests/engine/test_stop.py::test_a_stop_takes_back_a_deploy_that_no_deployer_has_won",),
    ),
)
