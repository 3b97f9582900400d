"""``python -m benchmarks``: prints every figure; exit 1 when one breaks its promise."""

from __future__ import annotations

import sys

from benchmarks import audit, start_up, takeover


def main() -> int:
    measured = []
    for source in (start_up, takeover, audit):
        for figure in source.figures():
            print(figure, flush=True)
            measured.append(figure)
    return 0 if all(figure.keeps_promise for figure in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
