"""The detached deployer: one process a deployment, ``python -m orchestrator.deploy_main ID``.

It wins its row or leaves, brings the version up, looks whether it answers, and writes the end. It belongs to init and
needs the database only at both ends, so it outlives every restart of the orchestrator, also one that it does itself.
Dead before it wrote the end, it is judged by the finalizer from what answers.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from sqlalchemy import Connection

from orchestrator.adapters import procfs
from orchestrator.adapters.deployers.command import CommandDeployer
from orchestrator.adapters.deployers.deploy_commands import DeployCommands
from orchestrator.adapters.deployers.deploy_files import DeployFiles
from orchestrator.adapters.host import this_host
from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.deploy_repair import CommandState
from orchestrator.domain.errors import ConfigurationError, OrchestratorError, TransientError
from orchestrator.domain.ownership import Committed, LostRace, Owner
from orchestrator.domain.stages import Actor
from orchestrator.domain.views import DeploymentStatus
from orchestrator.failpoints import hit
from orchestrator.ports import CommandResult, Deployer, Host, Nudges, Observation, Workspaces
from orchestrator.settings import Settings, load_settings
from orchestrator.store import deployments
from orchestrator.store.database import Store, connect
from orchestrator.store.deployments import Deployment

T = TypeVar("T")
Statements: TypeAlias = Callable[[Connection], T]
log: Final = logging.getLogger("orchestrator.deploy")

DEPLOYER: Final = "deployer"
"""What history rows name as the actor."""
DATABASE_PATIENCE_S: Final = 600.0
"""A database that restarts, or fails over, is back by then; else the finalizer judges by what answers."""
_FORGE_PATIENCE_S: Final = (1.0, 2.0, 4.0, 8.0)
_LOOK_S: Final = 0.25
_OUTPUT_SHOWN: Final = 1500


@dataclass(frozen=True, slots=True)
class DeployParts:
    """What the deployer works with. ``environment`` is all that the configured command gets besides the four
    ``ORCH_*`` names of its deployment: no database, no broker, no token."""

    store: Store
    host: Host
    deployer: Deployer
    files: DeployFiles
    workspaces: Callable[[str], Workspaces]
    nudges: Nudges
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ending:
    """How the deployment ended, as the deployer saw it."""

    landed: bool
    observed_sha: str | None
    detail: str


def deploy(parts: DeployParts, deployment_id: int) -> int:
    """Do deployment ``deployment_id`` if this process wins it; exit code 0 also when it does not."""
    row = _in_transaction(parts, lambda connection: deployments.get(connection, deployment_id))
    spec = parts.files.read_spec(deployment_id)
    if row is None or spec is None:
        log.error("deployment %s: no such row, or nobody launched it on this node", deployment_id)
        return 1
    # Before the row is won: with a bad edit of the configuration the deployment waits, it does not fail.
    workspaces = parts.workspaces(row.project)
    with parts.files.environment_lock(row.project, row.environment) as free:
        won = _win(parts, row) if free else LostRace(deployments.OCCUPIED)
        if isinstance(won, LostRace):
            return _leave(parts, row, won)
        hit("deploy.won")
        ending = _bring_up(parts, workspaces, row, spec)
        hit("deploy.done")
        _write_end(parts, row, ending)
    # After the lock: whoever waits for this environment may come now.
    parts.nudges.drive(row.task_id, row.work_item, Actor.FINALIZER)
    parts.nudges.finalize_deploys()
    return 0


def _win(parts: DeployParts, row: Deployment) -> Owner | LostRace:
    """Our identity as it stands in the row. An answer that got lost is no lost race: the row says who won."""
    me = parts.host.myself()
    won = _in_transaction(parts, lambda connection: deployments.win_running(connection, row.id, me))
    if isinstance(won, Committed) or _is_ours(parts, row, me):
        return me
    return won


def _is_ours(parts: DeployParts, row: Deployment, me: Owner) -> bool:
    now = _in_transaction(parts, lambda connection: deployments.get(connection, row.id))
    return now is not None and now.status is DeploymentStatus.RUNNING and now.owner == me


def _leave(parts: DeployParts, row: Deployment, lost: LostRace) -> int:
    log.info("deployment %s: %s: nothing to do here", row.id, lost.why)
    if lost.why == deployments.OCCUPIED:
        _in_transaction(parts, lambda connection: deployments.mark_not_launched(connection, row.id))
    return 0


def _bring_up(parts: DeployParts, workspaces: Workspaces, row: Deployment, spec: DeploySpec) -> Ending:
    """Everything between the two writes. What goes wrong before the command is an end; after it, only a look is."""
    try:
        if refusal := _refusal(workspaces, row):
            return Ending(False, None, refusal)
        result = _run_command(parts, workspaces, row, spec)
    except (OrchestratorError, OSError) as error:
        log.exception("deployment %s", row.id)
        if parts.deployer.command_state(row.id) is CommandState.NOT_STARTED:
            return Ending(False, None, f"nothing was run: {error}")
        result = None
    if result is not None and (result.exit_code or result.timed_out):
        return _failed_command(parts, spec, result)
    return _watch(parts, row, spec)


def _refusal(workspaces: Workspaces, row: Deployment) -> str:
    """Why this version may not go there; empty when it may. Nothing but the base branch goes to production."""
    if row.environment != deployments.PRODUCTION:
        return ""
    base = _patiently(workspaces.base_tip)
    if _patiently(lambda: workspaces.is_ancestor(row.sha, base)):
        return ""
    return f"refused: {row.sha} is not reachable from the base branch (at {base}), nothing was run"


def _run_command(parts: DeployParts, workspaces: Workspaces, row: Deployment, spec: DeploySpec) -> CommandResult:
    with _patiently(lambda: workspaces.checkout(row.sha)) as folder:
        # A checkout takes its time; meanwhile this node may have been given up and the row ended by somebody else.
        if not _is_ours(parts, row, parts.host.myself()):
            raise OrchestratorError("the row was taken away before the command began")
        commands = DeployCommands(parts.files, parts.host)
        environment = {**parts.environment, **_told(row)}
        # Point of no return: from here on only a look tells what happened.
        return commands.run(row.id, spec.command, cwd=folder, environment=environment, timeout_s=spec.timeout_s)


def _told(row: Deployment) -> dict[str, str]:
    return {
        "ORCH_SHA": row.sha,
        "ORCH_IMAGE": row.image or "",
        "ORCH_ENVIRONMENT": row.environment,
        "ORCH_DEPLOYMENT": str(row.id),
    }


def _failed_command(parts: DeployParts, spec: DeploySpec, result: CommandResult) -> Ending:
    how = f"did not end in {spec.timeout_s} s" if result.timed_out else f"left with {result.exit_code}"
    seen = parts.deployer.observe(spec)
    return Ending(False, seen.version, f"the command {how}: {result.output[-_OUTPUT_SHOWN:]} | {seen.detail}")


def _watch(parts: DeployParts, row: Deployment, spec: DeploySpec) -> Ending:
    """Look until the version answers and is healthy, for ``health_timeout_s`` at most."""
    deadline = time.monotonic() + spec.health_timeout_s
    while True:
        seen = parts.deployer.observe(spec)
        if seen.version == row.sha and seen.healthy:
            return Ending(True, seen.version, seen.detail)
        if time.monotonic() >= deadline:
            return Ending(False, seen.version, _unhealthy(spec, seen))
        time.sleep(_LOOK_S)


def _unhealthy(spec: DeploySpec, seen: Observation) -> str:
    health = "healthy" if seen.healthy else "not healthy"
    return f"after {spec.health_timeout_s} s {seen.version or 'nothing'} answers, {health}: {seen.detail}"


def _write_end(parts: DeployParts, row: Deployment, ending: Ending) -> None:
    status = row.status_when_landed if ending.landed else DeploymentStatus.FAILED
    me = parts.host.myself()

    def finish(connection: Connection) -> Committed | LostRace:
        return deployments.finish(connection, row.id, me, status, ending.observed_sha, ending.detail)

    done = _in_transaction(parts, finish)
    outcome = "written" if isinstance(done, Committed) else done.why
    log.info("deployment %s: %s: %s (%s)", row.id, status, ending.detail, outcome)


def _in_transaction(parts: DeployParts, statements: Statements[T]) -> T:
    return parts.store.insist(statements, DEPLOYER, patience_s=DATABASE_PATIENCE_S)


def _patiently(read: Callable[[], T]) -> T:
    """A read of the forge, tried again while it does not answer."""
    for pause in _FORGE_PATIENCE_S:
        try:
            return read()
        except TransientError as error:
            log.warning("%s, trying again in %s s", error, pause)
        time.sleep(pause)
    return read()


def deploy_parts(settings: Settings, *, workspaces: Callable[[str], Workspaces], nudges: Nudges) -> DeployParts:
    """The parts of this process. ``workspaces`` gives a project's git; both come from bootstrap."""
    if not settings.database_url:
        raise ConfigurationError("ORCH_DATABASE_URL: is not set: the deployer must reach the database of the fleet")
    host = this_host(settings.node)
    return DeployParts(
        store=connect(settings.database_url),
        host=host,
        deployer=CommandDeployer(settings.data_dir, host, environment={}),
        files=DeployFiles(settings.data_dir),
        workspaces=workspaces,
        nudges=nudges,
        environment=settings.basic_environment(),
    )


class NoNudges:
    """Where no broker is named: the end is a committed row, and sweeps find it within seconds."""

    def drive(self, task_id: int, work_item: str, actor: str) -> None:
        log.info("%s may go on", work_item)

    def launch_agent(self, node: str, job_id: int, work_item: str) -> None: ...

    def stop_agent(self, node: str, job_id: int, work_item: str) -> None: ...

    def finish_job(self, node: str, job_id: int, work_item: str) -> None: ...

    def finalize_deploys(self) -> None: ...


def _wire(settings: Settings) -> DeployParts:
    from orchestrator import bootstrap  # heavy, and tests wire this process without it
    from orchestrator.project_config import operator_config_file

    store = bootstrap.build_store(settings)
    host = bootstrap.build_host(settings, store)
    projects = bootstrap.Projects(settings, store, host, operator_config_file(settings.config_path))
    nudges: Nudges = NoNudges() if settings.broker_url is None else bootstrap.build_nudges(settings)
    return deploy_parts(settings, workspaces=lambda key: projects.ports(key).workspaces, nudges=nudges)


def main(argv: Sequence[str], wire: Callable[[Settings], DeployParts] = _wire) -> int:
    """Entry point of the process; ``argv[1]`` is the deployment's id. ``wire`` builds the parts from settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return deploy(wire(load_settings()), int(argv[1]))
    except OrchestratorError as error:
        log.error("deployment %s waits: %s", argv[1], error)
        return 1


if __name__ == "__main__":
    procfs.hide_this_process()
    sys.exit(main(sys.argv))
