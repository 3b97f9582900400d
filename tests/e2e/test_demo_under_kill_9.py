"""The demo while its workers are killed. A module of its own: the suite's workers take whole modules."""

from __future__ import annotations

import pytest

from tests.e2e.telling import assert_each_effect_once, assert_told_as_written, left_over, tell

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(700)]


def test_the_story_ends_as_written_under_kill_9(tmp_path):
    code, answer, progress = tell(tmp_path, "--chaos", "--seed", "3")
    assert (code, answer["problems"], answer["left_over"]) == (0, [], []), progress[-3000:]
    assert len(answer["kills"]) >= 3
    assert_told_as_written(answer)
    assert_each_effect_once(answer)
    assert left_over(tmp_path / "demo") == []
