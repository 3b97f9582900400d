"""What Plane says becomes one of our four kinds of error, and the limit of its key is kept."""

from __future__ import annotations

import logging

import httpx
import pytest

from orchestrator.adapters.trackers.plane import PlaneClient
from orchestrator.adapters.trackers.plane.pace import RESERVE, Pace
from orchestrator.demo.doubles.traps import Trap, Trouble
from orchestrator.domain.errors import NeedsHumanError, NotFoundError, PermanentError, TransientError
from orchestrator.secret import Secret
from tests.adapters.plane.conftest import PlaneWorld

KEY = Secret("plane_api_" + "1" * 32)


class Hours:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_no_answer_says_nothing_and_names_no_key() -> None:
    client = PlaneClient("http://127.0.0.1:1", KEY, "acme")
    with pytest.raises(TransientError, match="did not answer GET users/me/") as found:
        client.me()
    assert KEY.reveal() not in str(found.value)
    assert found.value.__cause__ is None


def test_a_time_out_says_nothing(plane: PlaneWorld) -> None:
    plane.double.hold("GET", "/users/me/$", done=True)
    with pytest.raises(TransientError):
        plane.client(timeout=httpx.Timeout(0.3)).me()


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_of_the_server_says_nothing(plane: PlaneWorld, status: int) -> None:
    plane.double.fail("GET", "/users/me/$", done=False, status=status)
    with pytest.raises(TransientError, match=str(status)):
        plane.client().me()


def test_a_wrong_key_needs_a_person(plane: PlaneWorld) -> None:
    client = PlaneClient(plane.double.url, KEY, "acme")
    with pytest.raises(NeedsHumanError) as found:
        client.me()
    assert "ORCH_PLANE_API_KEY" in found.value.remedy
    assert KEY.reveal() not in str(found.value)


def test_an_unknown_workspace_is_told_apart_from_a_wrong_key(plane: PlaneWorld) -> None:
    client = plane.client()
    client.workspace = "nope"
    with pytest.raises(NeedsHumanError) as found:
        client.projects()
    assert "plane.workspace" in found.value.remedy


def test_what_is_missing_and_what_is_refused(plane: PlaneWorld) -> None:
    key, client = plane.add("one"), plane.client()
    project, item = plane.double.project.id, plane.double.item(key).id
    with pytest.raises(NotFoundError):
        client.item_by_key("ORCH-99")
    with pytest.raises(PermanentError, match="400"):
        client.set_state(project, item, "Done")


def test_a_page_that_is_no_json_names_the_address(plane: PlaneWorld) -> None:
    said = Trap("GET", "/users/me/$", Trouble.SAY_BEFORE, status=200, body=b"<html>log in</html>")
    plane.double.traps.set(said)
    with pytest.raises(NeedsHumanError) as found:
        plane.client().me()
    assert "ORCH_PLANE_URL" in found.value.remedy


def test_a_redirect_is_not_followed(plane: PlaneWorld) -> None:
    away = {"Location": "https://elsewhere.example/"}
    plane.double.traps.set(Trap("PATCH", "/work-items/", Trouble.SAY_BEFORE, status=302, headers=away))
    with pytest.raises(NeedsHumanError, match=r"elsewhere\.example"):
        plane.client().set_state(plane.double.project.id, plane.double.item(plane.add("one")).id, "x")


@pytest.mark.parametrize(
    "body",
    [{}, {"results": 3}, [], "text", 7, {"results": [{"id": 1}], "total_count": 1}, {"results": [None]}],
)
def test_an_answer_that_makes_no_sense_is_no_fact(plane: PlaneWorld, body: object) -> None:
    plane.double.traps.set(Trap("GET", "/states/$", Trouble.SAY_BEFORE, status=200, body=body))
    with pytest.raises(TransientError):
        plane.client().states(plane.double.project.id)


# --- the limit -------------------------------------------------------------------------------------------


def test_after_a_429_nothing_is_sent_before_its_time(plane: PlaneWorld) -> None:
    clock = Hours()
    client = plane.client(pace=Pace(clock))
    plane.double.limit("GET", "/users/me/$", retry_after_s=30)
    with pytest.raises(TransientError) as found:
        client.me()
    assert found.value.retry_after_s == 30
    sent = len(plane.double.exchanges)
    clock.now += 29
    with pytest.raises(TransientError) as found:
        client.projects()
    assert found.value.retry_after_s == 1
    assert len(plane.double.exchanges) == sent
    clock.now += 2
    assert client.me().display_name == "orchestrator"


def test_lists_leave_the_last_requests_of_a_window_to_what_cannot_wait(plane: PlaneWorld) -> None:
    clock = Hours()
    client = plane.client(pace=Pace(clock))
    plane.double.api.per_minute = RESERVE
    project = plane.double.project.id
    client.me()
    with pytest.raises(TransientError) as found:
        client.items_page(project, None)
    assert found.value.retry_after_s == 60
    assert client.states(project), "what cannot wait goes on"
    clock.now += 61
    plane.double.api.per_minute = 1000
    assert client.items_page(project, None).results == ()


@pytest.mark.parametrize(("said", "wait_s"), [("", 60.0), ("soon", 60.0), ("0", 1.0), ("86400", 900.0)])
def test_a_strange_time_to_wait_is_kept_within_reason(said: str, wait_s: float) -> None:
    assert Pace(Hours()).refused({"retry-after": said}).retry_after_s == wait_s


def test_the_key_is_never_logged(plane: PlaneWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    plane.client().me()
    assert caplog.text
    assert plane.client()._key.reveal() not in caplog.text
