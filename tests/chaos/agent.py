"""The scripted agent of the chaos run: ``python -I agent.py STAGE CUES`` with the prompt on stdin, like any agent.

Standard library only. It knows its item by the first line of the prompt, its plan by the line ``Plan:`` of the quoted
body, and that it came back by the evidence. It takes a second or two, so that there is something to hit.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

_CAME_BACK: Final = "## Why the task came back"

CODE: Final = '''"""{item}."""


def doubled(cents: int) -> int:
    """Twice the price."""
{guard}    return 2 * cents
'''
GUARD: Final = """    if cents < 0:
        raise ValueError("a price is not negative")
"""
TEST: Final = """import unittest

from shop import {slug}


class {name}(unittest.TestCase):
    def test_it_doubles(self):
        self.assertEqual({slug}.doubled(21), 42)
{more}"""
TEST_OF_GUARD: Final = """
    def test_a_price_below_nothing_is_refused(self):
        with self.assertRaises(ValueError):
            {slug}.doubled(-1)
"""
CHECK: Final = '''"""Well once somebody has opened the line {slug}."""

from pathlib import Path


def problems(environment: str) -> list[str]:
    closed = environment == "production" and not Path({cue!r}).exists()
    return ["the line {slug} is closed"] * closed
'''
TEST_OF_CHECK: Final = """import unittest

from shop.checks import {slug}


class Check{name}(unittest.TestCase):
    def test_staging_needs_no_opening(self):
        self.assertEqual({slug}.problems("staging"), [])
"""


class Work:
    """One run: the item, its plan, and the verdict that will be filed."""

    def __init__(self, stage: str, cues: Path, prompt: str) -> None:
        self.stage, self.cues = stage, cues
        self.item = prompt.splitlines()[0].rpartition(" ")[2]
        self.plan = re.findall(r"^> Plan: (\w+)$", prompt, re.MULTILINE)[-1]
        self.came_back = _CAME_BACK in prompt
        self.slug = self.item.lower().replace("-", "_")
        self.verdict, self.summary = "pass", f"{stage} of {self.item}"
        self.findings: list[dict[str, object]] = []
        self.artifacts: list[dict[str, str]] = []
        self.blocked_on: str | None = None


def main() -> int:
    work = Work(sys.argv[1], Path(sys.argv[2]), sys.stdin.read())
    print(f"{work.summary}, plan {work.plan}", flush=True)
    take_time(work)
    match work.stage:
        case "analysis" | "architecture":
            write_document(work)
        case "development":
            develop(work)
        case "review":
            review(work)
        case "testing":
            run_tests()
        case _:
            sys.exit(f"there is no script for {work.stage}")
    return file_verdict(work)


def take_time(work: Work) -> None:
    """Between a half and two and a half seconds, the same for the same work."""
    digest = hashlib.sha256(f"{work.item} {work.stage}".encode()).digest()
    time.sleep(0.5 + digest[0] / 128)


def write_document(work: Work) -> None:
    if work.plan == "blocked":
        work.verdict, work.blocked_on = "blocked", "a person who knows the price"
        work.summary = "nobody knows the price"
        return
    path = Path(f"docs/work-items/{work.item}/{work.stage}.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {work.stage.capitalize()} of {work.item}\n\nWhat is touched:\n\n- `shop/{work.slug}.py`\n")
    work.artifacts.append({"path": str(path), "kind": "document", "description": work.stage})


def develop(work: Work) -> None:
    if work.plan == "endless":
        work_for_ever()
    guarded = work.came_back or work.plan != "reviewed"
    name = work.slug.title().replace("_", "")
    files = {
        f"shop/{work.slug}.py": CODE.format(item=work.item, guard=GUARD if guarded else ""),
        f"tests/test_{work.slug}.py": TEST.format(
            slug=work.slug, name=name, more=TEST_OF_GUARD.format(slug=work.slug) if guarded else ""
        ),
    }
    if work.plan == "unhealthy":
        files |= closed_line(work, name)
    if work.came_back:
        files[f"products/{work.slug}.json"] = json.dumps({"name": work.slug, "cents": time.time_ns() % 1000}) + "\n"
    write(work, files)
    if work.plan == "broken" and not work.came_back:
        Path(f"tests/test_{work.slug}.py").write_text("import unittest\n\n1 / 0\n")
        return
    run_tests()


def closed_line(work: Work, name: str) -> dict[str, str]:
    """Unwell in production until the developer has come back once."""
    cue = work.cues / work.slug
    if work.came_back:
        cue.touch()
    return {
        f"shop/checks/{work.slug}.py": CHECK.format(slug=work.slug, cue=str(cue)),
        f"tests/test_check_{work.slug}.py": TEST_OF_CHECK.format(slug=work.slug, name=name),
    }


def write(work: Work, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    work.artifacts += [{"path": name, "kind": "code", "description": "changed"} for name in files]


def work_for_ever() -> None:
    """Until somebody stops it: with a child of its own, which must go too."""
    subprocess.Popen([sys.executable, "-I", "-c", "import time\nwhile True: time.sleep(1)"])
    while True:
        print("rewriting", flush=True)
        time.sleep(1)


def review(work: Work) -> None:
    path = Path(f"shop/{work.slug}.py")
    if "ValueError" in path.read_text():
        return
    work.verdict, work.summary = "needs-changes", "a negative price is taken as it is"
    work.findings.append(
        {
            "severity": "major",
            "title": "A negative price must be refused",
            "detail": "doubled(-1) answers instead of raising ValueError; there is no test of it",
            "file": str(path),
            "line": 4,
        }
    )


def run_tests() -> None:
    subprocess.run([sys.executable, "-B", "-m", "unittest", "discover", "-q", "-t", ".", "tests"], check=True)


def file_verdict(work: Work) -> int:
    run = json.loads(Path(".orchestrator/run.json").read_text())
    document = {
        "schema": "verdict/1",
        "run_id": run["run_id"],
        "verdict": work.verdict,
        "summary": work.summary,
        "findings": work.findings,
        "artifacts": work.artifacts,
        "blocked_on": work.blocked_on,
    }
    return subprocess.run(["orch", "verdict", "put"], input=json.dumps(document), text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
