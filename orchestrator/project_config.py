"""``orchestrator.yml`` (the operator's) and ``.orchestrator.yml`` (a repository's), checked and kept.

Both go through one reader, so every mistake is told as ``file:line:column: key: what is wrong, what is allowed``,
all of them together. A secret in either file is refused: secrets stand in files that the environment names.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final, Generic, TypeVar

from orchestrator.domain.configuration import (
    AgentSpec,
    CiConfig,
    DeploySpec,
    GateConfig,
    ImageRecipe,
    Limits,
    NotificationConfig,
    OperatorConfig,
    PlaneConfig,
    PlaneState,
    ProjectConfig,
    RepositoryConfig,
)
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.stages import AGENT_STAGES, OPTIONAL_AGENT_STAGES, Stage
from orchestrator.ports import Workspaces
from orchestrator.secret import passwords_in
from orchestrator.typed_yaml import Rule, Rules, json_schema, load

T = TypeVar("T")
REPOSITORY_FILE: Final = ".orchestrator.yml"
_KEPT: Final = 64
_DAY_S: Final = 24 * 3600
_REMEDY: Final = "mend the lines named above; `orch config schema` prints what is allowed"

# --- rules that a type cannot say ----------------------------------------------------------------------------

_SECRET_KEY: Final = re.compile(r"(?i)(^|[_-])(token|secret|password|passwd|api[_-]?key|private[_-]?key)$")
_SECRET_TEXT: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|^(gh[pousr]_|github_pat_|glpat-|xox[abp]-|sk-[A-Za-z0-9]|AKIA[0-9A-Z]{16})"
)
_AGENT_STAGES: Final = tuple(stage.value for stage in (*AGENT_STAGES, *OPTIONAL_AGENT_STAGES))


def _pattern(expression: str, allowed: str) -> Rule:
    compiled = re.compile(expression)
    return Rule(lambda text: bool(compiled.fullmatch(str(text))), allowed, {"pattern": f"^({expression})$"})


def _from(least: float, most: float) -> Rule:
    return Rule(
        lambda value: isinstance(value, int | float) and least <= value <= most,
        f"a number from {least} to {most}",
        {"minimum": least, "maximum": most},
    )


def _one_of(*allowed: str) -> Rule:
    return Rule(lambda value: value in allowed, f"allowed are {', '.join(allowed)}", {"enum": list(allowed)})


def _some(what: str) -> Rule:
    return Rule(bool, f"{what} is needed", {"minItems": 1})


def _is_inside(path: object) -> bool:
    pure = PurePosixPath(str(path))
    return bool(str(path)) and not pure.is_absolute() and ".." not in pure.parts


_PATHS: Final = Rule(
    lambda paths: isinstance(paths, tuple) and all(map(_is_inside, paths)),
    "paths are relative to the repository and stay inside it",
)
_SECONDS: Final = _from(1, _DAY_S)
_WORD: Final = _pattern(r"[a-z][a-z0-9_-]{0,31}", "a name of small letters, digits, hyphens and underscores")
_COUNT: Final = _from(1, 1000)


def _forbidden_key(name: str) -> str:
    if not _SECRET_KEY.search(name):
        return ""
    return "looks like a secret, and secrets do not belong here: set ORCH_…_FILE to a file that holds it"


def _forbidden_text(text: str) -> str:
    if passwords_in(text) or _SECRET_TEXT.search(text):
        # Not quoted: the message goes to logs.
        return "holds a secret, and secrets do not belong here: set ORCH_…_FILE to a file that holds it"
    return ""


def _agent(spec: object) -> Iterator[tuple[str, str]]:
    assert isinstance(spec, AgentSpec)
    if spec.runtime == "command" and not spec.command:
        yield "command", "is needed for the runtime `command`: the words of the command, as a list"
    if spec.silence_s > spec.wall_clock_s:
        yield "silence_s", f"is more than wall_clock_s ({spec.wall_clock_s}): it could never be reached"


def _project(project: object) -> Iterator[tuple[str, str]]:
    assert isinstance(project, ProjectConfig)
    missing = [stage.value for stage in AGENT_STAGES if stage not in project.agents]
    if missing:
        yield "agents", f"no agent is named for {', '.join(missing)}: each of these stages needs one"
    if project.tracker == "plane" and not project.plane.workspace:
        yield "plane", "workspace is needed: the part of Plane's addresses behind its host, acme of /acme/projects/"


def _operator(config: object) -> Iterator[tuple[str, str]]:
    assert isinstance(config, OperatorConfig)
    keys = [project.key for project in config.projects]
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        yield "projects", f"the key {key} is given to more than one project"


def _deploy(spec: object) -> Iterator[tuple[str, str]]:
    assert isinstance(spec, DeploySpec)
    if spec.driver == "command" and not spec.command:
        yield "command", "is needed for the driver `command`: the words of the command, as a list"
    if not spec.health_url:
        yield "health_url", "is missing: without it nobody can see which version answers"


_ARGV: Final = frozenset({"command", "arguments", "setup", "test", "lint", "security_command"})
_COMMON: Final[dict[tuple[type, str], Rule]] = {
    (AgentSpec, "runtime"): _WORD,
    (AgentSpec, "wall_clock_s"): _SECONDS,
    (AgentSpec, "silence_s"): _SECONDS,
    (AgentSpec, "memory_mib"): _from(0, 1024 * 1024),
    (AgentSpec, "processes"): _from(0, 1_000_000),
    (AgentSpec, "file_size_mib"): _from(0, 1024 * 1024),
    (AgentSpec, "max_turns"): _from(1, 100_000),
    (AgentSpec, "max_usd"): _from(0.01, 100_000),
}
_OPERATOR: Final = Rules(
    fields={
        **_COMMON,
        (ProjectConfig, "key"): _pattern(
            r"[A-Za-z][A-Za-z0-9_-]{0,31}", "up to 32 letters, digits, hyphens and underscores, a letter first"
        ),
        (ProjectConfig, "repository"): _pattern(r"[^-\s][^\s]*", "the address or path of a git repository"),
        (ProjectConfig, "tracker"): _WORD,
        (ProjectConfig, "forge"): _WORD,
        (ProjectConfig, "base_branch"): _pattern(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", "the name of a branch"),
        (ProjectConfig, "concurrency"): _from(1, 100),
        (PlaneConfig, "workspace"): _pattern(
            r"[A-Za-z0-9_-]{1,48}", "the short name of a workspace, as in its addresses"
        ),
        (PlaneState, "name"): _some("the name of a state in Plane"),
        (PlaneState, "group"): _one_of("", "backlog", "unstarted", "started", "completed", "cancelled"),
        (Limits, "attempts_per_stage"): _COUNT,
        (Limits, "roll_backs_per_task"): _from(0, 1000),
        (Limits, "gate_errors"): _COUNT,
        (Limits, "runs_per_node"): _COUNT,
        (Limits, "runs_per_project"): _COUNT,
        **{(Limits, f"usd_per_{what}"): _from(0, 1_000_000) for what in ("run", "item", "day")},
        **{(Limits, f"tokens_per_{what}"): _from(0, 10**12) for what in ("run", "item", "day")},
        (Limits, "hours_per_item"): _from(0, 100_000),
        (Limits, "free_disk_bytes"): _from(0, 2**50),
        (NotificationConfig, "notifiers"): _some("at least one notifier (log)"),
    },
    whole={AgentSpec: _agent, ProjectConfig: _project, OperatorConfig: _operator},
    keys={(ProjectConfig, "agents"): _AGENT_STAGES},
    about={
        (OperatorConfig, "projects"): "The projects that this orchestrator works for.",
        (ProjectConfig, "key"): "What the keys of its work items begin with: ORCH of ORCH-114.",
        (ProjectConfig, "repository"): "Address or path of the git repository; a path may be relative to this file.",
        (ProjectConfig, "base_branch"): "The branch that is deployed; only the merge effect moves it.",
        (ProjectConfig, "concurrency"): "Tasks at once between development and done.",
        (ProjectConfig, "approval"): "Whether a person must approve before production.",
        (ProjectConfig, "agents"): "Agent by stage.",
        (ProjectConfig, "trusted_authors"): "Who may write work items; empty: everybody who can.",
        (ProjectConfig, "authorising_labels"): "An item needs one of these labels; empty: its state is enough.",
        (ProjectConfig, "plane"): "Where its work items live in Plane; with `tracker: plane`.",
        (PlaneConfig, "states"): "States that are called otherwise than by default.",
        (AgentSpec, "command"): "Words of the command; the prompt comes on stdin, no shell is used.",
        (AgentSpec, "arguments"): "Words that are added to an agent CLI's own arguments.",
        (AgentSpec, "credentials"): "Files by the variable in which the agent, and only it, gets their text.",
        (AgentSpec, "sandbox"): "Whether it runs in a sandbox of bubblewrap.",
        (AgentSpec, "sandbox_readable"): "Paths that it may read inside, beside the system and its own.",
        (AgentSpec, "memory_mib"): "MiB of memory of all its processes; 0: no limit.",
        (AgentSpec, "processes"): "Processes at once; 0: no limit.",
        (AgentSpec, "file_size_mib"): "MiB of one file that it writes; 0: no limit.",
        (AgentSpec, "max_turns"): "Turns of one run, where the CLI can count them.",
        (AgentSpec, "max_usd"): "US dollars of one run, by the CLI's own estimate, where it has one.",
        (AgentSpec, "wall_clock_s"): "Seconds after which a run is ended.",
        (AgentSpec, "silence_s"): "Seconds without output after which a run is ended.",
    },
    argv=_ARGV,
    forbidden_key=_forbidden_key,
    forbidden_text=_forbidden_text,
)
_REPOSITORY: Final = Rules(
    fields={
        (RepositoryConfig, "test"): _some("the command that tests the repository"),
        (CiConfig, "source"): _one_of("run", "statuses"),
        (GateConfig, "coverage_tolerance"): _from(0, 100),
        (GateConfig, "coverage_report"): Rule(
            lambda path: not path or _is_inside(path), "a path relative to the repository and inside it"
        ),
        (GateConfig, "timeout_s"): _SECONDS,
        (ImageRecipe, "files"): _PATHS,
        (ImageRecipe, "command"): _some("the command that builds the image"),
        (ImageRecipe, "timeout_s"): _SECONDS,
        (DeploySpec, "driver"): _WORD,
        (DeploySpec, "health_url"): _pattern(r"https?://\S+", "a URL that begins with http:// or https://"),
        (DeploySpec, "timeout_s"): _SECONDS,
        (DeploySpec, "health_timeout_s"): _SECONDS,
    },
    whole={DeploySpec: _deploy},
    keys={
        (RepositoryConfig, "deploys"): ("staging", "production"),
        (RepositoryConfig, "prompts"): _AGENT_STAGES,
    },
    about={
        (RepositoryConfig, "setup"): "Words of the command that makes a fresh checkout ready.",
        (RepositoryConfig, "test"): "Words of the command that tests a checkout; no shell is used.",
        (RepositoryConfig, "deploys"): "How staging and production are deployed and observed.",
        (DeploySpec, "health_url"): "Answers JSON with `version` (the SHA), and 2xx when healthy.",
        (GateConfig, "removable_tests"): "Tests that a change may remove or empty: a path or path::name, or a glob.",
        (GateConfig, "coverage_report"): "Path of the Cobertura XML that the test command writes.",
    },
    # Without it nothing could be re-tested, and a merge rests on that.
    required=frozenset({(RepositoryConfig, "test")}),
    argv=_ARGV,
    given=frozenset({"digest"}),
    forbidden_key=_forbidden_key,
    forbidden_text=_forbidden_text,
)


def operator_schema() -> dict[str, object]:
    """JSON Schema of ``orchestrator.yml``."""
    return json_schema(OperatorConfig, _OPERATOR, title="orchestrator.yml")


def repository_schema() -> dict[str, object]:
    """JSON Schema of ``.orchestrator.yml``."""
    return json_schema(RepositoryConfig, _REPOSITORY, title=REPOSITORY_FILE)


def digest_of(raw: bytes) -> str:
    """SHA-256 of the bytes of a configuration: two that differ in a comment only are two."""
    return hashlib.sha256(raw).hexdigest()


def parse_operator_config(raw: bytes, file: str = "orchestrator.yml") -> OperatorConfig:
    """Raises ConfigurationError. A relative path of a repository is taken from the folder of ``file``."""
    config = load(raw, file, OperatorConfig, _OPERATOR)
    folder = Path(os.path.abspath(file)).parent  # noqa: PTH100  # keeps links as the operator wrote them
    return replace(config, projects=tuple(_with_absolute_repository(one, folder) for one in config.projects))


def parse_repository_config(raw: bytes, file: str = REPOSITORY_FILE) -> RepositoryConfig:
    """Raises ConfigurationError."""
    return load(raw, file, RepositoryConfig, _REPOSITORY, {"digest": digest_of(raw)})


def _with_absolute_repository(project: ProjectConfig, folder: Path) -> ProjectConfig:
    # host:path is git's short form of an ssh address.
    if "://" in project.repository or re.match(r"[^/]+:", project.repository):
        return project
    path = folder / Path(project.repository).expanduser()
    return replace(project, repository=os.path.normpath(path))


# --- the operator's file at run time -------------------------------------------------------------------------


class LastGood(Generic[T]):
    """The last good configuration of a file that may be edited while we run. Safe to use from several threads.

    ``absent``: what holds for as long as there has never been a file; without it, that is an error.
    """

    def __init__(self, path: Path, parse: Callable[[bytes, str], T], *, absent: T | None = None) -> None:
        self.path = path
        self._parse = parse
        self._absent = absent
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._digest = ""
        self._good: T | None = None
        self._problem: ConfigurationError | None = None
        self._is_absent = False

    def current(self) -> tuple[T, ConfigurationError | None]:
        """The configuration, and what is wrong with a newer edit that was not taken (None: nothing).

        Raises ConfigurationError when there has never been a good one.
        """
        with self._lock:
            self._look()
            found = self._absent if self._good is None and self._is_absent else self._good
            if found is None:
                raise self._problem or self._gone("it has not been read")
            return found, self._problem

    def _look(self) -> None:
        try:
            seen = self.path.stat()
            stamp = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
            if stamp == self._stamp:
                return
            raw = self.path.read_bytes()
        except OSError as error:
            self._stamp, self._digest = None, ""
            self._is_absent = isinstance(error, FileNotFoundError)
            self._problem = self._gone(error.strerror or str(error))
            return
        self._stamp, self._is_absent = stamp, False
        digest = digest_of(raw)
        if digest != self._digest:
            self._digest = digest
            self._take(raw)

    def _take(self, raw: bytes) -> None:
        try:
            self._good, self._problem = self._parse(raw, str(self.path)), None
        except ConfigurationError as error:
            self._problem = ConfigurationError(error.problems, remedy=_REMEDY)

    def _gone(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path}: cannot be read: {why}",
            remedy="`orch init` writes a commented one; ORCH_CONFIG names its place",
        )


def operator_config_file(path: Path) -> LastGood[OperatorConfig]:
    """``orchestrator.yml`` at ``path``, followed while we run. A missing one is an error: who asks wants to use it."""
    return LastGood(path, parse_operator_config)


def operator_config_of_fleet(path: Path) -> LastGood[OperatorConfig]:
    """As above, for what runs on: until somebody writes the file there is no project, and then no restart is needed."""
    return LastGood(path, parse_operator_config, absent=OperatorConfig())


# --- the repository's file -----------------------------------------------------------------------------------


class GitRepositoryConfigs:
    """``ports.RepositoryConfigs``: ``.orchestrator.yml`` as it stands in a commit of the base branch."""

    def __init__(self, workspaces: Workspaces, project: str) -> None:
        self.workspaces = workspaces
        self.project = project
        self._by_commit: dict[str, RepositoryConfig] = {}
        self._by_digest: dict[str, RepositoryConfig] = {}

    def at(self, base_sha: str) -> RepositoryConfig:
        """Raises ConfigurationError with a line for each mistake, or an example when there is no such file."""
        known = self._by_commit.get(base_sha)
        if known is None:
            known = self._read(base_sha)
            # A commit never changes; a handful is current at a time.
            if len(self._by_commit) >= _KEPT:
                self._by_commit.clear()
            self._by_commit[base_sha] = known
        return known

    def _read(self, base_sha: str) -> RepositoryConfig:
        raw = self.workspaces.read_file(base_sha, REPOSITORY_FILE)
        if raw is None:
            raise ConfigurationError(
                f"{self.project}: {REPOSITORY_FILE} is not in commit {base_sha[:12]} of the base branch",
                remedy=f"add it there; for example:\n{example_repository_config()}",
            )
        digest = digest_of(raw)
        if digest not in self._by_digest:
            self._by_digest[digest] = self._parsed(raw, base_sha)
        return self._by_digest[digest]

    def _parsed(self, raw: bytes, base_sha: str) -> RepositoryConfig:
        try:
            return parse_repository_config(raw, REPOSITORY_FILE)
        except ConfigurationError as error:
            lines = [f"{self.project}@{base_sha[:12]}:{line}" for line in error.problems]
            raise ConfigurationError(lines, remedy=_REMEDY) from error


# --- examples ------------------------------------------------------------------------------------------------


def example_operator_config(
    *,
    key: str = "SHOP",
    repository: str = "repositories/shop.git",
    agents: Mapping[Stage, tuple[str, ...]] | None = None,
    tracker: str = "local",
    forge: str = "local",
) -> str:
    """A commented ``orchestrator.yml``, ready to be used; ``agents`` gives the command of each stage."""
    plane = _EXAMPLE_PLANE if tracker == "plane" else ""
    commands = {stage: (agents or {}).get(stage, ("my-agent", stage.value)) for stage in AGENT_STAGES}
    lines = "\n".join(
        f"      {stage.value}:\n        command: [{', '.join(map(_quoted, words))}]"
        for stage, words in commands.items()
    )
    return f"""\
# What this orchestrator works for. `orch config check` tells every mistake with its line.
# Secrets never stand here: they come from files that ORCH_…_FILE names.
projects:
  - key: {key}                 # work items are called {key}-1, {key}-2, …
    repository: {_quoted(repository)}    # address or path of the git repository
    tracker: {tracker:<16} # where work items live: local or plane
    forge: {forge:<18} # where branches and pull requests live: local, gitea or github
{plane}    base_branch: main         # what is deployed; only the merge effect moves it
    concurrency: 1            # tasks at once between development and done
    approval: none            # or: required, then a person approves before production
    on_deploy_failure: park   # or: fix-forward, back to development on a new branch
    agents:                   # the words of each command; the prompt comes on stdin, no shell is used
{lines}
    # limits:                 # reaching one parks the task and shows the figure
    #   attempts_per_stage: 3
    #   roll_backs_per_task: 5
notifications:
  notifiers: [log]            # where messages to people go
"""


_EXAMPLE_PLANE: Final = """\
    plane:
      workspace: acme         # the part of Plane's addresses behind its host: /acme/projects/
      # states:               # only those that are called otherwise than here
      #   to-analyse: {name: To Analyse, group: unstarted}
      #   stop: {name: STOP, group: started}
"""


def example_repository_config() -> str:
    """A commented ``.orchestrator.yml``."""
    return """\
# How this repository is built, judged and deployed. Read from the base branch only.
setup: [python3, -m, venv, .venv]      # makes a fresh checkout ready
test: [python3, -m, unittest]          # must end with 0 on the merged result
gates:
  timeout_s: 900
deploys:
  staging:
    command: [./deploy.sh, staging]    # gets ORCH_SHA; ends when the version is meant to answer
    health_url: http://127.0.0.1:9001/health   # answers {"version": "<the SHA>"}
  production:
    command: [./deploy.sh, production]
    health_url: http://127.0.0.1:9002/health
"""


def _quoted(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./+=-]*", text)
    return text if plain else "'" + text.replace("'", "''") + "'"
