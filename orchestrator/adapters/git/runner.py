"""Runs the git binary: no shell, no prompt, no hook, no configuration of the user or of an agent, always bounded."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.domain.errors import ConfigurationError, NeedsHumanError, PermanentError, TransientError, UsageError
from orchestrator.secret import without_passwords

LOCAL_TIMEOUT_S: Final = 120.0  # the slowest local call, a checkout of a large tree, stays well under it
REMOTE_TIMEOUT_S: Final = 300.0  # a first fetch of a large repository; a dead line is cut earlier, see below
OLDEST_GIT: Final = (2, 38)  # merge-tree --write-tree
_INSTALL: Final = "install git 2.38 or later (Debian 12, Ubuntu 24.04: apt-get install git) and see that it is in PATH"
_DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_STDERR_SHOWN: Final = 2000

_ALWAYS: Final = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.quotePath=false"),
    *("-c", "submodule.recurse=false"),
    *("-c", "advice.addEmbeddedRepo=false"),
    *("-c", "gc.autoDetach=false"),
    # Worktrees borrow objects from the mirror: what only they reach must not be pruned there.
    *("-c", "gc.pruneExpire=never"),
    # Cut a line that has gone dead, so that an orphaned git ends and gives up the lock that it holds.
    *("-c", "http.lowSpeedLimit=100"),
    *("-c", "http.lowSpeedTime=60"),
)
_GUARDS: Final = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
}
_SSH: Final = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
# Only these may come from outside; a GIT_DIR or a GIT_CONFIG_COUNT would turn our calls to another repository.
_CREDENTIAL_NAMES: Final = re.compile(r"GIT_(ASKPASS|SSH|SSH_COMMAND|SSH_VARIANT|SSL_\w+|HTTP_\w+|PROXY_\w+)")
# The one way to hand http.extraHeader over without a command line.
_CONFIG_PAIR: Final = re.compile(r"GIT_CONFIG_(COUNT|KEY_\d+|VALUE_\d+)")
_NO_LOGIN: Final = re.compile(
    r"could not read (Username|Password)|Authentication failed|Permission denied \(|terminal prompts disabled"
    r"|HTTP 40[13]|error: 40[13]|Host key verification failed",
)
_checked: Final[set[str]] = set()


@dataclass(frozen=True, slots=True)
class Answer:
    """What git said. ``errors`` is stderr with passwords of URLs masked."""

    code: int
    output: bytes
    errors: str

    @property
    def text(self) -> str:
        """Output as text without the last line end; bytes that are not UTF-8 survive as surrogates."""
        return self.output.decode("utf-8", "surrogateescape").removesuffix("\n")

    @property
    def names(self) -> list[str]:
        """Output of a command with ``-z``."""
        return [one for one in self.output.decode("utf-8", "surrogateescape").split("\0") if one]


class Git:
    """Git for the orchestrator itself. ``environment`` gives PATH, HOME, proxies and the credentials; those reach
    only calls that talk to the remote."""

    def __init__(self, environment: Callable[[], Mapping[str, str]]) -> None:
        self._environment = environment

    def run(
        self,
        repository: Path,
        *arguments: str,
        remote: str | None = None,
        stdin: bytes = b"",
        extra: Mapping[str, str] | None = None,
        accept: Collection[int] = (0,),
        inherit: Sequence[int] = (),
    ) -> Answer:
        """Run ``git <arguments>`` on a bare ``repository``. ``extra`` is environment; ``inherit`` are descriptors that
        git keeps open. An exit code that is not in ``accept`` raises: with ``remote`` (its URL, for the message)
        TransientError or NeedsHumanError, else PermanentError."""
        environment = self._outside(remote=remote is not None)
        self._check_version(environment.get("PATH", _DEFAULT_PATH))
        argv = ["git", *_ALWAYS, f"--git-dir={repository}", *arguments]
        timeout_s = LOCAL_TIMEOUT_S if remote is None else REMOTE_TIMEOUT_S
        answer = _execute(argv, {**environment, **(extra or {})}, stdin, inherit, timeout_s)
        if answer.code not in accept:
            raise remote_error(remote, answer) if remote is not None else _local_error(arguments, answer)
        return answer

    def _outside(self, *, remote: bool) -> dict[str, str]:
        given = self._environment()
        if remote:
            kept = {name: text for name, text in given.items() if not name.startswith("GIT_") or _may_pass(name)}
        else:
            kept = {name: given[name] for name in ("PATH", "HOME", "TMPDIR") if name in given}
        return {"PATH": _DEFAULT_PATH, "GIT_SSH_COMMAND": _SSH, **kept, **_GUARDS}

    @staticmethod
    def _check_version(path: str) -> None:
        if path in _checked:
            return
        answer = _execute(["git", "version"], {"PATH": path, "LC_ALL": "C"}, b"", (), LOCAL_TIMEOUT_S)
        found = re.search(r"(\d+)\.(\d+)", answer.text)
        if found is None or (int(found[1]), int(found[2])) < OLDEST_GIT:
            raise ConfigurationError(f"{answer.text or 'git'} is too old", remedy=_INSTALL)
        _checked.add(path)


def _may_pass(name: str) -> bool:
    return bool(_CREDENTIAL_NAMES.fullmatch(name) or _CONFIG_PAIR.fullmatch(name))


def _execute(
    argv: Sequence[str], environment: Mapping[str, str], stdin: bytes, inherit: Sequence[int], timeout_s: float
) -> Answer:
    try:
        child = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # Ours may be gone by now; every path below is absolute.
            cwd="/",
            pass_fds=inherit,
        )
    except FileNotFoundError as error:
        raise ConfigurationError("git was not found in PATH", remedy=_INSTALL) from error
    except ValueError as error:
        # A NUL byte in an argument; none of ours has one.
        raise UsageError(f"git cannot take this argument: {error}") from error
    except OSError as error:
        raise TransientError(f"git could not be started: {error.strerror}") from error
    with child:
        try:
            output, errors = child.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _end(child)
            raise TransientError(f"git {_verb(argv)} took longer than {timeout_s:.0f} s and was ended") from error
        except BaseException:
            _end(child)
            raise
    return Answer(child.returncode, output, _shown(errors))


def _end(child: subprocess.Popen[bytes]) -> None:
    # The whole group: git's own helpers (ssh, git-remote-https) hold the pipes too.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _shown(errors: bytes) -> str:
    text = errors.decode("utf-8", "replace").strip()
    return " ".join(without_passwords(word) for word in text[-_STDERR_SHOWN:].split(" "))


def _verb(argv: Sequence[str]) -> str:
    return next((word for word in argv[1:] if re.fullmatch(r"[a-z]+(-[a-z]+)*", word)), "")


def remote_error(url: str, answer: Answer) -> TransientError | NeedsHumanError:
    """What a failed call to the remote at ``url`` means: no login, or not reached."""
    said = answer.errors or f"exit code {answer.code}"
    place = without_passwords(url)
    if _NO_LOGIN.search(said):
        return NeedsHumanError(
            f"{place} refused the orchestrator's login: {said}",
            remedy="check the forge token of this project and its rights; `orch doctor` tests them",
        )
    return TransientError(
        f"cannot reach the repository {place}: {said}",
        remedy="check `repository` of the project in orchestrator.yml, the network and the forge",
    )


def _local_error(arguments: Sequence[str], answer: Answer) -> TransientError | PermanentError:
    said = f"git {_verb(('', *arguments))} failed: {answer.errors or f'exit code {answer.code}'}"
    if "No space left on device" in said:
        return TransientError(said, remedy="free space on this node's disk")
    return PermanentError(said)
