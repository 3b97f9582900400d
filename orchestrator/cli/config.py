"""`orch config`: check both files, show the settings, print the schemas."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import exits, session
from orchestrator.cli.output import answer, as_text, columns, json_option, printable
from orchestrator.domain.errors import ConfigurationError
from orchestrator.settings import describe


@click.group()
def config() -> None:
    """Configuration: the operator's file, a repository's file, the environment."""


@config.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@json_option
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Check orchestrator.yml, or FILES (one called .orchestrator.yml is a repository's); exit code 2 on a mistake."""
    chosen = files or (session.settings().config_path,)
    problems = [line for path in chosen for line in _problems(path)]
    lines = [printable(line) for line in problems] or [f"{path}: good" for path in chosen]
    answer({"files": [str(path) for path in chosen], "problems": problems}, lines, as_json=as_json)
    if problems:
        raise click.exceptions.Exit(exits.WRONG_USE)


def _problems(path: Path) -> list[str]:
    from orchestrator import project_config

    of_repository = path.name.endswith(project_config.REPOSITORY_FILE)
    parse = project_config.parse_repository_config if of_repository else project_config.parse_operator_config
    try:
        parse(path.read_bytes(), str(path))
    except OSError as error:
        return [f"{path}: cannot be read: {error.strerror}: `orch init` writes a commented one"]
    except ConfigurationError as error:
        return error.problems
    return []


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Show every setting, its value (secrets masked) and where it comes from."""
    rows = describe(session.settings())
    data = [{"name": name, "value": value, "source": source} for name, value, source in rows]
    answer(data, columns(rows, ("SETTING", "VALUE", "SOURCE")), as_json=as_json)


@config.command()
@click.option("--repository", is_flag=True, help="The schema of a repository's .orchestrator.yml.")
@json_option
def schema(repository: bool, as_json: bool) -> None:
    """Print the JSON Schema of orchestrator.yml, for editors."""
    from orchestrator import project_config

    click.echo(as_text(project_config.repository_schema() if repository else project_config.operator_schema()))
