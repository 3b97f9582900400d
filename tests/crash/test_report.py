"""The page of the matrix says what ran and what held, and nothing that changes by itself."""

from __future__ import annotations

from pathlib import Path

from tests.crash import report
from tests.crash.cells import cells


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    results = {cell.name: report.HOLDS for cell in cells()}
    for name in ("one.md", "two.md"):
        report.update(tmp_path / name, results)
    report.update(tmp_path / "two.md", {})
    assert (tmp_path / "one.md").read_text() == (tmp_path / "two.md").read_text()


def test_a_broken_cell_is_named_and_one_that_did_not_run_is_no_pass(tmp_path: Path) -> None:
    first, second, *_ = [cell.name for cell in cells()]
    page = tmp_path / "page.md"
    report.update(page, {first: report.HOLDS})
    report.update(page, {second: report.BROKEN})
    text, count = page.read_text(), len(list(cells()))
    assert f"| all | {count} | 1 | 1 | {count - 2} |" in text
    assert f"- `{second}`" in text
    assert first not in text


def test_results_of_other_cells_are_not_taken_for_those_of_today(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    report.update(page, {cell.name: report.HOLDS for cell in cells()})
    page.write_text(page.read_text().replace("<!-- ", "<!-- 0")[:-20])
    report.update(page, {})
    assert f"| all | {len(list(cells()))} | 0 | 0 |" in page.read_text()
