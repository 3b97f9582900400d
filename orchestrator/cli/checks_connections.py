"""Doctor's checks of trackers and forges: rights, not presence; and whether their webhooks arrive here, signed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.cli.findings import Finding, Health, guarded
from orchestrator.domain.errors import ConfigurationError
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.domain.configuration import ProjectConfig
    from orchestrator.ports import Checked

SECRETS: Final = {"plane": "plane_webhook_secret", "gitea": "gitea_webhook_secret", "github": "github_webhook_secret"}
_KNOCK_S: Final = 5.0


def findings(settings: Settings, *, fleet_runs: bool) -> Iterator[Finding]:
    """Of each configured project; a configuration that cannot be read is told elsewhere."""
    from orchestrator.project_config import operator_config_file

    try:
        config, _ = operator_config_file(settings.config_path).current()
    except ConfigurationError:
        return
    sources = set()
    for project in config.projects:
        # Each alone: a tracker that is not set up yet hides nothing of the forge.
        for side, look in (("tracker", _of_tracker), ("forge", _of_forge)):
            yield from guarded(f"{project.key} {side}", "look at it", partial(look, settings, project))
        sources |= {project.tracker, project.forge} & set(SECRETS)
    for source in sorted(sources):
        yield from _arrives(settings, source, fleet_runs=fleet_runs)


def _of_tracker(settings: Settings, project: ProjectConfig) -> Iterator[Finding]:
    from orchestrator import bootstrap

    setup = bootstrap.build_tracker_setup(settings, project)
    if setup is not None:
        yield from as_findings(setup.check(settings.hook_url(project.tracker)))


def _of_forge(settings: Settings, project: ProjectConfig) -> Iterator[Finding]:
    from orchestrator import bootstrap

    setup = bootstrap.build_forge_setup(settings, project)
    if setup is not None:
        yield from as_findings(setup.check(settings.hook_url(project.forge)))


def as_findings(checked: Sequence[Checked]) -> Iterator[Finding]:
    """What a setup found, as the doctor's own."""
    for one in checked:
        health = Health.GOOD if one.good else Health.WARNING if one.mild else Health.BAD
        yield Finding(one.part, one.tried, one.got, health, one.mend)


def _arrives(settings: Settings, source: str, *, fleet_runs: bool) -> Iterator[Finding]:
    """Knock at the address that senders are given, with a wrong signature: this web refuses it in its own words, so
    the address leads here, the secret is set, and unsigned deliveries do not get in. Nothing is kept."""
    import httpx

    part, url = f"{source} webhooks", settings.hook_url(source)
    tried = f"knock at {url} with a wrong signature"
    if getattr(settings, SECRETS[source]) is None:
        mend = f"set ORCH_{source.upper()}_WEBHOOK_SECRET_FILE: without it every delivery is refused"
        yield Finding(part, "look for the secret", "none", Health.BAD, mend)
        return
    if not fleet_runs:
        yield Finding(part, tried, "not tried: no fleet runs here", Health.WARNING, "`orch up`, then look again")
        return
    try:
        answer = httpx.post(url, content=b"{}", headers={"Content-Type": "application/json"}, timeout=_KNOCK_S)
    except httpx.HTTPError as error:
        mend = "set ORCH_PUBLIC_URL to the address by which this web is reached from outside"
        yield Finding(part, tried, f"no answer: {error}", Health.BAD, mend)
        return
    refused = answer.status_code == httpx.codes.UNAUTHORIZED and "ignature is missing or wrong" in answer.text
    if refused:
        yield Finding(part, tried, "refused, as it should be: the address leads here and unsigned ones stay out")
    else:
        mend = "ORCH_PUBLIC_URL must lead to this web, through every proxy before it"
        yield Finding(part, tried, f"somebody else answers ({answer.status_code})", Health.BAD, mend)
