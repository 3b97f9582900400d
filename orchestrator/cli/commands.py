"""The table of commands. Only the chosen one is imported, so that `orch --help` answers at once."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Final

import click

_GROUPS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Start": {
        "demo": ("orchestrator.demo.command:demo", "A sample project goes to production while you watch."),
        "up": ("up:up", "Run the whole fleet on this machine."),
        "init": ("init:init", "Write a commented configuration."),
        "doctor": ("doctor:doctor", "Check every part and print the mend."),
    },
    "Work items": {
        "add": ("items:add", "Add a work item to the built-in tracker."),
        "status": ("items:status", "The board, or one item."),
        "why": ("items:why", "Every reason why an item is not further."),
        "log": ("history:log", "What happened to an item."),
        "effects": ("history:effects", "What was done to the outside world for an item."),
        "prompt": ("agents:prompt", "What the agent of an item is told."),
        "output": ("agents:output", "What the agent of an item prints, readable."),
        "wait": ("watching:wait", "Block until an item reaches a stage."),
        "top": ("watching:top", "The board, live."),
    },
    "Decide about an item": {
        "stop": ("acts:stop", "End its agent, take back what can be taken back."),
        "retry": ("acts:retry", "Let a parked item try again."),
        "approve": ("acts:approve", "Let an item go to production."),
        "reject": ("acts:reject", "Send an item back, saying why."),
        "release-lease": ("acts:release_lease", "Take an item's lease away by force."),
    },
    "Levers": {
        "pause": ("levers:pause", "Start nothing new, everywhere or in one project."),
        "resume": ("levers:resume", "Undo a pause."),
        "drain": ("levers:drain", "Let a node take nothing new."),
        "panic": ("levers:panic", "No new effect anywhere, at once."),
        "lane": ("levers:lane", "The merge lanes: list, pause, resume."),
        "deploy": ("deploys:deploy", "Deployments: list, rollback."),
        "worker": ("levers:worker", "The nodes and their workers."),
    },
    "Audit and set up": {
        "verify": ("verify:verify", "Compare ledger, history, git and deployments; list each breach."),
        "config": ("config:config", "Configuration: check, show, schema."),
        "db": ("database:db", "The database: upgrade."),
        "completion": ("completion:completion", "Completion for your shell."),
        "verdict": ("verdict:verdict", "For agents: file the verdict of a run."),
    },
}
_TABLE: Final = {name: row for group in _GROUPS.values() for name, row in group.items()}


class _Commands(click.Group):
    """Commands by name, imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _TABLE:
            return None
        module, _, attribute = _TABLE[cmd_name][0].partition(":")
        place = module if "." in module else f"orchestrator.cli.{module}"
        command: click.Command = getattr(import_module(place), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _TABLE:
            near = get_close_matches(args[0], _TABLE, n=1)
            hint = f" Did you mean {near[0]}?" if near else " `orch --help` lists them."
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, about) for name, (_place, about) in commands.items()], col_spacing=4)


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(version("orchestrator"))
        ctx.exit()


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
)
def orch() -> None:
    """Take work items from the tracker to production: agents work, gates judge, each effect is done once.

    Answers go to stdout (as JSON with --json), progress and errors to stderr. Exit codes: 0 done, 1 failed,
    2 wrong use, 3 cancelled or timed out, 4 not allowed, 6 changed under you, 7 waits for a person, 8 pending.
    """
