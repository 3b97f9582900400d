"""Nudges doubled, held back and given back in another order; the broker's data lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Final

import redis
from redis import Redis

from orchestrator import messages
from orchestrator.domain.stages import Actor
from orchestrator.embedded.places import places
from orchestrator.store import jobs, tasks
from tests.chaos.arena import SECOND_NODE, Arena

_TIMES: Final = 3
Waiting = list[tuple[str, bytes]]


def _client(arena: Arena) -> Redis:
    where = places(arena.place.data_dir)
    return Redis(unix_socket_path=str(where.valkey_socket), socket_timeout=2, socket_connect_timeout=1)


def _queues(arena: Arena) -> list[str]:
    return [
        messages.EDGES,
        messages.INTAKE,
        messages.SWEEPS,
        *(messages.agents_queue(node) for node in (arena.settings.node, SECOND_NODE)),
    ]


def double_nudges(arena: Arena, chance: random.Random) -> str:
    """Everything that may be said about every live task, some times each, in any order."""
    nudges = arena.nudges
    with arena.store.transaction() as connection:
        live = tasks.live(connection)
        of_jobs = [one for one in jobs.live(connection) if one.node]
    calls: list[Callable[[], None]] = [nudges.finalize_deploys]
    calls += [partial(nudges.drive, task.id, task.work_item, chance.choice(list(Actor))) for task in live]
    for job in of_jobs:
        for send in (nudges.launch_agent, nudges.finish_job, nudges.stop_agent):
            calls.append(partial(send, job.node or "", job.id, job.work_item))
    many = calls * _TIMES
    chance.shuffle(many)
    for call in many:
        call()
    return f"{len(many)} messages about {len(live)} tasks"


def take_waiting(arena: Arena) -> Waiting:
    """Every message that waits in a queue now, taken out of it."""
    found: Waiting = []
    try:
        with _client(arena) as client:
            for queue in _queues(arena):
                while (one := client.rpop(queue)) is not None:
                    assert isinstance(one, bytes)
                    found.append((queue, one))
    except redis.RedisError as error:
        raise OSError("the broker does not answer") from error
    return found


def put_back(arena: Arena, held: Waiting, chance: random.Random) -> None:
    """The same messages in another order, some twice."""
    again = held + [one for one in held if chance.random() < 0.3]
    chance.shuffle(again)
    try:
        with _client(arena) as client:
            for queue, message in again:
                client.lpush(queue, message)
    except redis.RedisError as error:
        raise OSError("the broker does not answer") from error


def forget_everything(arena: Arena) -> None:
    """All data, while the broker runs on."""
    try:
        with _client(arena) as client:
            client.flushall()
    except redis.RedisError as error:
        raise OSError("the broker does not answer") from error


def remove_files(arena: Arena) -> None:
    """What it would read at its next start."""
    for file in places(arena.place.data_dir).valkey_data.rglob("*"):
        if file.is_file():
            file.unlink(missing_ok=True)
