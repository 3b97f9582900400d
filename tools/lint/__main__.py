"""``python -m tools.lint [ROOT]`` prints each finding on a line; exit 1 when there is one, 2 on wrong use."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.lint.run import PROGRAM, findings


def main(arguments: list[str]) -> int:
    root = Path(arguments[0] if arguments else ".").resolve()
    if not (root / PROGRAM[0]).is_dir():
        print(f"{root} holds no {PROGRAM[0]}/: run this from the project's root", file=sys.stderr)
        return 2
    found = findings(root)
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
