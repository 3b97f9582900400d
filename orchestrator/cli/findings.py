"""What `orch doctor` finds: one value a check, with what was tried, what came of it, and the mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.errors import OrchestratorError


class Health(StrEnum):
    """Good; worth a look; or something that will not work."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. ``mend`` is empty when there is nothing to do."""

    part: str
    tried: str
    got: str
    health: Health = Health.GOOD
    mend: str = ""


def guarded(part: str, tried: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of ``check``; what it raises is a finding too, so that one broken part hides no other."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield from check()
    except OrchestratorError as error:
        yield Finding(part, tried, error.message, Health.BAD, error.remedy)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        yield Finding(part, tried, f"{where}{error.strerror or error}", Health.BAD)
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        yield Finding(part, tried, cause, Health.BAD, "see that the database runs and is the orchestrator's own")
