"""Verdicts: what is taken, and how everything else is named by its path."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.verdicts import MAX_BYTES, InvalidVerdict, Severity, Verdict, VerdictKind, parse
from tests.verdict_documents import RUN, document


def finding(**changes: object) -> dict[str, object]:
    return {"severity": "minor", "title": "t", "detail": "d", "file": None, "line": None, **changes}


def artifact(**changes: object) -> dict[str, object]:
    return {"path": "docs/a.md", "kind": "document", "description": "d", **changes}


def errors_of(what: object) -> list[str]:
    raw = what if isinstance(what, bytes) else json.dumps(what).encode()
    found = parse(raw, RUN)
    assert isinstance(found, InvalidVerdict)
    return list(found.errors)


def test_a_whole_verdict_is_read() -> None:
    found = parse(
        json.dumps(
            document(
                verdict="needs-changes",
                findings=[finding(severity="major", file="a.py", line=3)],
                artifacts=[artifact()],
            )
        ).encode(),
        RUN,
    )
    assert isinstance(found, Verdict)
    assert (found.kind, found.findings[0].severity, found.findings[0].line) == (
        VerdictKind.NEEDS_CHANGES,
        Severity.MAJOR,
        3,
    )
    assert found.artifacts[0].path == "docs/a.md"


@pytest.mark.parametrize("kind", list(VerdictKind))
def test_each_kind_is_taken(kind: VerdictKind) -> None:
    found = parse(json.dumps(document(verdict=kind, findings=[finding()], blocked_on="a login")).encode(), RUN)
    assert isinstance(found, Verdict)
    assert found.kind is kind


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (document(schema="verdict/2"), "$.schema"),
        (document(run_id="run-2"), "$.run_id"),
        (document(verdict="PASS"), "$.verdict"),
        (document(verdict=None), "$.verdict"),
        (document(verdict=["pass"]), "$.verdict"),
        (document(summary=1), "$.summary"),
        (document(findings={}), "$.findings"),
        (document(findings=["x"]), "$.findings[0]"),
        (document(findings=[finding(), finding(severity="bad")]), "$.findings[1].severity"),
        (document(findings=[finding(title=None)]), "$.findings[0].title"),
        (document(findings=[finding(detail=3)]), "$.findings[0].detail"),
        (document(findings=[finding(file=3)]), "$.findings[0].file"),
        (document(findings=[finding(line="3")]), "$.findings[0].line"),
        (document(findings=[finding(line=True)]), "$.findings[0].line"),
        (document(findings=[finding(line=3.5)]), "$.findings[0].line"),
        (document(findings=[finding(more=1)]), "$.findings[0].more"),
        (document(artifacts=[artifact(kind="poem")]), "$.artifacts[0].kind"),
        (document(artifacts=[artifact(path="/etc/passwd")]), "$.artifacts[0].path"),
        (document(artifacts=[artifact(path="../x")]), "$.artifacts[0].path"),
        (document(artifacts=[artifact(path="a/../../x")]), "$.artifacts[0].path"),
        (document(artifacts=[artifact(path="")]), "$.artifacts[0].path"),
        (document(artifacts=[artifact(path=None)]), "$.artifacts[0].path"),
        (document(artifacts=[artifact(path="a\0b")]), "$.artifacts[0].path"),
        (document(artifacts=[artifact(description=[])]), "$.artifacts[0].description"),
        (document(blocked_on=3), "$.blocked_on"),
        (document(more=1), "$.more"),
        (document(summary="a\0b"), "$.summary"),
        (document(summary="\ud800"), "$.summary"),
        ([], "$"),
        ("pass", "$"),
        (None, "$"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(wrong: object, path: str) -> None:
    assert [error.split(":")[0] for error in errors_of(wrong)] == [path]


@pytest.mark.parametrize("key", list(document()))
def test_every_key_must_be_there(key: str) -> None:
    whole = document()
    del whole[key]
    assert errors_of(whole) == [f"$.{key}: is missing"]


def test_all_errors_are_named_at_once() -> None:
    wrong = document(schema="x", verdict="y", findings=[finding(severity="z"), {}], extra=1)
    del wrong["summary"]
    assert [error.split(":")[0] for error in errors_of(wrong)] == [
        "$.summary",
        "$.extra",
        "$.schema",
        "$.verdict",
        "$.findings[0].severity",
        *(f"$.findings[1].{key}" for key in ("severity", "title", "detail", "file", "line")),
    ]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"verdict": "needs-changes"}, "$.findings"),
        ({"verdict": "pass", "findings": [finding(severity="blocker")]}, "$.findings"),
        ({"verdict": "blocked"}, "$.blocked_on"),
        ({"verdict": "blocked", "blocked_on": "  "}, "$.blocked_on"),
    ],
)
def test_a_verdict_that_contradicts_itself_is_refused(changes: dict[str, object], path: str) -> None:
    assert [error.split(":")[0] for error in errors_of(document(**changes))] == [path]


def test_the_verdict_of_another_run_tells_which_run_was_asked() -> None:
    assert errors_of(document(run_id="run-0")) == ["$.run_id: is 'run-0', must be 'run-1'"]


@pytest.mark.parametrize("raw", [b"", b"PASS", b"{", b"\xff", b"\xef\xbb\xbf{}", b"[" * 100_000, b"1" * 9999, b"{} {}"])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    assert len(errors_of(raw)) == 1
    assert errors_of(raw)[0].startswith("$: ")


def test_a_key_that_stands_twice_is_not_guessed_away() -> None:
    raw = json.dumps(document()).replace('"verdict": "pass"', '"verdict": "fail", "verdict": "pass"').encode()
    assert errors_of(raw) == ["$: the key 'verdict' stands twice in one object"]


def test_a_verdict_that_is_too_large_is_refused_unread() -> None:
    assert errors_of(b" " * (MAX_BYTES + 1)) == [f"$: is too large, at most {MAX_BYTES} bytes are allowed"]
    fits = json.dumps(document()).encode()
    assert isinstance(parse(fits + b" " * (MAX_BYTES - len(fits)), RUN), Verdict)


def test_error_lines_stay_short_and_on_one_line_whatever_was_written() -> None:
    wrong = document(verdict="x" * 100_000, **{"k\n" * 10_000: 1}, findings=[3] * 1000)
    errors = errors_of(wrong)
    assert len(errors) == 51
    assert errors[-1].startswith("$: and ")
    assert all(len(error) < 300 and error.isprintable() for error in errors)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(sorted(document())), json_values))
def test_no_value_anywhere_makes_it_raise(changes: dict[str, object]) -> None:
    raw = json.dumps({**document(), **changes}).encode()
    found = parse(raw, RUN)
    assert isinstance(found, Verdict | InvalidVerdict)
