"""The processes of one machine: described as values, run by one supervisor."""

from orchestrator.fleet.errors import AlreadyRunningError, FleetError
from orchestrator.fleet.handle import Fleet
from orchestrator.fleet.run import run_fleet
from orchestrator.fleet.service import Rank, Service, State
from orchestrator.fleet.services import build_services
from orchestrator.fleet.supervisor import Supervisor

__all__ = [
    "AlreadyRunningError",
    "Fleet",
    "FleetError",
    "Rank",
    "Service",
    "State",
    "Supervisor",
    "build_services",
    "run_fleet",
]
