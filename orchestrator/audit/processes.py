"""I9, I15 and I16 outside: who holds something must live, and who was followed or has ended must not."""

from __future__ import annotations

from orchestrator.audit.breaches import Breach, Seen
from orchestrator.domain.ownership import Liveness
from orchestrator.engine.context import Engine
from orchestrator.store.audit import Scope, facts
from orchestrator.store.audit.facts import Held


def look(engine: Engine, scope: Scope) -> Seen:
    """Liveness is identity; of processes on other nodes only their own node can say more than «declared lost»."""
    with engine.store.snapshot() as connection:
        held = facts.held(connection, scope)
        runs = facts.ended_runs(connection, scope, engine.host)
        followed = facts.overtaken(connection, engine.host)
        lost = facts.node_is_lost(connection, engine.host.node)
    found = [_breach("I15", one, "is held by {}, which is dead") for one in held if _is(engine, one, Liveness.DEAD)]
    found += [_breach("I16", one, "is over and {} lives") for one in runs if _is(engine, one, Liveness.ALIVE)]
    if not lost:  # a node that is declared lost ends what was taken from it before it comes back
        found += [
            _breach("I9", one, "was taken from {} as dead, and it lives")
            for one in followed
            if scope.item in (None, one.work_item) and _is(engine, one, Liveness.ALIVE)
        ]
    return Seen(tuple(found))


def _is(engine: Engine, one: Held, state: Liveness) -> bool:
    return engine.host.liveness(one.owner) is state


def _breach(invariant: str, one: Held, what: str) -> Breach:
    return Breach(invariant, one.work_item or "-", f"{one.what} {what.format(one.owner)}")
