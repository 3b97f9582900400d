"""The tracker on Plane keeps the contract of trackers, and what Plane does not give it makes up for itself."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from orchestrator.adapters.trackers.plane import states
from orchestrator.adapters.trackers.plane.answers import StateRow
from orchestrator.domain.configuration import PlaneState
from orchestrator.domain.errors import ConfigurationError, LostRaceError, NeedsHumanError, NotFoundError, TransientError
from orchestrator.ports import TrackerState
from tests.adapters.contracts.at_once import at_once
from tests.adapters.contracts.tracker_contract import TrackerContract, TrackerWorld
from tests.adapters.plane.conftest import PlaneWorld


class TestPlaneTracker(TrackerContract):
    @pytest.fixture
    def world(self, plane: PlaneWorld) -> TrackerWorld:
        return plane


# --- states ----------------------------------------------------------------------------------------------


def test_a_state_that_nobody_mapped_is_what_its_group_says_and_never_an_entry(plane: PlaneWorld) -> None:
    key = plane.add("one")
    meanings = {
        "Todo": TrackerState.BACKLOG,
        "In Review": TrackerState.IN_PROGRESS,
        "Shipped": TrackerState.DONE,
        "Won't do": TrackerState.CANCELLED,
    }
    groups = {"Todo": "unstarted", "In Review": "started", "Shipped": "completed", "Won't do": "cancelled"}
    plane.tracker.work_item(key)  # the states are known by now: each of these is made later
    for name, state in meanings.items():
        if name != "Todo":
            plane.double.space.add_state(plane.double.project, name, "#000000", groups[name])
        plane.double.move(key, name)
        assert plane.tracker.work_item(key).state is state


def test_a_renamed_state_is_named_with_what_is_there(plane: PlaneWorld) -> None:
    plane.add("one")
    plane.double.state("To Analyse").name = "Ready for robots"
    with pytest.raises(ConfigurationError, match=r"no state «To Analyse» \(to-analyse\).*Ready for robots"):
        plane.another().work_item("ORCH-1")


def test_own_names_are_taken_from_the_configuration() -> None:
    rows = [StateRow(name, name, group) for name, group in (("Ready", "unstarted"), ("HALT", "cancelled"))]
    rows += [StateRow(one.name, one.name, one.group) for one in states.DEFAULT_STATES.values()]
    configured = {TrackerState.TO_ANALYSE: PlaneState("ready"), TrackerState.STOP: PlaneState("HALT", "cancelled")}
    found = states.resolve(configured, rows, "ORCH")
    assert (found.ids[TrackerState.TO_ANALYSE], found.ids[TrackerState.STOP]) == ("Ready", "HALT")
    assert found.meanings["To Analyse"] is TrackerState.BACKLOG, "the default name is no entry any more"


def test_a_name_in_another_group_and_two_meanings_of_one_state_are_told() -> None:
    rows = [StateRow(one.name, one.name, one.group) for one in states.DEFAULT_STATES.values()]
    wrong = states.problems({TrackerState.DONE: PlaneState("Done", "cancelled")}, rows)
    assert wrong == ["«Done» (done) is in the group completed, not cancelled"]
    shared = states.problems({TrackerState.STOP: PlaneState("Cancelled")}, rows)
    assert shared == ["cancelled and stop are one state in Plane: each needs its own"]


def test_a_stop_that_a_person_wrote_is_only_written_over_by_an_end(plane: PlaneWorld) -> None:
    key = plane.add("one")
    plane.move(key, TrackerState.STOP)
    with pytest.raises(LostRaceError):
        plane.tracker.set_state(key, TrackerState.IN_PROGRESS)
    assert plane.double.state_of(key) == "STOP"
    plane.tracker.set_state(key, TrackerState.CANCELLED)
    assert plane.double.state_of(key) == "Cancelled"


def test_a_state_that_stands_right_is_not_written(plane: PlaneWorld) -> None:
    key = plane.add("one")
    plane.tracker.set_state(key, TrackerState.TO_ANALYSE)
    assert [one for one in plane.double.exchanges if one.request.method == "PATCH"] == []


# --- items -----------------------------------------------------------------------------------------------


def test_an_archived_item_and_a_deleted_one_are_gone(plane: PlaneWorld) -> None:
    one, two = plane.add("one"), plane.add("two")
    plane.double.archive(one)
    plane.double.delete(two)
    for key in (one, two):
        with pytest.raises(NotFoundError, match=key):
            plane.tracker.work_item(key)


def test_a_blocker_in_another_project_counts_by_the_group_of_its_state(plane: PlaneWorld) -> None:
    double, key = plane.double, plane.add("one")
    other = double.add_project("OTHER")
    blocker = double.writes.add_item(other, double.user("ann"), {"name": "there"})
    double.writes.block(double.item(key), [blocker.id])
    assert plane.tracker.work_item(key).blocked_by == ("OTHER-1",)
    done = next(one for one in other.states.values() if one.group == "completed")
    double.writes.change_item(other, blocker, double.user("ann"), {"state": done.id})
    assert plane.tracker.work_item(key).blocked_by == ()


def test_a_deleted_blocker_blocks_nothing(plane: PlaneWorld) -> None:
    blocker = plane.add("one")
    key = plane.add("two", blocked_by=(blocker,))
    plane.double.delete(blocker)
    assert plane.tracker.work_item(key).blocked_by == ()


def test_a_project_that_the_key_cannot_see_is_named_with_those_it_sees(plane: PlaneWorld) -> None:
    plane.double.project.identifier = "ELSE"
    with pytest.raises(NeedsHumanError, match=r"no project ORCH .* it sees: ELSE"):
        plane.another().changed_since(None, 1)


def test_what_people_wrote_is_text_and_never_markup(plane: PlaneWorld) -> None:
    html = (
        "<h2>Goal</h2><p>A &lt;b&gt; &amp; <strong>bold</strong> word</p><script>alert(1)</script>"
        "<ul><li>one</li><li>two</li></ul><pre><code>x = 1\n  y</code></pre><p>a<br>b</p>"
    )
    key = plane.double.add_item("<img src=x onerror=alert(1)>", html)
    item = plane.tracker.work_item(key)
    assert item.title == "<img src=x onerror=alert(1)>"
    assert item.body == "## Goal\n\nA <b> & bold word\n\n- one\n- two\n\nx = 1\n  y\n\na\nb"


def test_labels_are_read_by_name(plane: PlaneWorld) -> None:
    plane.double.add_label("agents welcome")
    key = plane.double.add_item("one", labels=("agents welcome",))
    assert plane.tracker.work_item(key).labels == ("agents welcome",)


# --- authors ---------------------------------------------------------------------------------------------


def test_a_trusted_author_is_known_by_address_or_id_and_called_as_the_operator_wrote_him(plane: PlaneWorld) -> None:
    key, ann = plane.add("one"), plane.double.user("ann")
    assert plane.another(trusted_authors=("Ann@Example.com",)).work_item(key).author == "Ann@Example.com"
    assert plane.another(trusted_authors=(ann.id,)).work_item(key).author == ann.id
    assert plane.another().work_item(key).author == f"ann ({ann.id})"


def test_who_calls_himself_like_a_trusted_author_is_not_taken_for_him(plane: PlaneWorld) -> None:
    key, eve = plane.add("one"), plane.double.user("ann")
    eve.name = "boss@example.org"
    author = plane.another(trusted_authors=("boss@example.org",)).work_item(key).author
    assert author == f"boss@example.org ({eve.id})"


# --- lists -----------------------------------------------------------------------------------------------


def test_a_long_list_is_walked_once_and_given_page_by_page(plane: PlaneWorld) -> None:
    keys = [plane.double.add_item(f"item {number}") for number in range(250)]
    plane.double.worker.wait_until_idle()
    given, moment = [], None
    while page := plane.tracker.changed_since(moment, 40):
        given += [one.key for one in page if one.key not in given]
        if len(page) < 40:
            break
        moment = page[-1].updated_at
    assert given == keys
    pages = [one for one in plane.double.exchanges if one.request.path.endswith("/work-items/")]
    assert len(pages) == 3


def test_a_poll_reads_no_further_back_than_it_must(plane: PlaneWorld) -> None:
    for number in range(250):
        plane.double.add_item(f"item {number}")
    plane.double.worker.wait_until_idle()
    last = plane.double.item("ORCH-250").updated_at
    before = len(plane.double.exchanges)
    assert [one.key for one in plane.tracker.changed_since(last, 10)] == ["ORCH-250"]
    assert len([one for one in plane.double.exchanges[before:] if one.request.path.endswith("/work-items/")]) == 1


def test_an_item_deleted_during_the_walk_hides_no_other(plane: PlaneWorld) -> None:
    """Paging goes by offset: a row that moves over the edge of a page would be read by nobody."""
    keys = [plane.double.add_item(f"item {number}") for number in range(150)]
    plane.double.worker.wait_until_idle()
    held = plane.double.hold("GET", "/work-items/$", done=False, skip=1)
    found: list[str] = []
    walk = threading.Thread(target=lambda: found.extend(one.key for one in plane.tracker.changed_since(None, 1000)))
    walk.start()
    assert held.caught.wait(20)
    plane.double.delete(keys[-1])
    held.release()
    walk.join(timeout=20)
    assert found == keys[:-1]


def test_a_list_says_nothing_of_what_blocks_an_item(plane: PlaneWorld) -> None:
    plane.add("two", blocked_by=(plane.add("one"),))
    assert [one.blocked_by for one in plane.tracker.changed_since(None, 10)] == [(), ()]
    assert not [one for one in plane.double.exchanges if "relations" in one.request.path]


def test_nothing_changed_later_than_now(plane: PlaneWorld) -> None:
    key = plane.add("one")
    later = plane.tracker.work_item(key).updated_at + timedelta(microseconds=1)
    assert plane.tracker.changed_since(later, 10) == []


# --- comments --------------------------------------------------------------------------------------------


def test_many_writers_of_one_comment_leave_one(plane: PlaneWorld) -> None:
    """Plane's own check is not atomic: the writers of one process take turns, and what raced is taken away again."""
    key = plane.add("one")
    plane.double.writes.race_s = 0.3
    trackers = [plane.another() for _ in range(4)]
    at_once(8, lambda index: trackers[index % 4].add_comment(key, "m", "done"))
    assert plane.comments(key) == ["done"]


def test_a_comment_of_another_item_with_the_same_marker_is_another(plane: PlaneWorld) -> None:
    one, two = plane.add("one"), plane.add("two")
    for key in (one, two):
        plane.tracker.add_comment(key, "m", key)
    assert (plane.comments(one), plane.comments(two)) == ([one], [two])


def test_a_comment_of_somebody_else_with_our_marker_is_not_ours(plane: PlaneWorld) -> None:
    key = plane.add("one")
    forged = {"comment_html": "<p>x</p>", "external_source": "other", "external_id": f"{key}/m"}
    plane.double.writes.keep_comment(plane.double.project, plane.double.item(key), plane.double.user("ann"), forged)
    assert plane.tracker.find_comment(key, "m") is None


def test_a_marker_of_any_length_is_found_again(plane: PlaneWorld) -> None:
    key, long = plane.add("one"), "m" * 500
    written = plane.tracker.add_comment(key, long, "words")
    assert plane.tracker.find_comment(key, long) == written
    assert plane.tracker.find_comment(key, long + "m") is None
    assert all(len(one) <= 255 for one in plane.double.external_ids(key))


def test_a_comment_behind_a_hundred_others_is_found(plane: PlaneWorld) -> None:
    key = plane.add("one")
    written = plane.tracker.add_comment(key, "m", "words")
    for number in range(120):
        plane.double.comment(key, f"<p>{number}</p>")
    assert plane.tracker.find_comment(key, "m") == written


def test_a_comment_that_cannot_be_seen_is_not_taken_for_written(plane: PlaneWorld) -> None:
    key = plane.add("one")
    plane.double.fail("POST", "/comments/$", done=False, status=409)
    with pytest.raises(TransientError, match="cannot be seen"):
        plane.tracker.add_comment(key, "m", "words")
