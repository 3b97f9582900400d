"""The words in the commit message of a lane's merge: by them people, and an audit, find whose merge it is."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.domain.views import TaskView

TRAILER: Final = "Orchestrator-Effect"
_LONGEST_TITLE: Final = 100
_TRAILER_LINE: Final = re.compile(rf"{TRAILER}: (?P<task>\d+)/(?P<visit>\d+)/merge_pr")


def merge_message(view: TaskView) -> str:
    """Message of the merge commit that is built for this visit. The same view gives the same text.

    The title was written by others: it is one line, so it cannot bring a trailer of its own.
    """
    title = " ".join("".join(one if one.isprintable() else " " for one in view.title).split())
    subject = f"Merge {view.work_item}: {title[:_LONGEST_TITLE]}".rstrip(": ")
    return f"{subject}\n\n{TRAILER}: {view.task_id}/{view.visit}/merge_pr\n"


def merge_of(message: str) -> tuple[int, int] | None:
    """(task id, visit) of the lane merge that the last line of ``message`` names; None when it names none.

    Anybody can write such a line. Whether a commit is one that we built, only the ledger says.
    """
    lines = message.rstrip().splitlines()
    found = _TRAILER_LINE.fullmatch(lines[-1]) if lines else None
    return None if found is None else (int(found["task"]), int(found["visit"]))
