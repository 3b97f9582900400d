"""`orch completion SHELL`."""

from __future__ import annotations

import click

from orchestrator.cli.output import answer, json_option


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def completion(shell: str, as_json: bool) -> None:
    """Print the completion script for SHELL: eval "$(orch completion bash)"."""
    from click.shell_completion import get_completion_class

    from orchestrator.cli.commands import orch

    found = get_completion_class(shell)
    assert found is not None  # the choice names only what click has
    source = found(orch, {}, "orch", "_ORCH_COMPLETE").source()
    answer({"shell": shell, "script": source}, [source], as_json=as_json)
