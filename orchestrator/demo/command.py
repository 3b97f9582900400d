"""`orch demo`."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.demo.progress import Progress


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="An empty directory to keep; else a temporary one.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the board; else a free one.")
@click.option("--no-browser", is_flag=True, help="Only print the address of the board.")
@click.option("--keep-running", is_flag=True, help="Let the fleet run after the table, until Ctrl-C.")
@click.option("--chaos", is_flag=True, help="kill -9 workers at the worst moments while it runs.")
@click.option("--seed", type=int, default=1, show_default=True, help="Order of the blows of --chaos.")
@click.option("--tracker", type=click.Choice(["local", "plane"]), default="local", help="Where the items live.")
@click.option("--forge", type=click.Choice(["local", "gitea"]), default="local", help="Where the repository lives.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON on stdout.")
def demo(
    data_dir: Path | None,
    port: int | None,
    no_browser: bool,
    keep_running: bool,
    chaos: bool,
    seed: int,
    tracker: str,
    forge: str,
    as_json: bool,
) -> None:
    """A sample project goes to production while you watch: scripted agents, real git, real services, counted effects.

    Exit code 0 when every effect happened exactly once, 1 when not, 3 when interrupted.
    """
    from rich.console import Console

    from orchestrator.demo.progress import Progress
    from orchestrator.demo.result import Result
    from orchestrator.demo.run import Options, tell_story
    from orchestrator.demo.table import as_data, print_result

    console = Console(width=None if sys.stdout.isatty() else 120)

    def at_end(result: Result) -> None:
        progress.close()
        if not as_json:
            print_result(result, console)
        if keep_running:
            progress.say("the fleet runs on; Ctrl-C ends it and everything it started")
            _wait_for_interrupt()

    with _interruptible(), _directory(data_dir) as folder, Progress() as progress:
        options = Options(folder, port, seed if chaos else None, tracker, forge)
        result = tell_story(options, progress, lambda url: _open(url, progress, silent=no_browser or as_json), at_end)
    if as_json:
        click.echo(json.dumps(as_data(result), indent=2))
    for left in result.left_over:
        click.echo(f"still running: {left}", err=True)
    raise click.exceptions.Exit(1 if result.problems or result.left_over else 0)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: everything is cleaned up. Once: the second one must not cut the
    cleaning short."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(3) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _directory(data_dir: Path | None) -> Iterator[Path]:
    """The directory that was named, which stays; else a temporary one, gone at the end."""
    if data_dir is not None:
        yield data_dir.expanduser().absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="orch-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_interrupt() -> None:
    while True:
        try:
            signal.pause()
        except KeyboardInterrupt:
            return


def _open(url: str, progress: Progress, *, silent: bool) -> None:
    progress.say(f"board: {url}")
    if not silent and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(url)
