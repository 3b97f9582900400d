"""One run of a real agent CLI through the runner and the real shim; what became of it, as JSON on stdout.

Started where there is no network: ``python -m tests.adapters.agents.real_run '{"cli": "codex", ...}'``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from orchestrator.adapters.agent_runs import LocalAgentRuns
from orchestrator.adapters.agents import built_in_clis
from orchestrator.adapters.agents.sandbox import Sandboxes
from orchestrator.adapters.host import LinuxHost
from orchestrator.adapters.shim_agent import adopt_orphans
from orchestrator.domain.configuration import AgentSpec, Sandbox
from orchestrator.domain.run_reports import outcome_of
from orchestrator.domain.stages import Stage
from orchestrator.ports import AgentRequest

PROVIDER: Final = "http://provider.invalid/v1"
"""In ``arguments`` and ``environment``: the address of a provider on loopback that lets nobody in."""
_REFUSAL: Final = json.dumps({"error": {"message": "Missing bearer or basic authentication in header"}}).encode()


class Refuses(BaseHTTPRequestHandler):
    """What a provider says to somebody without a login."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(_REFUSAL)))
        self.end_headers()
        self.wfile.write(_REFUSAL)

    do_GET = do_POST  # noqa: N815  # the server's word

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is inherited
        """Said by the CLI already."""


def main(case: dict[str, Any]) -> None:
    adopt_orphans()
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as provider:
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        here = json.loads(json.dumps(case).replace(PROVIDER, f"http://127.0.0.1:{provider.server_address[1]}/v1"))
        print(json.dumps(_run(here)))
        provider.shutdown()


def _run(case: dict[str, Any]) -> dict[str, object]:
    base = Path(case["base"])
    worktree, run_id = base / "worktree", uuid.uuid4().hex
    subprocess.run(["git", "init", "-q", str(worktree)], check=True)
    path = f"{case['programs']}:{case['path']}"
    runs = LocalAgentRuns(
        base / "runs",
        host=LinuxHost("here"),
        clis=built_in_clis(),
        search_path=path,
        sandboxes=Sandboxes((base,)),
        start_timeout_s=60,
    )
    spec = AgentSpec(
        runtime=case["cli"],
        model=case.get("model"),
        arguments=tuple(case.get("arguments", ())),
        environment=case.get("environment", {}),
        sandbox=Sandbox(case["sandbox"]),
        silence_s=case["silence_s"],
        wall_clock_s=case["wall_clock_s"],
    )
    request = AgentRequest(run_id, base / "runs" / run_id, worktree, "Say hi.\n", spec, Stage.DEVELOPMENT)
    begun = time.monotonic()
    runs.start(request)
    while (ended := runs.exit_record(request.run_dir)) is None:
        time.sleep(0.1)
    report = runs.report(request.run_dir, spec.runtime)
    return {
        "outcome": outcome_of(ended, report, has_verdict=False),
        "detail": report.detail,
        "reason": ended.reason,
        "exit": ended.exit_code if ended.signal is None else -ended.signal,
        "seconds": round(time.monotonic() - begun, 1),
        "argv": json.loads((request.run_dir / "request.json").read_text())["argv"],
        "stdout": (request.run_dir / "stdout.log").read_text(),
        "stderr": (request.run_dir / "stderr.log").read_text(),
        "paths": [str(request.run_dir), str(base)],
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
