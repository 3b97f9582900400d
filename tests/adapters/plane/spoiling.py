"""Recorded deliveries with something in them replaced, taken away or cut off. One seed gives one row of them."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.adapters.plane.described import deliveries as recorded

_SPOILED: tuple[Any, ...] = (None, 0, -1, True, "", "\0", "\ud800", [], {}, [None], {"id": 0}, 2**70, 1e308, "x" * 999)


class Spoiler:
    """Spoils what was recorded."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._recorded = [json.loads(one["raw_body"]) for one in recorded()]

    def spoiled(self) -> bytes:
        """A recorded one with something in it replaced, taken away or cut off."""
        body = json.loads(json.dumps(self.random.choice(self._recorded)))
        for _ in range(self.random.randint(1, 4)):
            self._spoil(body)
        raw = json.dumps(body).encode()
        if self.random.random() < 0.1:
            raw = raw[: self.random.randrange(len(raw))]
        if self.random.random() < 0.1:
            place = self.random.randrange(len(raw) or 1)
            raw = raw[:place] + bytes([self.random.randrange(256)]) + raw[place + 1 :]
        return raw

    def _spoil(self, body: dict[str, Any]) -> None:
        inner = [one for one in (body, body.get("data"), body.get("activity")) if isinstance(one, dict) and one]
        chosen = self.random.choice(inner)
        name = self.random.choice(sorted(chosen))
        if self.random.random() < 0.3:
            del chosen[name]
        else:
            chosen[name] = self.random.choice(_SPOILED)
