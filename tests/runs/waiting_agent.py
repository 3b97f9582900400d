"""An agent that waits until it is told: ``python -I waiting_agent.py STAGE CUES``, prompt on stdin.

Standard library only. It leaves a line in CUES/starts when it starts, and works on once CUES/go or CUES/<item>.go is
there. In development it appends to the file that the quoted line ``Change: FILE`` names.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

stage, cues = sys.argv[1], Path(sys.argv[2])
prompt = sys.stdin.read()
item = prompt.splitlines()[0].rpartition(" ")[2]
line = json.dumps({"item": item, "stage": stage, "run_id": os.environ["ORCH_RUN_ID"], "pid": os.getpid()}) + "\n"
starts = os.open(cues / "starts", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(starts, line.encode())
os.close(starts)
print(f"{stage} of {item} waits", flush=True)
while not ((cues / "go").exists() or (cues / f"{item}.go").exists()):
    time.sleep(0.2)
artifacts = []
if stage in ("analysis", "architecture"):
    path = Path(f"docs/work-items/{item}/{stage}.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {stage.capitalize()} of {item}\n\nWhat is touched:\n\n- `orchestrator/__init__.py`\n")
    artifacts.append({"path": str(path), "kind": "document", "description": stage})
elif stage == "development":
    changed = Path(re.findall(r"^> Change: (\S+)$", prompt, re.MULTILINE)[-1])
    changed.write_text(changed.read_text() + f"# {item}\n")
    artifacts.append({"path": str(changed), "kind": "code", "description": "changed"})
verdict = {
    "schema": "verdict/1",
    "run_id": json.loads(Path(".orchestrator/run.json").read_text())["run_id"],
    "verdict": "pass",
    "summary": f"{stage} of {item}",
    "findings": [],
    "artifacts": artifacts,
    "blocked_on": None,
}
sys.exit(subprocess.run(["orch", "verdict", "put"], input=json.dumps(verdict), text=True).returncode)
