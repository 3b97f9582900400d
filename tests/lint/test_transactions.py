"""ORC003."""

from __future__ import annotations

from textwrap import indent

import pytest

from tests.lint.judging import codes

WAITS = [
    "subprocess.run(['git'])",
    "Popen(['git'])",
    "httpx.get(url)",
    "time.sleep(1)",
    "pause(1)",
    "clock.sleep(1)",
    "self.forge.pull_request(1)",
    "workspaces.fetch()",
    "runner.run(['make'], cwd=path, timeout_s=1)",
    "drive.apply_async(kwargs={})",
    "self.celery.send_task('orchestrator.drive')",
    "nudges.nudge(1)",
    "os.system('true')",
]
IMPORTS = "import os, subprocess, time, httpx\nfrom subprocess import Popen\nfrom time import sleep as pause\n"
OPENERS = [
    "with engine.begin() as connection:\n",
    "with store.transaction() as tx:\n",
    "with connection.begin_nested():\n",
    "with engine.connect() as connection, other:\n",
    "with self.read_transaction():\n",
    "def claim(connection: Connection) -> None:\n",
    "def claim(*, session: sa.orm.Session | None) -> None:\n",
]


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("wait", WAITS)
def test_waiting_inside_a_transaction_is_found(opener: str, wait: str) -> None:
    body = indent(f"if True:\n    x = {wait}\n", "    ")
    assert codes("orchestrator/engine/drive.py", IMPORTS + opener + body) == ["ORC003"]


@pytest.mark.parametrize("wait", WAITS)
def test_waiting_after_the_transaction_passes(wait: str) -> None:
    code = f"{IMPORTS}with engine.begin() as c:\n    c.execute(1)\n{wait}\n"
    assert codes("orchestrator/engine/drive.py", code) == []


@pytest.mark.parametrize(
    "code",
    [
        "with engine.begin() as c:\n    c.execute(select(1))\n    subprocess_count = len(subprocesses)\n",
        "with engine.begin() as c:\n    def later() -> None:\n        subprocess.run(['git'])\n",
        "with open('x') as f:\n    subprocess.run(['git'], stdout=f)\n",
        "from orchestrator.store import tasks\nwith engine.begin() as c:\n    tasks.delay(c, 1, 10.0)\n",
        "def look(forge: Forge) -> None:\n    forge.pull_request(1)\n",
        "with engine.begin() as c:\n    host.myself()\n",
        "from orchestrator.store import local_forge\nwith engine.begin() as c:\n    local_forge.statuses(c, sha)\n",
    ],
)
def test_what_does_not_wait_in_a_transaction_passes(code: str) -> None:
    assert codes("orchestrator/engine/drive.py", "import subprocess\n" + code) == []


def test_nested_transactions_report_a_wait_once() -> None:
    code = "import time\nwith engine.begin() as c:\n    with c.begin_nested():\n        time.sleep(1)\n"
    assert codes("orchestrator/engine/drive.py", code) == ["ORC003"]
