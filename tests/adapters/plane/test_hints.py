"""What a delivery is about is told without believing it, whatever it looks like."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from orchestrator.adapters.trackers.plane.deliveries import hint
from orchestrator.ports import OWN_WRITE, Hint
from tests.adapters.plane import described
from tests.adapters.plane.spoiling import Spoiler

PROJECT = described.called("project_get").answer["id"]
ME = described.called("users_me").answer["id"]


def told(body: bytes, *, me: str = "nobody") -> Hint | None:
    return hint(body, PROJECT, "ORCH", lambda: me)


@pytest.mark.parametrize("one", described.deliveries(), ids=lambda one: one["name"])
def test_a_recorded_delivery_names_its_item_unless_it_is_our_own_or_means_nothing(one: dict) -> None:
    raw, body = one["raw_body"].encode(), json.loads(one["raw_body"])
    found = told(raw)
    assert found is not None
    if body["event"] != "issue":
        assert found == Hint(note=f"{body['event']}: nothing rests on it")
        return
    assert found.items == (f"ORCH-{body['data']['sequence_id']}",)
    ours = body["activity"]["actor"]["id"] == ME
    assert told(raw, me=ME) == (Hint(note=OWN_WRITE) if ours else found)


def test_a_delivery_of_another_project_of_the_workspace_is_not_ours() -> None:
    body = json.loads(described.deliveries()[3]["raw_body"])
    body["data"]["project"] = "00000000-0000-4000-8000-000000000000"
    assert told(json.dumps(body).encode()) is None


def test_ten_thousand_spoiled_deliveries_raise_nothing_and_name_no_strange_item() -> None:
    spoiler, kinds = Spoiler(seed=20261124), Counter[str]()
    for _ in range(10_000):
        found = told(spoiler.spoiled())
        if found is None:
            kinds["of another project"] += 1
            continue
        kinds["everything" if found.everything else "an item" if found.items else "nothing"] += 1
        for key in found.items:
            assert key.startswith("ORCH-") and key[5:].isdigit() and 0 < int(key[5:]) < 2**31
    assert len(kinds) == 4 and min(kinds.values()) > 10, kinds
