"""The scripted agent: does one stage of one item of the story, in a real worktree, and files its verdict.

Run by its path (``python -I agent.py STAGE``) with the prompt on stdin, like any agent; standard library only. It
knows its item by the line ``Plan:`` of the quoted body, and that it came back by the evidence in its prompt.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

CUE_PATIENCE_S: Final = 280.0
_CAME_BACK: Final = "## Why the task came back"

Files = dict[str, str]

WEIGHTS: Final = {
    "products/cup.json": '{"name": "cup", "cents": 450, "weight_g": 310}\n',
    "products/plate.json": '{"name": "plate", "cents": 890, "weight_g": 540}\n',
    "shop/weights.py": '''"""What products weigh."""

from shop import catalog


def weight_g(name: str) -> int:
    """Weight of a product in grams. Raises KeyError."""
    return catalog.find(name)["weight_g"]
''',
    "tests/test_weights.py": """import unittest

from shop import catalog, weights


class Weights(unittest.TestCase):
    def test_every_product_has_a_weight(self):
        missing = [one["name"] for one in catalog.products() if not one.get("weight_g")]
        self.assertEqual(missing, [])

    def test_a_cup_weighs_what_it_weighs(self):
        self.assertEqual(weights.weight_g("cup"), 310)
""",
}
VAT: Final = {
    "shop/vat.py": '''"""Prices with VAT."""


def with_vat(cents: int, percent: int) -> int:
    """What is paid in the end, in whole cents, halves rounded up."""
    return (cents * (100 + percent) * 2 + 100) // 200
''',
    "tests/test_vat.py": """import unittest

from shop import vat


class Vat(unittest.TestCase):
    def test_vat_is_added(self):
        self.assertEqual(vat.with_vat(1000, 19), 1190)
""",
}
VAT_AFTER_REVIEW: Final = {
    "shop/vat.py": '''"""Prices with VAT."""


def with_vat(cents: int, percent: int) -> int:
    """What is paid in the end, in whole cents, halves rounded up. Raises ValueError for a price below nothing."""
    if cents < 0:
        raise ValueError("a price is not negative")
    return (cents * (100 + percent) * 2 + 100) // 200
''',
    "tests/test_vat.py": """import unittest

from shop import vat


class Vat(unittest.TestCase):
    def test_vat_is_added(self):
        self.assertEqual(vat.with_vat(1000, 19), 1190)

    def test_a_price_below_nothing_is_refused(self):
        with self.assertRaises(ValueError):
            vat.with_vat(-1, 19)
""",
}
TEAPOT: Final = {
    "products/teapot.json": '{"name": "teapot", "cents": 2490}\n',
    "tests/test_teapot.py": """import unittest

from shop import catalog


class Teapot(unittest.TestCase):
    def test_a_teapot_is_sold(self):
        self.assertEqual(catalog.find("teapot")["cents"], 2490)
""",
}
TEAPOT_WITH_WEIGHT: Final = {"products/teapot.json": '{"name": "teapot", "cents": 2490, "weight_g": 980}\n'}
PARCEL: Final = {
    "shop/parcel.py": '''"""Parcels."""

from shop import weights

BOX_G = 120


def parcel_g(names: list[str]) -> int:
    """Weight of a parcel with these products, in grams."""
    return BOX_G + sum(weights.weight_g(name) for name in names)
''',
    "tests/test_parcel.py": """import unittest

from shop import parcel


class Parcel(unittest.TestCase):
    def test_a_parcel_weighs_its_products_and_the_box(self):
        self.assertEqual(parcel.parcel_g(["cup", "cup"]), 740)
""",
}
RATES: Final = {
    "rates/staging.json": '{"flat_cents": 490}\n',
    "shop/shipping.py": '''"""What shipping costs, by environment."""

import json
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "rates"


def flat_cents(environment: str) -> int:
    """Cost of one parcel in cents. Raises OSError where no rates are set."""
    return json.loads((FOLDER / f"{environment}.json").read_text())["flat_cents"]
''',
    "shop/checks/rates.py": '''"""Without rates nothing can be shipped."""

from shop import shipping


def problems(environment: str) -> list[str]:
    try:
        shipping.flat_cents(environment)
    except OSError:
        return [f"there are no shipping rates for {environment}"]
    return []
''',
    "tests/test_shipping.py": """import unittest

from shop import shipping
from shop.checks import rates


class Shipping(unittest.TestCase):
    def test_shipping_costs_what_the_rates_say(self):
        self.assertEqual(shipping.flat_cents("staging"), 490)

    def test_an_environment_without_rates_is_not_well(self):
        self.assertTrue(rates.problems("nowhere"))
""",
}
RATES_OF_PRODUCTION: Final = {"rates/production.json": '{"flat_cents": 590}\n'}

PLANS: Final[dict[str, tuple[Files, Files]]] = {
    "weights": (WEIGHTS, WEIGHTS),
    "vat": (VAT, VAT_AFTER_REVIEW),
    "teapot": (TEAPOT, TEAPOT_WITH_WEIGHT),
    "parcel": (PARCEL, PARCEL),
    "rewrite": ({}, {}),
    "rates": (RATES, RATES_OF_PRODUCTION),
}
"""What the developer writes: the first time, and when the task came back."""

CUES: Final = {"teapot": "weights-merged", "rates": "others-ended"}
"""What the tester of a plan waits for, so that two items meet where the story needs it."""


class Answer:
    """The verdict that will be filed."""

    def __init__(self, summary: str) -> None:
        self.verdict = "pass"
        self.summary = summary
        self.findings: list[dict[str, object]] = []
        self.artifacts: list[dict[str, str]] = []


def main() -> int:
    stage, cues = sys.argv[1], Path(sys.argv[2])
    prompt = sys.stdin.read()
    item = prompt.splitlines()[0].rpartition(" ")[2]
    plan = re.findall(r"^> Plan: (\w+)$", prompt, re.MULTILINE)[-1]
    answer = Answer(f"{stage} of {item}")
    print(f"{stage} of {item}, plan {plan}", flush=True)
    match stage:
        case "analysis" | "architecture":
            write_document(answer, item, stage, plan)
        case "development":
            develop(answer, item, plan, came_back=_CAME_BACK in prompt)
        case "review":
            review(answer, plan)
        case "testing":
            test(answer, plan, cues)
        case _:
            sys.exit(f"there is no script for {stage}")
    return file_verdict(answer)


def write_document(answer: Answer, item: str, stage: str, plan: str) -> None:
    path = Path(f"docs/work-items/{item}/{stage}.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    touched = "\n".join(f"- `{name}`" for name in PLANS[plan][0]) or "- everything"
    path.write_text(f"# {stage.capitalize()} of {item}\n\nWhat is touched:\n\n{touched}\n")
    answer.artifacts.append({"path": str(path), "kind": "document", "description": stage})


def develop(answer: Answer, item: str, plan: str, *, came_back: bool) -> None:
    if plan == "rewrite":
        work_for_ever()
    files = PLANS[plan][came_back]
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run_tests()
    answer.artifacts += [{"path": name, "kind": "code", "description": "changed"} for name in files]
    answer.summary = f"{'mended' if came_back else 'built'} {item}: {len(files)} files, tests green"


def work_for_ever() -> None:
    """Until somebody stops it: with a child of its own, which must go too."""
    subprocess.Popen([sys.executable, "-I", "-c", "import time\nwhile True: time.sleep(1)"])
    while True:
        print("rewriting", flush=True)
        time.sleep(1)


def review(answer: Answer, plan: str) -> None:
    """Reads the code: a price below nothing must be refused."""
    path = Path("shop/vat.py")
    if plan == "vat" and "ValueError" not in path.read_text():
        answer.verdict, answer.summary = "needs-changes", "a negative price is taken as it is"
        answer.findings.append(
            {
                "severity": "major",
                "title": "A negative price must be refused",
                "detail": "with_vat(-1, 19) answers instead of raising ValueError; there is no test of it",
                "file": str(path),
                "line": 4,
            }
        )


def test(answer: Answer, plan: str, cues: Path) -> None:
    run_tests()
    cue = CUES.get(plan)
    if cue is not None:
        wait_for(cues / cue)
    answer.summary = "tests green"


def run_tests() -> None:
    subprocess.run([sys.executable, "-B", "-m", "unittest", "discover", "-q", "-t", ".", "tests"], check=True)


def wait_for(cue: Path) -> None:
    deadline = time.monotonic() + CUE_PATIENCE_S
    while not cue.exists():
        if time.monotonic() > deadline:
            sys.exit(f"{cue.name} did not come")
        time.sleep(0.1)


def file_verdict(answer: Answer) -> int:
    run = json.loads(Path(".orchestrator/run.json").read_text())
    document = {
        "schema": "verdict/1",
        "run_id": run["run_id"],
        "verdict": answer.verdict,
        "summary": answer.summary,
        "findings": answer.findings,
        "artifacts": answer.artifacts,
        "blocked_on": None,
    }
    filed = subprocess.run(["orch", "verdict", "put"], input=json.dumps(document), text=True, check=False)
    return filed.returncode


if __name__ == "__main__":
    sys.exit(main())
