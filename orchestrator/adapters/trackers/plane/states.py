"""Which state of a Plane project is which of ours. Names are free and people rename them, so ids are found by name
and group, and what nobody mapped is taken for what its group says, but never for an entry or a STOP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.adapters.trackers.plane.answers import StateRow
from orchestrator.domain.configuration import PlaneState
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.work_items import TrackerState

DEFAULT_STATES: Final[Mapping[TrackerState, PlaneState]] = {
    TrackerState.BACKLOG: PlaneState("Backlog", "backlog"),
    TrackerState.TO_ANALYSE: PlaneState("To Analyse", "unstarted"),
    TrackerState.IN_PROGRESS: PlaneState("In Progress", "started"),
    TrackerState.NEEDS_HUMAN: PlaneState("Needs Human", "started"),
    # Started: while a STOP is being carried out the item is not over, and what waits for it still waits.
    TrackerState.STOP: PlaneState("STOP", "started"),
    TrackerState.DONE: PlaneState("Done", "completed"),
    TrackerState.CANCELLED: PlaneState("Cancelled", "cancelled"),
}
_BY_GROUP: Final = {
    "backlog": TrackerState.BACKLOG,
    "unstarted": TrackerState.BACKLOG,
    "started": TrackerState.IN_PROGRESS,
    "completed": TrackerState.DONE,
    "cancelled": TrackerState.CANCELLED,
}
OVER: Final = frozenset({TrackerState.DONE, TrackerState.CANCELLED})


@dataclass(frozen=True, slots=True)
class StateMap:
    """The states of one project. ``ids``: by our state; ``meanings``: by id, every state of the project."""

    ids: Mapping[TrackerState, str]
    meanings: Mapping[str, TrackerState]


def wanted_states(configured: Mapping[TrackerState, PlaneState]) -> Mapping[TrackerState, PlaneState]:
    """What each of our states is meant to be called, and its group."""
    return {**DEFAULT_STATES, **configured}


def problems(configured: Mapping[TrackerState, PlaneState], rows: Sequence[StateRow]) -> list[str]:
    """A line for each of our states that cannot be told in this project, with what is there instead."""
    wanted = wanted_states(configured)
    lines = [_problem(state, one, rows) for state, one in wanted.items() if not _matches(one, rows)]
    found = {state: _matches(one, rows)[0].id for state, one in wanted.items() if _matches(one, rows)}
    shared = sorted({str(state) for state in found if list(found.values()).count(found[state]) > 1})
    return [*lines, *([f"{' and '.join(shared)} are one state in Plane: each needs its own"] if shared else [])]


def resolve(configured: Mapping[TrackerState, PlaneState], rows: Sequence[StateRow], project: str) -> StateMap:
    """The map. Raises ConfigurationError with every state that is missing."""
    wrong = problems(configured, rows)
    if wrong:
        raise ConfigurationError(
            [f"{project}: {line}" for line in wrong],
            remedy="make these states in Plane's project settings, or name yours under plane.states; docs/plane.md",
        )
    ids = {state: _matches(one, rows)[0].id for state, one in wanted_states(configured).items()}
    by_group = {row.id: _BY_GROUP.get(row.group, TrackerState.BACKLOG) for row in rows}
    return StateMap(ids, {**by_group, **{state_id: state for state, state_id in ids.items()}})


def meaning_of_group(group: str) -> TrackerState:
    """What a state of another project is taken for."""
    return _BY_GROUP.get(group, TrackerState.BACKLOG)


def _matches(wanted: PlaneState, rows: Sequence[StateRow]) -> list[StateRow]:
    """By exact name first: two states of a project may differ by case alone."""
    fitting = [row for row in rows if wanted.group in ("", row.group)]
    exact = [row for row in fitting if row.name.strip() == wanted.name.strip()]
    return exact or [row for row in fitting if row.name.strip().casefold() == wanted.name.strip().casefold()]


def _problem(state: TrackerState, wanted: PlaneState, rows: Sequence[StateRow]) -> str:
    elsewhere = [row.group for row in rows if row.name.strip().casefold() == wanted.name.strip().casefold()]
    if elsewhere:
        return f"«{wanted.name}» ({state}) is in the group {elsewhere[0]}, not {wanted.group}"
    near = [row.name for row in rows if row.group == wanted.group]
    return f"there is no state «{wanted.name}» ({state}) in the group {wanted.group or 'any'}; there: {near or 'none'}"
