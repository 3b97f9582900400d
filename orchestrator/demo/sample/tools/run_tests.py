"""Runs the tests and leaves ``coverage.xml`` (Cobertura): which lines of ``shop/`` they ran. Standard library only."""

import sys
import threading
import types
import unittest
from pathlib import Path
from xml.sax.saxutils import quoteattr

ROOT = Path(__file__).resolve().parent.parent
SHOP = str(ROOT / "shop") + "/"
ran: set[tuple[str, int]] = set()


def trace(frame, event, _argument):
    if not frame.f_code.co_filename.startswith(SHOP):
        return None
    if event == "line":
        ran.add((frame.f_code.co_filename, frame.f_lineno))
    return trace


def lines_of(code: types.CodeType) -> set[int]:
    """Every line of a module that can run."""
    found = {line for _start, _end, line in code.co_lines() if line}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            # The line of the definition belongs to what is around it.
            found |= lines_of(constant) - {constant.co_firstlineno}
    return found


def report() -> str:
    total, hit, classes = 0, 0, []
    for path in sorted((ROOT / "shop").rglob("*.py")):
        lines = sorted(lines_of(compile(path.read_text(), str(path), "exec")))
        total += len(lines)
        hit += sum((str(path), line) in ran for line in lines)
        body = "".join(f'<line number="{n}" hits="{int((str(path), n) in ran)}"/>' for n in lines)
        name = quoteattr(str(path.relative_to(ROOT)))
        classes.append(f"<class name={name} filename={name}><lines>{body}</lines></class>")
    rate = hit / total if total else 1.0
    return (
        f'<?xml version="1.0"?>\n<coverage line-rate="{rate:.6f}" lines-covered="{hit}" lines-valid="{total}">'
        f'<packages><package name="shop" line-rate="{rate:.6f}"><classes>{"".join(classes)}</classes></package>'
        f"</packages></coverage>\n"
    )


def main() -> int:
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    threading.settrace(trace)
    sys.settrace(trace)
    suite = unittest.defaultTestLoader.discover(str(ROOT / "tests"), top_level_dir=str(ROOT))
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    sys.settrace(None)
    (ROOT / "coverage.xml").write_text(report())
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
