"""The demo on a tracker and a forge over HTTP that misbehave. A module of its own: the suite's workers take whole
modules."""

from __future__ import annotations

import pytest

from tests.e2e.telling import assert_each_effect_once, assert_told_as_written, left_over, tell

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(700)]


def test_the_story_ends_as_written_over_http_on_a_tracker_and_a_forge_that_misbehave(tmp_path):
    code, answer, progress = tell(tmp_path, "--tracker", "plane", "--forge", "gitea", "--chaos", "--seed", "4")
    assert (code, answer["problems"], answer["left_over"]) == (0, [], []), progress[-3000:]
    assert_told_as_written(answer)
    assert_each_effect_once(answer)
    told = "\n".join(answer["notes"])
    assert "done in git and not in the records" in told, told
    assert "/comments/: done, dropped" in told, told
    assert left_over(tmp_path / "demo") == []
