"""``ports.Deployer`` that launches nothing and remembers it."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.deploy_repair import CommandState
from orchestrator.ports import DeployRequest, Observation
from tests.fakes.wire import Wire


@dataclass
class FakeDeployer:
    wire: Wire
    launched: list[DeployRequest] = field(default_factory=list)

    def launch(self, request: DeployRequest) -> None:
        self.wire.send("launch", lambda: self.launched.append(request))

    def observe(self, spec: DeploySpec) -> Observation:
        return Observation(None, False, "nothing was deployed")

    def command_state(self, deployment_id: int) -> CommandState:
        return CommandState.UNKNOWN

    def end_command(self, deployment_id: int) -> bool:
        return True
