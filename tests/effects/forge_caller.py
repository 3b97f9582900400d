"""A process that makes one call of a forge adapter and is to be killed in the middle: its words come as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from orchestrator.adapters.forges.addresses import Address
from orchestrator.adapters.forges.gitea import GiteaForge
from orchestrator.adapters.forges.github import GithubForge
from orchestrator.ports import StatusState
from orchestrator.secret import Secret


def main() -> None:
    words = json.loads(sys.argv[1])
    kind = GiteaForge if words["forge"] == "gitea" else GithubForge
    forge = kind(
        Address(words["url"], "demo", "shop"),
        Secret(words["token"]),
        base_branch="main",
        scratch=Path(words["scratch"]),
        environment=lambda: {"PATH": os.environ["PATH"]},
        pauses_s=(0.01,),
    )
    arguments, named = words["arguments"], words["named"]
    if words["method"] == "set_status":
        arguments[2] = StatusState(arguments[2])
    getattr(forge, words["method"])(*arguments, **named)


if __name__ == "__main__":
    main()
