"""Logging of every process: JSON lines for programs, plain lines on a terminal, no secret in either.

Secrets are masked in the finished line, so that messages, arguments, extra fields and tracebacks are all covered.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Final, TextIO
from urllib.parse import quote

from orchestrator.secret import MASK

SHORTEST_MASKED: Final = 4
"""Shorter secrets are not looked for: they would blot out parts of every line."""

_FIELDS: Final = ("work_item", "task_id", "actor")
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", *_FIELDS}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_NOTHING: Final[Mapping[str, str | int]] = MappingProxyType({})
_context: ContextVar[Mapping[str, str | int]] = ContextVar("orchestrator_log_context", default=_NOTHING)
_secrets: Final[set[str]] = set()
_changing: Final = threading.Lock()
_pattern: re.Pattern[str] | None = None


def set_up(
    *, level: str = "INFO", style: str = "auto", secrets: tuple[str, ...] = (), stream: TextIO | None = None
) -> None:
    """Make the root logger write to ``stream`` (stderr). ``style``: auto, json or text; auto is text on a terminal.

    Uncaught exceptions and warnings go the same way. Calling it again replaces what the last call made.
    """
    hide(*secrets)
    target = stream if stream is not None else sys.stderr
    as_text = style == "text" or (style == "auto" and target.isatty())
    handler = _MaskingHandler(target)
    handler.setFormatter(_Lines() if as_text else _Json())
    handler.addFilter(_add_context)
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, _MaskingHandler)] + [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def hide(*secrets: str) -> None:
    """From now on these texts are masked, also in the spellings of JSON, repr and URLs."""
    global _pattern  # noqa: PLW0603  # one process, one set of secrets
    with _changing:
        _secrets.update(secret for secret in secrets if len(secret) >= SHORTEST_MASKED)
        spelled = {spelling for secret in _secrets for spelling in spellings(secret)}
        # Longest first: a secret that contains another one must not leave its rest behind.
        ordered = sorted(spelled, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None


def masked(text: str) -> str:
    """``text`` without any known secret; for pages, events and messages to people too."""
    return _pattern.sub(MASK, text) if _pattern is not None else text


@contextlib.contextmanager
def about(*, work_item: str | None = None, task_id: int | None = None, actor: str | None = None) -> Iterator[None]:
    """Lines logged inside carry these fields; those of an outer ``about`` stay where nothing new is given."""
    given = {"work_item": work_item, "task_id": task_id, "actor": actor}
    token = _context.set({**_context.get(), **{name: value for name, value in given.items() if value is not None}})
    try:
        yield
    finally:
        _context.reset(token)


def spellings(secret: str) -> tuple[str, ...]:
    """How a secret may be written: as it is, by ``%r``, in a URL; and each of them inside a JSON text."""
    bare = (secret, repr(secret)[1:-1], quote(secret, safe=""))
    quoted = (json.dumps(one, ensure_ascii=ascii_only)[1:-1] for one in bare for ascii_only in (True, False))
    return (*bare, *quoted)


def _add_context(record: logging.LogRecord) -> bool:
    for name, value in _context.get().items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


class _MaskingHandler(logging.StreamHandler[TextIO]):
    """Masks the finished line; a line that cannot be written is lost without a word of its content."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        # The library would print the arguments, unmasked. A broken pipe must not stop the work either.
        with contextlib.suppress(OSError, ValueError):
            kind = sys.exc_info()[0]
            name = kind.__name__ if kind else "error"
            self.stream.write(f"a log call of {record.pathname}:{record.lineno} failed: {name}\n")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": moment,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        # What an agent printed must not move the cursor, and must not look like a line of ours.
        message = _CONTROL.sub("?", record.getMessage()).replace("\n", "\n    ")
        fields = " ".join(f"{name}={_CONTROL.sub('?', str(value))}" for name, value in _fields_of(record).items())
        line = f"{moment} {record.levelname.lower():<8}{message}{'  ' + fields if fields else ''}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Fields of the context, then those that the call gave by ``extra``."""
    given = vars(record)
    found = {name: given[name] for name in _FIELDS if given.get(name) is not None}
    return {**found, **{name: value for name, value in given.items() if name not in _STANDARD}}


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("orchestrator").critical("uncaught %s", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None:
        _log_uncaught(what.exc_type, what.exc_value, what.exc_traceback)
