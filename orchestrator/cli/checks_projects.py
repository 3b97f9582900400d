"""Doctor's checks of the configuration: the operator's file, and of each project its repository and its agents."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.cli.findings import Finding, Health, guarded
from orchestrator.domain.errors import ConfigurationError
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.domain.configuration import AgentSpec, OperatorConfig, ProjectConfig
    from orchestrator.domain.stages import Stage
    from orchestrator.engine.context import Engine

_VERSION_S: Final = 20.0
_CHECK = "`orch config check` tells every mistake; `orch init` writes a commented file"


def findings(settings: Settings) -> Iterator[Finding]:
    """``settings`` with both URLs; nothing here needs the stores to answer, unless a project's forge is in them."""
    from orchestrator.project_config import operator_config_file

    tried = f"read {settings.config_path}"
    try:
        config, _ = operator_config_file(settings.config_path).current()
    except ConfigurationError as error:
        yield from (Finding("configuration", tried, line, Health.BAD, _CHECK) for line in error.problems)
        return
    names = ", ".join(project.key for project in config.projects)
    mend = "" if names else "add one: without a project there is nothing to do"
    yield Finding(
        "configuration", tried, f"projects: {names or 'none'}", Health.GOOD if names else Health.WARNING, mend
    )
    yield from guarded("projects", "build their parts", lambda: _projects(settings, config))


def _projects(settings: Settings, config: OperatorConfig) -> Iterator[Finding]:
    from orchestrator.bootstrap import build_engine, build_nudges

    engine = build_engine(settings, build_nudges(settings))
    try:
        for project in config.projects:
            yield from _repository(engine, project)
            for stage, spec in project.agents.items():
                part = f"{project.key} {stage}"
                yield _agent(settings, engine, part, spec)
                yield from _sandbox(part, spec)
                yield from guarded(f"{part} credentials", "read them", partial(_credentials, part, stage, spec))
    finally:
        engine.store.engine.dispose()


def _repository(engine: Engine, project: ProjectConfig) -> Iterator[Finding]:
    part = f"{project.key} repository"

    def check() -> Iterator[Finding]:
        ports = engine.project(project.key)
        tip = ports.workspaces.base_tip()
        ports.workspaces.fetch()
        yield Finding(part, f"read {project.base_branch} of {project.repository}", tip[:12])
        found = ports.repository.at(tip)
        got = f"good; deploys: {', '.join(found.deploys) or 'none'}"
        yield Finding(f"{project.key} .orchestrator.yml", f"read it at {tip[:12]}", got)

    return guarded(part, f"read {project.base_branch} of {project.repository}", check)


def _agent(settings: Settings, engine: Engine, part: str, spec: AgentSpec) -> Finding:
    if spec.runtime not in engine.clis:
        got = f"no runtime {spec.runtime}; there are: {', '.join(engine.clis)}"
        return Finding(f"{part} agent", f"find the runtime {spec.runtime}", got, Health.BAD, "correct `runtime`")
    word = spec.command[0] if spec.command else spec.runtime
    if word.startswith("."):
        return Finding(f"{part} agent", f"find {word}", "is looked for in the worktree when it starts")
    path = settings.basic_environment().get("PATH", os.defpath)
    found = shutil.which(word, path=path)
    if found is None:
        mend = "install it, put it into the PATH of `orch up`, or correct `command`"
        return Finding(f"{part} agent", f"find {word} in PATH", "not found", Health.BAD, mend)
    version = "" if spec.runtime == "command" else _version(found, path)
    return Finding(f"{part} agent", f"find {word}", f"{found} {version}".rstrip())


def _version(program: str, path: str) -> str:
    """What the CLI says of its version; it is also kept with each run that tells it."""
    try:
        said = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_VERSION_S,
            stdin=subprocess.DEVNULL,
            env={"PATH": path, "HOME": os.devnull},
        )
    except (OSError, subprocess.TimeoutExpired):
        return "(does not tell its version)"
    return (said.stdout or said.stderr).strip().partition("\n")[0]


def _sandbox(part: str, spec: AgentSpec) -> Iterator[Finding]:
    from orchestrator.adapters.agents import sandbox
    from orchestrator.domain.configuration import Sandbox

    tried, problem = f"sandbox it by bubblewrap ({spec.sandbox})", sandbox.problem()
    if spec.sandbox is Sandbox.OFF:
        mend = "choose `preferred`, unless it runs as a user that owns nothing else"
        yield Finding(f"{part} sandbox", tried, "none: it reads what this user reads", Health.WARNING, mend)
    elif problem:
        health = Health.BAD if spec.sandbox is Sandbox.REQUIRED else Health.WARNING
        yield Finding(f"{part} sandbox", tried, problem, health, "install bubblewrap and allow user namespaces")
    else:
        yield Finding(f"{part} sandbox", tried, "works")


def _credentials(part: str, stage: Stage, spec: AgentSpec) -> Iterator[Finding]:
    from orchestrator.adapters.agents.environment import read_credentials

    names = ", ".join(sorted(spec.credentials))
    if names:
        read_credentials(spec, stage)
        yield Finding(f"{part} credentials", f"read {names}", "readable, masked in all output")
