"""I6 and I14 at the deploy target: what answers is what the last deployment that landed brought there."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.audit.breaches import Breach, Seen
from orchestrator.domain.errors import OrchestratorError
from orchestrator.engine.context import Engine
from orchestrator.store.audit import facts
from orchestrator.store.audit.facts import Deployed

_SHORT = 12


def look(engine: Engine, project: str) -> Seen:
    """One look at each environment of a project; those where a deployment is on its way are left alone."""
    with engine.store.snapshot() as connection:
        expected = facts.deployed(connection, project)
    if not expected:
        return Seen()
    try:
        found = list(_wrong(engine, project, expected))
    except OrchestratorError as error:
        return Seen(unread=(f"environments of {project}: {error.message}",))
    return Seen(tuple(found))


def _wrong(engine: Engine, project: str, expected: list[Deployed]) -> Iterator[Breach]:
    ports = engine.project(project)
    ports.workspaces.fetch()
    configured = ports.repository.at(ports.workspaces.base_tip()).deploys
    for one in expected:
        spec = configured.get(one.environment)
        version = None if spec is None else ports.deployer.observe(spec).version
        if version is not None and version != one.sha:
            evidence = (
                f"{version[:_SHORT]} answers in {one.environment}, and deployment {one.deployment} of"
                f" {one.sha[:_SHORT]} landed there last, at {one.finished_at}"
            )
            yield Breach("I14", one.work_item, evidence)
