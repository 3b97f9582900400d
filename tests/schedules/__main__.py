"""``python -m tests.schedules --count N --seed S``: bounded schedules, then random ones; exit code 1 on a violation."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import sql

from tests import fixtures_stores
from tests.schedules import plans
from tests.schedules.run import Outcome, Schedule, Stage, parse

PROGRESS_S = 5.0


@dataclass
class Tally:
    """What was played, and what it came to."""

    began: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    _shown: float = 0.0

    def add(self, outcome: Outcome) -> None:
        self.counts["schedules"] += 1
        self.counts["points"] += outcome.steps
        self.counts["lock waits"] += outcome.lock_waits
        self.counts["kills"] += outcome.kills
        self.counts["takeovers"] += outcome.takeovers
        self.ends[outcome.end.partition(" ")[0] + (" parked" if "parked" in outcome.end else "")] += 1
        if outcome.breaches:
            self.counts["violations"] += 1
            self.told.append(outcome.told())
            print(f"\nafter {self.counts['schedules']} schedules:\n{outcome.told()}", flush=True)

    def show(self, shard: str) -> None:
        if time.monotonic() - self._shown > PROGRESS_S:
            self._shown = time.monotonic()
            print(f"  {shard} {self}", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        names = ("schedules", "points", "lock waits", "kills", "takeovers", "violations")
        words = ", ".join(f"{self.counts[name]:,} {name}" for name in names)
        return f"{words} in {time.monotonic() - self.began:.0f} s"


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.schedules", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="bounded schedules (0: none)")
    parser.add_argument("--random", type=int, default=None, help="random ones besides; default: a fifth of --count")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--most", type=int, default=3, help="end at so many violations (0: never)")
    parser.add_argument("--every-read", action="store_true", help="ask Postgres for every read of a snapshot")
    parser.add_argument("--replay", help="play one schedule, as a violation printed it, and tell it")
    parser.add_argument("--shard", default="", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    found = parser.parse_args(argv)
    found.random = found.count // 5 if found.random is None else found.random
    return found


def play_all(options: argparse.Namespace) -> int:
    """One shard's schedules, on its own database."""
    shard, shards = (int(one) for one in options.shard.split("/"))
    stage, tally = Stage(options.url, every_read=options.every_read), Tally()
    try:
        for outcome in _outcomes(stage, options, shard, shards):
            tally.add(outcome)
            tally.show(options.shard)
            if options.most and len(tally.told) >= options.most:
                break
    finally:
        stage.close()
    print(f"shard {options.shard}: {tally}")
    print(f"  ends: {', '.join(f'{end} {count}' for end, count in tally.ends.most_common())}")
    return 1 if tally.told else 0


def _outcomes(stage: Stage, options: argparse.Namespace, shard: int, shards: int) -> Iterator[Outcome]:
    for words in pinned()[shard::shards]:
        yield play_one(stage, words)
    for family, schedule in plans.bounded(_share(options.count, shard, shards), options.seed, shard, shards):
        outcome = stage.play(schedule)
        family.learn(schedule, outcome)
        yield outcome
    for number in range(shard, options.random, shards):
        yield play_random(stage, f"{options.seed}.{number}")


def pinned() -> list[str]:
    """Schedules that are always played: those that once failed, and those that say best what must hold."""
    lines = (Path(__file__).parent / "pinned.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def play_one(stage: Stage, words: str) -> Outcome:
    """A schedule by its text, or a random one by ``random:SEED``."""
    if words.startswith("random:"):
        return play_random(stage, words.partition(":")[2].split()[0])
    return stage.play(parse(words))


def _share(count: int, shard: int, shards: int) -> int:
    return count // shards + (shard < count % shards)


def play_random(stage: Stage, seed: str) -> Outcome:
    outcome = stage.play(plans.random_schedule(seed), plans.RandomDirector(seed))
    outcome.schedule = f"random:{seed}  ({outcome.schedule})"
    return outcome


def replay(words: str, url: str) -> int:
    stage = Stage(url)
    try:
        outcome = play_one(stage, words)
    finally:
        stage.close()
    print(outcome.told())
    return 1 if outcome.breaches else 0


def main(argv: Sequence[str]) -> int:
    logging.disable(logging.CRITICAL)
    options = arguments(argv)
    if options.shard:
        return play_all(options)
    began = time.monotonic()
    server = fixtures_stores._acquire()
    try:
        fixtures_stores._create_template(server)
        urls = [_database(server, f"schedules_{number}") for number in range(options.jobs)]
        if options.replay:
            return replay(options.replay, urls[0])
        code = _in_shards(argv, urls)
    finally:
        server.release()
    print(
        f"{'violations were found' if code else 'no violation'}: {time.monotonic() - began:.0f} s, seed {options.seed}"
    )
    return code


def _database(server: fixtures_stores.PostgresServer, name: str) -> str:
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    server.run_sql(create.format(sql.Identifier(name), sql.Identifier(fixtures_stores._TEMPLATE)))
    return server.url(name)


def _in_shards(argv: Sequence[str], urls: Sequence[str]) -> int:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.schedules", *argv, "--shard", f"{number}/{len(urls)}", "--url", url]
        )
        for number, url in enumerate(urls)
    ]
    codes = []
    try:
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return max((abs(code) for code in codes), default=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))


__all__ = ["Schedule", "main"]
