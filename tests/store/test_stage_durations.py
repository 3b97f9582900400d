"""How long stages take is counted once, by the commit that won, and a scrape does not read the history."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, event

from orchestrator import metrics
from orchestrator.domain.ownership import Committed
from orchestrator.domain.stages import Stage
from orchestrator.store import figures
from tests.store.heart import Heart, at_once


@pytest.fixture
def heart(engine: Engine) -> Heart:
    return Heart(engine)


def counted(heart: Heart) -> dict[tuple[str, str], tuple[tuple[int, ...], int, float]]:
    with heart.store.transaction() as connection:
        return dict(figures.stage_durations(connection).samples)


def test_the_commit_counts_how_long_the_stage_it_leaves_took(heart: Heart) -> None:
    task = heart.task(Stage.REVIEW)
    heart.run("UPDATE tasks SET stage_entered_at = clock_timestamp() - interval '45 seconds'")
    assert heart.commit(heart.held(task), Stage.REVIEW, 0, Stage.DEVELOPMENT) == Committed()
    [((stage, result), (buckets, count, total))] = counted(heart).items()
    assert (stage, result, count) == ("review", "roll_back", 1)
    assert buckets.index(1) == 2, "over 30 and under 60 seconds"
    assert 45 <= total < 60


def test_of_four_commits_of_one_decision_one_is_counted(heart: Heart) -> None:
    task = heart.task(Stage.REVIEW)
    held = heart.held(task)
    at_once(*[lambda: heart.commit(held, Stage.REVIEW, 0, Stage.TESTING)] * 4)
    assert [(key, one[1]) for key, one in counted(heart).items()] == [(("review", "forward"), 1)]


def test_a_scrape_does_not_read_the_history_of_stages(heart: Heart) -> None:
    heart.commit(heart.held(heart.task(Stage.REVIEW)), Stage.REVIEW, 0, Stage.TESTING)
    statements: list[str] = []
    event.listen(heart.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    with heart.store.transaction() as connection:
        page = metrics.render(connection).decode()
    assert 'orch_stage_duration_seconds_count{result="forward",stage="review"} 1.0' in page
    assert statements
    assert [one for one in statements if "FROM events" in one] == []
