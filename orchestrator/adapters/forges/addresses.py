"""Where a forge's repository is: from `repository` of a project and the forge's URL to the addresses for API and git.

The token goes to the forge's own host only, so a repository elsewhere is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.domain.errors import ConfigurationError
from orchestrator.secret import Secret, without_passwords


@dataclass(frozen=True, slots=True)
class Address:
    """One repository. ``web`` is the forge's URL without a last slash."""

    web: str
    owner: str
    name: str

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def clone_url(self) -> str:
        return f"{self.web}/{self.owner}/{self.name}.git"


def address_of(project: str, repository: str, forge_url: str, setting: str) -> Address:
    """The repository at ``repository``, which must lie under ``forge_url`` (what ``setting`` says).

    Raises ConfigurationError.
    """
    web = forge_url.rstrip("/")
    inside = repository.removesuffix("/").removesuffix(".git")
    if not inside.lower().startswith(f"{web.lower()}/"):
        raise ConfigurationError(
            f"project {project}: `repository` {without_passwords(repository)} is not at {setting} ({web})",
            remedy=f"write it as {web}/OWNER/NAME.git: the token is sent to that host alone",
        )
    words = inside[len(web) + 1 :].split("/")
    if len(words) != 2 or not all(words):
        raise ConfigurationError(
            f"project {project}: `repository` {repository} does not name an owner and a repository",
            remedy=f"write it as {web}/OWNER/NAME.git",
        )
    return Address(web, *words)


def git_login(address: Address, user: str, token: Secret) -> Mapping[str, str]:
    """Environment by which git logs in at this forge: no command line, no file and no other host sees the token."""
    origin = urlsplit(address.web)
    basic = base64.b64encode(f"{user}:{token.reveal()}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"http.{origin.scheme}://{origin.netloc}/.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        # A redirect would take the header along.
        "GIT_CONFIG_KEY_1": "http.followRedirects",
        "GIT_CONFIG_VALUE_1": "false",
    }
