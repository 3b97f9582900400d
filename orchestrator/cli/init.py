"""`orch init`: commented configuration files, never over one that is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from orchestrator.cli import session
from orchestrator.cli.output import answer, json_option

EXAMPLE: Final = "example.orchestrator.yml"


@click.command()
@click.option("--key", default="DEMO", show_default=True, help="What the keys of work items begin with.")
@click.option(
    "--repository", default="repositories/demo.git", show_default=True, help="Address or path of the repository."
)
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where to write.")
@json_option
def init(key: str, repository: str, directory: Path, as_json: bool) -> None:
    """Write a commented orchestrator.yml, and an example of a repository's .orchestrator.yml beside it."""
    from orchestrator import project_config

    session.settings()
    text = project_config.example_operator_config(key=key, repository=repository)
    project_config.parse_operator_config(text.encode(), str(directory / "orchestrator.yml"))
    directory.mkdir(parents=True, exist_ok=True)
    files = {"orchestrator.yml": text, EXAMPLE: project_config.example_repository_config()}
    written = {str(directory / name): _write_new(directory / name, content) for name, content in files.items()}
    lines = [f"{name}: {'written' if new else 'is there already, left as it is'}" for name, new in written.items()]
    lines.append(f"next: name your repository and your agents in it, commit {EXAMPLE} to the repository as")
    lines.append(".orchestrator.yml after making it its own, then `orch config check` and `orch doctor`")
    answer({"files": [{"path": name, "written": new} for name, new in written.items()]}, lines, as_json=as_json)


def _write_new(path: Path, text: str) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return True
