"""The whole environment of an agent: a list of what it gets, not of what it is denied.

Git is cut off from what the user of this machine has stored: an agent commits, it neither pushes nor fetches.
That is a fence against accident; what an agent must not have is not on this machine's account in the first place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.adapters.run_directory import MARKER
from orchestrator.domain.configuration import AgentSpec
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.stages import Stage

GIT_CUT_OFF: Final[Mapping[str, str]] = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "credential.helper",
    "GIT_CONFIG_VALUE_0": "",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "SSH_AUTH_SOCK": "",
    "GIT_ALLOW_PROTOCOL": "file",
}
"""Git fails at once where it would ask for a password, and speaks to no other machine."""

_SECRET: Final = re.compile(r"ORCH_(DATABASE_URL|BROKER_URL|.*(TOKEN|SECRET|API_KEY|PASSWORD)(_FILE)?)")


def agent_environment(
    *,
    run_id: str,
    stage: Stage,
    run_dir: Path,
    search_path: str,
    additions: Mapping[str, str],
    credentials: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """The complete environment of one run. ``additions`` come from the configuration and may replace anything but
    the marker by which the run's processes are found; ``credentials`` are the agent's own. Raises ConfigurationError
    for a secret of the orchestrator."""
    if refused := sorted(name for name in (*additions, *credentials) if _SECRET.fullmatch(name)):
        raise ConfigurationError(
            [
                f"agents.{stage}.environment.{name}: belongs to the orchestrator, an agent never gets it"
                for name in refused
            ]
        )
    return {
        "PATH": f"{run_dir / 'bin'}:{search_path}",
        "HOME": str(run_dir / "home"),
        "TMPDIR": str(run_dir / "tmp"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **GIT_CUT_OFF,
        **additions,
        **credentials,
        MARKER: run_id,
    }


def read_credentials(spec: AgentSpec, stage: Stage) -> dict[str, str]:
    """The agent's own secrets, from their files, by variable. Raises ConfigurationError for one that cannot be read."""
    found = {}
    for name, file in spec.credentials.items():
        try:
            found[name] = Path(file).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"agents.{stage}.credentials.{name}: {file} cannot be read ({error})",
                remedy="give a file that holds only the secret, readable for the workers",
            ) from error
    return found
