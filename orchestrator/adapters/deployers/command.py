"""The ``command`` driver: a configured command brings the version up, an HTTP answer says which one answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from orchestrator.adapters.deployers import detach
from orchestrator.adapters.deployers.deploy_commands import DeployCommands
from orchestrator.adapters.deployers.deploy_files import DeployFiles
from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.deploy_repair import CommandState
from orchestrator.domain.errors import TransientError
from orchestrator.ports import DeployRequest, Host, Observation

DEPLOYER: Final = (sys.executable, "-P", "-m", "orchestrator.deploy_main")
"""-P: what lies in the current directory is not imported."""
_DETACH_S: Final = 20.0  # far more than a fork takes on a machine that swaps
_ANSWER_S: Final = 5.0  # a health answer that takes longer is no health
_CONNECT_S: Final = 2.0
_LARGEST_ANSWER: Final = 64 * 1024
_SHOWN: Final = 300


class CommandDeployer:
    """``ports.Deployer`` on this node, with files in ``<data_dir>/deploys``.

    ``environment`` is the whole environment of the detached deployer: the basic one and the ``ORCH_*`` settings, which
    it needs for the database. The configured command gets none of those.
    """

    def __init__(
        self, data_dir: Path, host: Host, environment: Mapping[str, str], program: Sequence[str] = DEPLOYER
    ) -> None:
        self._files = DeployFiles(data_dir)
        self._commands = DeployCommands(self._files, host)
        self._environment = dict(environment)
        self._program = tuple(program)

    def launch(self, request: DeployRequest) -> None:
        """Start the detached deployer; it wins the row or leaves, so twice is harmless.

        Raises TransientError when it could not be started, OSError when its files cannot be written.
        """
        self._files.write_spec(request.deployment_id, self._spec(request))
        log = self._files.open_log(request.deployment_id)
        argv = [sys.executable, "-I", "-S", str(detach.__file__), *self._program, str(request.deployment_id)]
        try:
            first = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._environment,
                start_new_session=True,
            )
            code = first.wait(_DETACH_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TransientError(f"the deployer of {request.deployment_id} was not started: {error}") from error
        finally:
            os.close(log)
        if code:
            said = self._files.tail(request.deployment_id, _SHOWN)
            raise TransientError(f"the deployer of {request.deployment_id} left with {code}: {said}")

    def _spec(self, request: DeployRequest) -> DeploySpec:
        """What the deployer is told; drivers with a command of their own put it in here."""
        return request.spec

    def observe(self, spec: DeploySpec) -> Observation:
        """What answers at ``health_url`` now. No answer is an observation too: this raises nothing."""
        if not spec.health_url:
            return Observation(None, False, "there is no health_url: nothing tells which version answers")
        try:
            # Not the proxy of the environment: what is deployed stands near, most of all on loopback.
            with httpx.Client(trust_env=False, timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)) as client:
                return _read_answer(client, spec.health_url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Observation(None, False, f"{spec.health_url}: {type(error).__name__}: {_plain(str(error))}")

    def command_state(self, deployment_id: int) -> CommandState:
        """What this node knows of that deployment's command."""
        return self._commands.state(deployment_id)

    def end_command(self, deployment_id: int) -> bool:
        """End that command on this node and see it dead; True also when it had ended."""
        return self._commands.end(deployment_id)


def _read_answer(client: httpx.Client, url: str) -> Observation:
    body, deadline = bytearray(), time.monotonic() + _ANSWER_S
    with client.stream("GET", url, headers={"Accept": "application/json"}) as answer:
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > _LARGEST_ANSWER or time.monotonic() > deadline:
                return Observation(None, False, f"{url}: {answer.status_code}, an answer too long or too slow")
    version = _version(bytes(body))
    what = f"version {version}" if version else f"no version in {_plain(body.decode('utf-8', 'replace'))!r}"
    return Observation(version, answer.is_success, f"{url}: {answer.status_code}, {what}")


def _version(body: bytes) -> str | None:
    """The member ``version`` of a JSON object, when it is text."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    version = document.get("version") if isinstance(document, dict) else None
    return _plain(version) or None if isinstance(version, str) else None


def _plain(text: str) -> str:
    """Text of others, short and storable: one line, no control characters, no half characters."""
    storable = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(one if one.isprintable() else " " for one in storable[:_SHOWN]).strip()
