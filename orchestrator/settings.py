"""Settings of this process, read from the environment once, at start. The only reader of ``os.environ``.

A setting is a field of ``Settings``, ``Switches`` or ``Timings``; its variable is ``ORCH_`` and the field's name
in capitals. Secrets may stand in files instead: ``<NAME>_FILE``, ``$CREDENTIALS_DIRECTORY/<name>`` (systemd) or
``/run/secrets/<name>`` (containers), in that order. Everything that is wrong is reported together.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from orchestrator import failpoints
from orchestrator.domain.errors import ConfigurationError
from orchestrator.secret import MASK, Secret, passwords_in, without_passwords

DEVELOPMENT: Final = "development"
PRODUCTION: Final = "production"

NAMES_FOR_CHILDREN: Final = frozenset(
    {"ORCH_RUN_ID", "ORCH_SHA", "ORCH_IMAGE", "ORCH_IMAGE_TAG", "ORCH_ENVIRONMENT", "ORCH_DEPLOYMENT"}
)
"""What the orchestrator gives to agents, image and deploy commands. Any of them may start an orchestrator."""

_BASIC_NAMES: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_RUNTIME_DIR|SSL_CERT_(FILE|DIR)"
    r"|(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY"
)
_SECRET_SIZE_LIMIT: Final = 64 * 1024
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


# --- how a text becomes a value; each raises ValueError with what is allowed ---------------------------------


def _text(text: str) -> str:
    return text


def _switch(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ValueError("allowed are true and false (also 1, 0, yes, no, on, off)")
    return text.lower() in _YES


def _names(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, (name.strip() for name in text.split(","))))
    if not names or ("*" in names and len(names) > 1):
        raise ValueError("allowed is * for all, or a list of project keys with commas")
    return names


def _path(text: str) -> Path:
    # Not resolve(): a data directory behind a symbolic link keeps the name that the operator gave it.
    return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"allowed is a whole number from {least} to {most}")
        return int(text)

    return parse


def _duration(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", text) or float(text) <= 0:
        raise ValueError("allowed is a number of seconds above 0")
    return float(text)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"allowed is {' or '.join(allowed)}")
        return text

    return parse


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        # The text is not repeated: it may hold a password.
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"allowed is a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text

    return parse


def _database_url(text: str) -> str:
    # SQLAlchemy would take the bare scheme for another driver, which is not installed.
    url = _url("postgresql", "postgresql+psycopg", "postgres")(text)
    return "postgresql+psycopg" + url[url.index("://") :]


def _points(text: str) -> str:
    problems = failpoints.parse(text)[1]
    if problems:
        raise ValueError("; ".join(problems))
    return text


Parse = Callable[[str], object]


def _by(parse: Parse, *, name: str = "", fileable: bool = False) -> dict[str, object]:
    """Metadata of a field that is a setting. ``fileable``: it holds a secret, so it may stand in a file."""
    return {"parse": parse, "name": name, "fileable": fileable}


_SECRET: Final = _by(Secret, fileable=True)


# --- the settings --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Switches:
    """Levers that are read at start. All on is the normal state; each off is an emergency that doctor shows."""

    # On: without it two actors may run one edge. Off only when the lease itself keeps everything from moving.
    transition_lease_enabled: bool = field(default=True, metadata=_by(_switch))
    # All projects: a list is for bringing the lease in step by step.
    transition_lease_repos: tuple[str, ...] = field(default=("*",), metadata=_by(_names))
    # On: a finalizer that is alive is waited for, however long its gates take.
    reaper_finalizer_liveness_enabled: bool = field(default=True, metadata=_by(_switch))
    reaper_enabled: bool = field(default=True, metadata=_by(_switch))
    reconciler_enabled: bool = field(default=True, metadata=_by(_switch))
    # On: the merge lane of a dead owner is freed by its identity, without a person.
    lease_reclaim_enabled: bool = field(default=True, metadata=_by(_switch))
    stop_status_enabled: bool = field(default=True, metadata=_by(_switch))

    def transition_lease_for(self, project: str) -> bool:
        """Whether tasks of ``project`` are guarded by the transition lease."""
        named = "*" in self.transition_lease_repos or project in self.transition_lease_repos
        return self.transition_lease_enabled and named


@dataclass(frozen=True, slots=True)
class Timings:
    """How often and how long, in seconds (``reaper_dead_ticks`` counts sweeps)."""

    # A dead run is found within two sweeps: half a minute is little against runs of many minutes.
    reaper_interval_s: float = field(default=15.0, metadata=_by(_duration))
    # The reconciler only repairs lost nudges, by one indexed query: often enough that a person hardly notices.
    reconciler_interval_s: float = field(default=5.0, metadata=_by(_duration))
    # Deploys take minutes; after a restart their end should show at once.
    finalizer_interval_s: float = field(default=5.0, metadata=_by(_duration))
    # Deliveries are processed by their own nudge; this finds those whose nudge was lost.
    inbox_interval_s: float = field(default=5.0, metadata=_by(_duration))
    # Two looks: one look may fall between the death of a process and the record of its exit.
    reaper_dead_ticks: int = field(default=2, metadata=_by(_whole(1, 100)))
    # Finishing a run is some git calls and one commit; five minutes without a live owner is no slowness.
    reaper_finalize_grace_s: float = field(default=300.0, metadata=_by(_duration))
    # A ceiling, not an estimate: six hours is beyond any honest run (wall clock 1 h, gates 15 min).
    reaper_max_running_s: float = field(default=6 * 3600.0, metadata=_by(_duration))
    # Four reports in a minute, so that a node is not lost by one slow query.
    node_report_interval_s: float = field(default=15.0, metadata=_by(_duration))
    # A machine comes back from a reboot or a network fault within ten minutes, or a person is needed.
    node_lost_s: float = field(default=600.0, metadata=_by(_duration))
    # Webhooks tell of changes at once; the poll finds what they lost and must be polite to the tracker and forge.
    poll_interval_s: float = field(default=60.0, metadata=_by(_duration))
    # An agent gets this long to write its session down before it is killed.
    stop_grace_s: float = field(default=10.0, metadata=_by(_duration))
    # Two weeks: long enough to read what an agent did in the sprint before.
    runs_keep_s: float = field(default=14 * 86400.0, metadata=_by(_duration))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """All settings of this process. ``replace`` of dataclasses makes a changed copy, for tests and the fleet.

    ``sources`` names for each variable where its value came from; ``warnings`` are lines for the operator.
    """

    # Everything that is kept on this node: embedded stores, mirrors, worktrees, run directories, spool.
    data_dir: Path = field(metadata=_by(_path))
    config_path: Path = field(metadata=_by(_path, name="ORCH_CONFIG"))
    # Names this machine in owners, queues and run directories: two machines must not share it.
    node: str = field(metadata=_by(_text))
    # None: the embedded store is used.
    database_url: str | None = field(default=None, metadata=_by(_database_url, fileable=True))
    broker_url: str | None = field(default=None, metadata=_by(_url("redis", "rediss", "redis+socket"), fileable=True))
    # Loopback: anything else needs ORCH_API_TOKEN, which the web app insists on.
    host: str = field(default="127.0.0.1", metadata=_by(_text))
    # The usual second port of the web and of Flower; both may be taken, then set others.
    port: int = field(default=8080, metadata=_by(_whole(1, 65535)))
    # How trackers and forges reach the web, for the addresses of their webhooks; None: as this machine does.
    public_url: str | None = field(default=None, metadata=_by(_url("http", "https")))
    # What /livez names as the version, so that a deploy of this very program can be observed; None: the package's.
    release: str | None = field(default=None, metadata=_by(_text))
    flower_port: int = field(default=5555, metadata=_by(_whole(1, 65535)))
    api_token: Secret | None = field(default=None, metadata=_SECRET)
    plane_url: str | None = field(default=None, metadata=_by(_url("http", "https")))
    plane_api_key: Secret | None = field(default=None, metadata=_SECRET)
    plane_webhook_secret: Secret | None = field(default=None, metadata=_SECRET)
    gitea_url: str | None = field(default=None, metadata=_by(_url("http", "https")))
    gitea_token: Secret | None = field(default=None, metadata=_SECRET)
    gitea_webhook_secret: Secret | None = field(default=None, metadata=_SECRET)
    # The public one; an enterprise server of your own has another.
    github_url: str = field(default="https://github.com", metadata=_by(_url("http", "https")))
    github_token: Secret | None = field(default=None, metadata=_SECRET)
    github_webhook_secret: Secret | None = field(default=None, metadata=_SECRET)
    telegram_token: Secret | None = field(default=None, metadata=_SECRET)
    telegram_url: str | None = field(default=None, metadata=_by(_url("http", "https")))
    telegram_chat: str | None = field(default=None, metadata=_by(_text))
    # Development: a forgotten ORCH_ENV must not make a laptop refuse; production only forbids test levers.
    env: str = field(default=DEVELOPMENT, metadata=_by(_one_of(DEVELOPMENT, PRODUCTION)))
    log_level: str = field(default="INFO", metadata=_by(_one_of("DEBUG", "INFO", "WARNING", "ERROR")))
    # Auto: lines for people on a terminal, JSON for everything that collects logs.
    log_format: str = field(default="auto", metadata=_by(_one_of("auto", "json", "text")))
    failpoints: str = field(default="", metadata=_by(_points))
    switches: Switches = Switches()
    timings: Timings = Timings()
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    _files: Mapping[str, tuple[Path, Secret]] = field(default_factory=dict, compare=False)
    _inherited: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        # A URL may hold a password, and an object is soon in a log or a traceback.
        return f"Settings({', '.join(f'{name}={text}' for name, text, _source in describe(self) if text)})"

    @property
    def production(self) -> bool:
        return self.env == PRODUCTION

    def environment(self) -> dict[str, str]:
        """The ``ORCH_*`` variables that give a child process these settings. Secrets from files stay in the files."""
        found: dict[str, str] = {}
        for name, value in self._values():
            text = _written(value)
            if text is None:
                continue
            file, content = self._files.get(name, (None, None))
            # A value that was replaced after reading is no longer what stands in the file.
            if file is not None and content == Secret(text):
                found[f"{name}_FILE"] = str(file)
            else:
                found[name] = text
        return found

    def secret_files(self) -> tuple[Path, ...]:
        """Files that hold secrets of ours; nothing that is not ours may read them."""
        return tuple(file for file, _ in self._files.values())

    def hook_url(self, source: str) -> str:
        """Where the web takes deliveries of ``source``, seen from outside."""
        base = self.public_url or f"http://{self.host}:{self.port}"
        return f"{base.rstrip('/')}/webhooks/{source}"

    def process_environment(self) -> dict[str, str]:
        """The whole environment for the orchestrator's own processes. Never for an agent."""
        return {**self._inherited, **self.environment()}

    def basic_environment(self) -> dict[str, str]:
        """PATH, HOME, locale, proxies and the like, for git and configured commands; holds no secret of ours."""
        return {name: value for name, value in self._inherited.items() if _BASIC_NAMES.fullmatch(name)}

    def secrets(self) -> dict[str, str]:
        """Every secret text in here by its variable, passwords of URLs too: what must never leave the process."""
        found: dict[str, str] = {}
        for name, value in self._values():
            texts = (
                (value.reveal(),)
                if isinstance(value, Secret)
                else passwords_in(value)
                if isinstance(value, str)
                else ()
            )
            for number, text in enumerate(filter(None, texts)):
                found[name if not number else f"{name} ({number + 1})"] = text
        return found

    def secret_values(self) -> tuple[str, ...]:
        """The texts of ``secrets``: what must never be logged."""
        return tuple(dict.fromkeys(self.secrets().values()))

    def _values(self) -> Iterator[tuple[str, object]]:
        for part in (self, self.switches, self.timings):
            for name, key, _parse, _fileable in _described(type(part)):
                yield name, getattr(part, key)


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """(variable, value with secrets masked, source) for ``orch config show`` and doctor."""
    rows = []
    for name, value in settings._values():
        text = MASK if isinstance(value, Secret) else without_passwords(_written(value) or "")
        rows.append((name, text, settings.sources.get(name, "default")))
    return rows


def load_settings(environ: Mapping[str, str] | None = None, *, secrets_dir: Path = Path("/run/secrets")) -> Settings:
    """Read and check everything. Raises ConfigurationError with all problems, one a line."""
    reader = _Reader(dict(os.environ if environ is None else environ), secrets_dir)
    switches = replace(Switches(), **reader.values(Switches))
    timings = replace(Timings(), **reader.values(Timings))
    values = {**reader.defaults(), **reader.values(Settings)}
    problems = [*reader.unknown(), *reader.problems, *_contradictions(reader.environ, values, timings)]
    if problems:
        raise ConfigurationError(problems)
    return Settings(
        **values,
        switches=switches,
        timings=timings,
        sources=MappingProxyType(reader.sources),
        warnings=(*reader.warnings, *_cautions(switches)),
        _files=MappingProxyType(reader.files),
        _inherited=MappingProxyType(reader.foreign()),
    )


@dataclass(slots=True)
class _Reader:
    """Reads variables and secret files, and collects what is wrong with them."""

    environ: dict[str, str]
    secrets_dir: Path
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[Path, Secret]] = field(default_factory=dict)

    def values(self, kind: type) -> dict[str, Any]:
        """Value by field, of those that are set; a wrong one is a problem and left out."""
        found: dict[str, Any] = {}
        for name, key, parse, fileable in _described(kind):
            text = self._text_of(name, fileable=fileable)
            if not text:
                continue
            try:
                found[key] = parse(text)
            except ValueError as error:
                shown = "" if fileable else f" {text!r}:"
                self.problems.append(f"{name}:{shown} {error}")
            if fileable:
                self._keep_file(name, found.get(key))
        return found

    def defaults(self) -> dict[str, Any]:
        """What is computed from the machine when it is not set."""
        home = self.environ.get("XDG_DATA_HOME") or f"{self.environ.get('HOME') or '~'}/.local/share"
        data_dir = _path(self.environ.get("ORCH_DATA_DIR", "").strip() or f"{home}/orchestrator")
        here = _path("orchestrator.yml")
        config_path = here if here.exists() else data_dir / "orchestrator.yml"
        return {"data_dir": data_dir, "config_path": config_path, "node": socket.gethostname()}

    def unknown(self) -> list[str]:
        legal = _legal_names()
        ours = {name for name in self.environ if name.startswith("ORCH_")}
        return [_unknown(name, legal) for name in sorted(ours - legal)]

    def foreign(self) -> dict[str, str]:
        """What is not ours to read but is for the children: PATH, HOME and all the rest."""
        return {name: text for name, text in self.environ.items() if not name.startswith("ORCH_")}

    def _text_of(self, name: str, *, fileable: bool) -> str:
        text = self.environ.get(name, "").strip()
        file = self._secret_file(name) if fileable else None
        if text and self.environ.get(f"{name}_FILE"):
            self.problems.append(f"{name}: is set together with {name}_FILE: unset one of them")
        if text:
            self.sources[name] = "environment"
            if fileable and (passwords_in(text) or "://" not in text):
                self.warnings.append(f"{name} is a secret in the environment: put it into a file and set {name}_FILE")
            return text
        return self._read_secret(name, file) if file else ""

    def _secret_file(self, name: str) -> Path | None:
        explicit = self.environ.get(f"{name}_FILE")
        if explicit:
            return _path(explicit)
        places = [Path(self.environ["CREDENTIALS_DIRECTORY"])] if self.environ.get("CREDENTIALS_DIRECTORY") else []
        candidates = [place / spelling for place in (*places, self.secrets_dir) for spelling in (name.lower(), name)]
        return next((path for path in candidates if path.is_file()), None)

    def _read_secret(self, name: str, file: Path) -> str:
        try:
            with file.open("rb") as stream:
                text = stream.read(_SECRET_SIZE_LIMIT + 1).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            self.problems.append(f"{name}_FILE: {file}: {reason}: give a readable text file that holds only the secret")
            return ""
        if not text or len(text) > _SECRET_SIZE_LIMIT:
            size = "too large" if text else "empty"
            self.problems.append(f"{name}_FILE: {file}: is {size}: it must hold only the secret")
            return ""
        self.sources[name] = f"file {file}"
        return text

    def _keep_file(self, name: str, value: object) -> None:
        source = self.sources.get(name, "")
        text = _written(value)
        if source.startswith("file ") and text:
            self.files[name] = (Path(source.removeprefix("file ")), Secret(text))


def _described(kind: type) -> Iterator[tuple[str, str, Parse, bool]]:
    """(variable, field, parser, may stand in a file) of each field that is a setting."""
    for one in fields(kind):
        parse = one.metadata.get("parse")
        if parse is not None:
            name = one.metadata.get("name") or f"ORCH_{one.name.upper()}"
            yield name, one.name, parse, bool(one.metadata.get("fileable"))


def _legal_names() -> frozenset[str]:
    described = [row for kind in (Settings, Switches, Timings) for row in _described(kind)]
    files = {f"{name}_FILE" for name, _key, _parse, fileable in described if fileable}
    return frozenset({name for name, *_ in described} | files | NAMES_FOR_CHILDREN)


def _unknown(name: str, legal: frozenset[str]) -> str:
    near = get_close_matches(name, sorted(legal), n=1)
    return f"{name}: no such setting{f', did you mean {near[0]}?' if near else ': unset it'}"


def _contradictions(environ: Mapping[str, str], values: Mapping[str, Any], timings: Timings) -> Sequence[str]:
    found = []
    if environ.get("ORCH_FAILPOINTS") and values.get("env") == PRODUCTION:
        found.append("ORCH_FAILPOINTS: is for tests and refused while ORCH_ENV=production: unset one of them")
    if timings.node_lost_s <= 3 * timings.node_report_interval_s:
        found.append("ORCH_NODE_LOST_S: must be more than three times ORCH_NODE_REPORT_INTERVAL_S")
    if timings.reaper_max_running_s <= timings.reaper_finalize_grace_s:
        found.append("ORCH_REAPER_MAX_RUNNING_S: must be more than ORCH_REAPER_FINALIZE_GRACE_S")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", str(values["node"])):
        # The name is part of a queue's name.
        found.append(f"ORCH_NODE: {values['node']!r}: allowed are up to 63 letters, digits, dots, hyphens, underscores")
    return found


def _cautions(switches: Switches) -> Iterator[str]:
    for name, key, _parse, _fileable in _described(Switches):
        if getattr(switches, key) is False:
            yield f"{name} is off: an emergency lever, turn it on again when the emergency is over"
    if switches.transition_lease_repos != ("*",):
        yield "ORCH_TRANSITION_LEASE_REPOS is a list: tasks of all other projects run without the transition lease"


def _written(value: object) -> str | None:
    """The text that parses to ``value`` again."""
    match value:
        case None:
            return None
        case Secret():
            return value.reveal()
        case bool():
            return "true" if value else "false"
        case tuple():
            return ",".join(value)
        case float():
            return f"{value:.12g}"
        case _:
            return str(value) or None
