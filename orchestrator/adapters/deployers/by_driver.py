"""One ``ports.Deployer`` for all environments of a project: each names its driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.adapters.deployers.command import DEPLOYER, CommandDeployer
from orchestrator.adapters.deployers.compose import ComposeDeployer
from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.deploy_repair import CommandState
from orchestrator.domain.errors import ConfigurationError
from orchestrator.ports import Deployer, DeployRequest, Host, Observation


class DeployerByDriver:
    """Hands each call to the driver that the environment names. All drivers of a node keep their files in one place, so
    that any of them knows of a command."""

    def __init__(self, drivers: Mapping[str, Deployer]) -> None:
        self._drivers = dict(drivers)

    def launch(self, request: DeployRequest) -> None:
        """Raises ConfigurationError for a driver that does not exist, else as the driver does."""
        self._driver(request.spec).launch(request)

    def observe(self, spec: DeploySpec) -> Observation:
        return self._driver(spec).observe(spec)

    def command_state(self, deployment_id: int) -> CommandState:
        return self._any().command_state(deployment_id)

    def end_command(self, deployment_id: int) -> bool:
        return self._any().end_command(deployment_id)

    def _any(self) -> Deployer:
        return next(iter(self._drivers.values()))

    def _driver(self, spec: DeploySpec) -> Deployer:
        driver = self._drivers.get(spec.driver)
        if driver is None:
            known = ", ".join(sorted(self._drivers))
            raise ConfigurationError(f".orchestrator.yml: deploys: driver is {spec.driver!r}, allowed are {known}")
        return driver


def deployers_here(
    data_dir: Path, host: Host, environment: Mapping[str, str], program: Sequence[str] = DEPLOYER
) -> DeployerByDriver:
    """The drivers of this node. ``environment`` is the detached deployer's own: the basic one and the settings."""
    return DeployerByDriver(
        {
            "command": CommandDeployer(data_dir, host, environment, program),
            "compose": ComposeDeployer(data_dir, host, environment, program),
        }
    )
