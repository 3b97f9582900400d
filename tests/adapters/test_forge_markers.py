"""Comments under a marker: the oldest one counts, and only what we ourselves wrote twice is ever taken away."""

from __future__ import annotations

from orchestrator.adapters.forges.markers import Comment, find_marked, repeated, with_marker

MARKER = "orchestrator:1/2/x"


def said(key: int, marker: str = MARKER, author: str = "orchestrator", before: str = "Sent back.") -> Comment:
    return Comment(key, with_marker(before, marker), author)


def test_the_oldest_with_the_marker_is_the_comment_in_whatever_order_they_are_listed() -> None:
    assert find_marked([said(3), said(2), Comment(1, "hello", "ann")], MARKER) == "2"
    assert find_marked([said(3, "orchestrator:1/2/xy")], MARKER) is None


def test_what_we_wrote_twice_is_repeated_and_nothing_else_is() -> None:
    listed = [
        said(1),
        said(2, author="ann"),
        Comment(3, f"{with_marker('He said', MARKER)} and I agree", "orchestrator"),
        said(4, "orchestrator:1/2/y"),
        said(5, author="Orchestrator"),
        said(6),
        said(7, author="ann"),
        Comment(8, "no marker", "orchestrator"),
        Comment(9, "no marker", "orchestrator"),
    ]
    assert repeated(listed, lambda: "orchestrator") == [6]


def test_where_nobody_knows_who_we_are_nothing_is_taken_away() -> None:
    assert repeated([said(1, author=""), said(2, author="")], lambda: "") == []
    assert repeated([said(1), said(2)], lambda: "") == []


def test_who_we_are_is_only_asked_where_something_is_there_twice() -> None:
    def nobody_may_ask() -> str:
        raise AssertionError("asked")

    assert repeated([said(1), said(2, "other")], nobody_may_ask) == []
