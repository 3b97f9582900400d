"""The ``compose`` driver: the detached deployer brings up a compose file, whose image tag is ``${ORCH_IMAGE}``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from orchestrator.adapters.deployers.command import CommandDeployer
from orchestrator.domain.configuration import DeploySpec
from orchestrator.ports import DeployRequest

DEFAULT_FILE: Final = "compose.yaml"


class ComposeDeployer(CommandDeployer):
    """``ports.Deployer`` by ``docker compose``. ``command`` of the environment names the files, in order of precedence;
    none: ``compose.yaml`` of the repository."""

    def _spec(self, request: DeployRequest) -> DeploySpec:
        spec = request.spec
        files = [word for file in spec.command or (DEFAULT_FILE,) for word in ("-f", file)]
        # Else it would be named after the throw-away checkout, and each deploy would start a second set of services.
        name = re.sub(r"[^a-z0-9_-]", "-", f"{request.project}-{request.environment}".lower())
        # --wait: ends when the services are up and healthy, so that the look afterwards means something.
        up = ("up", "--detach", "--wait", "--wait-timeout", str(spec.timeout_s), "--remove-orphans")
        return replace(spec, command=("docker", "compose", "--project-name", name, *files, *up))
