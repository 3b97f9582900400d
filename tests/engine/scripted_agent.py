"""An agent for tests: does its stage by what the prompt's work item says, and files its verdict."""

import json
import sys
from pathlib import Path

from orchestrator.cli.verdict import put

stage = sys.argv[1]
prompt = sys.stdin.read()
run = json.loads(Path(".orchestrator/run.json").read_text())
item = next(word.strip(".,:*`#") for word in prompt.split() if word.strip(".,:*`#").startswith("DEMO-"))
artifacts = []
if stage in ("analysis", "architecture"):
    path = Path(f"docs/work-items/{item}/{stage}.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {stage} of {item}\n\nDone.\n")
    artifacts = [{"path": str(path), "kind": "document", "description": stage}]
if stage == "development":
    name = item.lower().replace("-", "_")
    Path(f"{name}.py").write_text("VALUE = 1\n")
    Path(f"tests/test_{name}.py").write_text(
        f"import unittest\n\nimport {name}\n\n\nclass T(unittest.TestCase):\n    def test_value(self):\n"
        f"        self.assertEqual({name}.VALUE, 1)\n"
    )
verdict, findings = "pass", []
if stage == "review" and "REVIEW-FAILS-ONCE" in prompt and not Path(f"docs/work-items/{item}/reviewed").exists():
    verdict = "needs-changes"
    findings = [{"severity": "major", "title": "Mend it", "detail": "once", "file": None, "line": None}]
    Path(f"docs/work-items/{item}/reviewed").write_text("once\n")
if stage == "development" and "HANG" in prompt:
    import time

    time.sleep(600)
document = {
    "schema": "verdict/1",
    "run_id": run["run_id"],
    "verdict": verdict,
    "summary": f"{stage} of {item}",
    "findings": findings,
    "artifacts": artifacts,
    "blocked_on": None,
}
code, lines = put(json.dumps(document).encode(), Path.cwd())
print(*lines, sep="\n")
sys.exit(code)
