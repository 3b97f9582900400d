"""``python -m tasks worker …`` and ``python -m tasks beat …``: Celery's own two commands with all their options.

``celery -A tasks worker`` does the same, but first loads every other command with its plugins (Flower, a shell): a
third of the time that a worker needs to take over from one that died.
"""

from __future__ import annotations

import sys
from typing import Final

import click
from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker

from tasks import app

_COMMANDS: Final = {"worker": worker, "beat": beat}


@click.group(commands=_COMMANDS, help=__doc__)
@click.pass_context
def main(context: click.Context) -> None:
    """Give the command what Celery's own command line gives it."""
    context.obj = CLIContext(app=app, no_color=True, workdir=None, quiet=False)


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m tasks"))
