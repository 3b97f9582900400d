"""An agent for tests: does its stage by what the prompt's work item says, and files its verdict."""

import json
import signal
import subprocess
import sys
import time
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


def answer_the_request_to_end(signum: int, frame: object) -> None:
    """A late finisher: it is asked to end, and files its verdict."""
    put(json.dumps(document).encode(), Path.cwd())
    sys.exit(0)


again = "Why the task came back" in prompt
if "LEAVES" in prompt and not again:
    # In a session of its own, as these CLIs start their commands: no signal to the agent's group reaches it.
    Path("left").write_text(str(subprocess.Popen(["sleep", "600"], start_new_session=True).pid))
if "LATE" in prompt and not again:
    signal.signal(signal.SIGTERM, answer_the_request_to_end)
    Path("waits").touch()
    time.sleep(600)
if "WAIT-FOR" in prompt:
    words = prompt.split()
    while not Path(words[words.index("WAIT-FOR") + 1]).exists():
        time.sleep(0.05)
code, lines = put(json.dumps(document).encode(), Path.cwd())
print(*lines, sep="\n")
if "STAYS" in prompt and not again:
    Path("stayed").touch()
    time.sleep(600)
sys.exit(code)
