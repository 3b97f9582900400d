"""`orch init`: commented configuration files, never over one that is there; and a project connected to its forge."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import exits, session
from orchestrator.cli.output import answer, json_option, printable
from orchestrator.domain.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.ports import Checked, ForgeSetup
    from orchestrator.settings import Settings

EXAMPLE: Final = "example.orchestrator.yml"
_TRACKERS: Final = ("local", "plane")
_REPOSITORIES: Final = {
    "local": "repositories/demo.git",
    "gitea": "https://git.example.org/team/demo.git",
    "github": "https://github.com/team/demo.git",
}
"""By forge: what stands in the file until a person names his own. One of a server lies under the server's address."""
_FORGES: Final = tuple(_REPOSITORIES)
_ROUND_TRIP_S: Final = 10.0
_POLL_S: Final = 0.2
_SETTINGS: Final = {
    "plane": ("ORCH_PLANE_URL", "ORCH_PLANE_API_KEY_FILE", "ORCH_PLANE_WEBHOOK_SECRET_FILE"),
    "gitea": ("ORCH_GITEA_URL", "ORCH_GITEA_TOKEN_FILE", "ORCH_GITEA_WEBHOOK_SECRET_FILE"),
    "github": ("ORCH_GITHUB_TOKEN_FILE", "ORCH_GITHUB_WEBHOOK_SECRET_FILE"),
}
"""What has to be set for each, beside the file; secrets stand in files of their own."""


@click.command()
@click.option("--key", help="What the keys of work items begin with.  [default: DEMO]")
@click.option("--repository", help="Address or path of the repository.  [default: an example that fits the forge]")
@click.option("--tracker", type=click.Choice(_TRACKERS), help="Where work items live.  [default: local]")
@click.option("--forge", type=click.Choice(_FORGES), help="Where pull requests live.  [default: local]")
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where to write.")
@click.option("--connect", metavar="PROJECT", help="Prepare the forge of a configured project instead: hook, merges.")
@click.option(
    "--admin-token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="With --connect: a file with an administrator's token, used now and kept nowhere.",
)
@json_option
def init(
    key: str | None,
    repository: str | None,
    tracker: str | None,
    forge: str | None,
    directory: Path,
    connect: str | None,
    admin_token_file: Path | None,
    as_json: bool,
) -> None:
    """Write a commented orchestrator.yml, and an example of a repository's .orchestrator.yml beside it.

    On a terminal it asks for what no option names. With --connect it makes the webhook of a project's forge and allows
    the merges that are needed; repeating it changes nothing.
    """
    found = session.settings()
    if connect is not None:
        _connect(found, connect, admin_token_file, as_json=as_json)
        return
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    key = key or _asked("What do the keys of its work items begin with", "DEMO", asks=asks)
    tracker = tracker or _asked("Where do work items live", "local", _TRACKERS, asks=asks)
    forge = forge or _asked("Where do pull requests live", "local", _FORGES, asks=asks)
    repository = repository or _asked("Address or path of the git repository", _REPOSITORIES[forge], asks=asks)
    _write(directory, key=key, repository=repository, tracker=tracker, forge=forge, as_json=as_json)


def _asked(question: str, default: str, choices: tuple[str, ...] = (), *, asks: bool) -> str:
    if not asks:
        return default
    return str(click.prompt(question, default=default, type=click.Choice(choices) if choices else str, err=True))


def _write(directory: Path, *, key: str, repository: str, tracker: str, forge: str, as_json: bool) -> None:
    from orchestrator import project_config

    text = project_config.example_operator_config(key=key, repository=repository, tracker=tracker, forge=forge)
    project_config.parse_operator_config(text.encode(), str(directory / "orchestrator.yml"))
    directory.mkdir(parents=True, exist_ok=True)
    files = {"orchestrator.yml": text, EXAMPLE: project_config.example_repository_config()}
    written = {str(directory / name): _write_new(directory / name, content) for name, content in files.items()}
    lines = [f"{name}: {'written' if new else 'is there already, left as it is'}" for name, new in written.items()]
    steps = list(_next_steps(key, tracker, forge))
    answer(
        {"files": [{"path": name, "written": new} for name, new in written.items()], "next": steps},
        [*lines, "next:", *(f"  {number}. {step}" for number, step in enumerate(steps, 1))],
        as_json=as_json,
    )


def _next_steps(key: str, tracker: str, forge: str) -> Iterator[str]:
    yield "name your repository and your agents in orchestrator.yml"
    yield f"make {EXAMPLE} your own and commit it to the repository's base branch as .orchestrator.yml"
    for source in dict.fromkeys((tracker, forge)):
        if source in _SETTINGS:
            yield f"set {', '.join(_SETTINGS[source])}; docs/{source}.md tells where each comes from"
    if {tracker, forge} != {"local"}:
        yield "set ORCH_PUBLIC_URL to the address by which they reach this web"
    if forge != "local":
        yield f"`orch init --connect {key} --admin-token-file FILE` makes the webhook of the forge"
    yield "`orch config check`, then `orch doctor`: every part, what was tried, and the mend"


def _write_new(path: Path, text: str) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def _connect(settings: Settings, key: str, admin_token_file: Path | None, *, as_json: bool) -> None:
    from orchestrator import bootstrap
    from orchestrator.project_config import operator_config_file
    from orchestrator.secret import Secret

    config, _ = operator_config_file(settings.config_path).current()
    project = config.project(key)
    if project is None:
        raise UsageError(f"{settings.config_path}: project {key} is not configured", remedy="name a project of it")
    admin = Secret(admin_token_file.read_text(encoding="utf-8").strip()) if admin_token_file else None
    setup = bootstrap.build_forge_setup(settings, project, admin)
    if setup is None:
        raise UsageError(f"the forge {project.forge} of {key} needs no connecting", remedy="`orch doctor` checks it")
    hook_url = settings.hook_url(project.forge)
    done = list(setup.prepare(hook_url))
    if all(one.good for one in done):
        done += _round_trip(settings, setup, project.forge, hook_url)
    answer(done, _told(done), as_json=as_json)
    if not all(one.good or one.mild for one in done):
        raise click.exceptions.Exit(exits.FAILED)


def _round_trip(settings: Settings, setup: ForgeSetup, source: str, hook_url: str) -> Iterator[Checked]:
    """Have the forge send a delivery now, and see it in the inbox: address, signature and way are right then.

    A delivery that says the same as an earlier one is kept once, so not hearing it is no proof of the opposite.
    """
    from orchestrator.domain.errors import TransientError
    from orchestrator.ports import Checked
    from orchestrator.store import inbox, nodes

    part, tried = f"{source} round trip", f"have a delivery sent to {hook_url}"
    try:
        store = session.store(settings)
    except TransientError:
        yield Checked(
            part, tried, "not tried: no fleet runs", good=False, mild=True, mend="`orch up`, then connect again"
        )
        return
    with store.snapshot() as connection:
        began = nodes.database_time(connection)
    sent, heard, deadline = setup.ping(hook_url), False, time.monotonic() + _ROUND_TRIP_S
    while sent and not heard and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        with store.snapshot() as connection:
            heard = inbox.heard_since(connection, source, began)
    if heard:
        yield Checked(part, tried, "it arrived, signed")
    else:
        mend = "see the deliveries of the webhook at the forge, and `orch doctor`; the same one is kept only once"
        yield Checked(part, tried, f"nothing new came in {_ROUND_TRIP_S:.0f} s", good=False, mild=True, mend=mend)


def _told(done: list[Checked]) -> Iterator[str]:
    for one in done:
        yield printable(f"{'ok  ' if one.good else 'BAD '}  {one.part}: {one.tried}: {one.got}")
        if one.mend:
            yield printable(f"        {one.mend}")
