"""``python -m tests.chaos --minutes 3 --seed 1 [--json FILE] [--data-dir DIR] [--print-plan]``.

Exit code 0 when no invariant was broken, 1 when one was, 3 when interrupted. On a violation or an interrupt the data
directory stays and is named; a good run leaves nothing, unless ``--data-dir`` named a place for it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.chaos import report as reports
from tests.chaos.plan import lines, plan_faults
from tests.chaos.run import Options, run


def main() -> int:
    """See the module."""
    chosen = _arguments()
    if chosen.print_plan:
        print("\n".join(lines(plan_faults(chosen.seed, chosen.minutes))))
        return 0
    data_dir = chosen.data_dir or Path(tempfile.mkdtemp(prefix="orch-chaos-")) / "data"
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", file=sys.stderr, flush=True)

    try:
        with _interruptible():
            found = run(Options(chosen.seed, chosen.minutes, data_dir.absolute()), say)
    except KeyboardInterrupt:
        print(f"interrupted; what there is stays in {data_dir}", file=sys.stderr)
        return 3
    except BaseException:
        print(f"failed; what there is stays in {data_dir}", file=sys.stderr)
        raise
    print("\n".join(reports.lines(found)))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(reports.as_data(found), indent=2) + "\n")
    if found.violations:
        print(f"the evidence is kept in {data_dir}")
    elif chosen.data_dir is None:
        shutil.rmtree(data_dir.parent, ignore_errors=True)
    return 1 if found.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="The real fleet under a seeded adversary."
    )
    parser.add_argument("--minutes", type=float, default=3.0, help="of faults; coming to rest takes some more")
    parser.add_argument("--seed", type=int, default=1, help="one seed, one schedule of faults and one stream of items")
    parser.add_argument("--json", type=Path, help="write the report there as well")
    parser.add_argument("--data-dir", type=Path, help="an empty directory to keep; else a temporary one")
    parser.add_argument("--print-plan", action="store_true", help="show the schedule of faults and do nothing")
    return parser.parse_args()


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the run as Ctrl-C does. Once: the second one must not cut the cleaning short."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
