"""Who may ask for what, from where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from orchestrator.domain.errors import ConfigurationError
from orchestrator.secret import Secret
from orchestrator.settings import Settings
from orchestrator.store.database import Store
from tests.rows import start_task
from tests.web.conftest import BEARER, FROM_OWN_PAGE, TOKEN
from web import create_app
from web.auth import COOKIE, OPEN

PAGE = {"Accept": "text/html"}


def _routes(app: Flask) -> list[tuple[str, str, str]]:
    """(endpoint, method, path) of every route that does not prove itself."""
    names = {"work_item": "D-1", "act": "stop", "filename": "style.css"}
    found = []
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for name, value in names.items():
            path = path.replace(f"<path:{name}>", value).replace(f"<{name}>", value)
        found += [(rule.endpoint, method, path) for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}]
    return [one for one in found if not one[0].startswith("webhooks.")]


def test_only_the_listed_routes_are_open(app: Flask, client: FlaskClient) -> None:
    closed = [one for one in _routes(app) if one[0] not in OPEN]
    assert len(closed) > 15
    for endpoint, method, path in closed:
        assert client.open(path, method=method).status_code == 401, endpoint
        assert client.open(path, method=method, headers=PAGE).status_code in (302, 401), endpoint


def test_an_unknown_route_tells_a_stranger_nothing(client: FlaskClient) -> None:
    assert client.get("/nothing/here").status_code == 401
    assert client.get("/nothing/here", headers=BEARER).status_code == 404


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer", "Basic YTpi", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe4", ""]
)
def test_a_wrong_token_opens_nothing(client: FlaskClient, header: str) -> None:
    assert client.get("/queue", headers={"Authorization": header}).status_code == 401


def test_the_right_token_opens_the_api_without_any_cookie(client: FlaskClient) -> None:
    answer = client.get("/queue", headers=BEARER)
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers


def test_health_is_open_and_says_nothing_of_items(client: FlaskClient) -> None:
    assert client.get("/livez").json["status"] == "ok"
    assert client.get("/readyz").status_code == 200


# --- login ----------------------------------------------------------------------------------------------


def test_a_person_without_login_is_led_to_it_and_back(client: FlaskClient) -> None:
    answer = client.get("/items/D-1", headers=PAGE)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login?next=/items/D-1")
    done = client.post("/login", data={"token": TOKEN, "name": "ann", "next": "/lane"}, headers=FROM_OWN_PAGE)
    assert (done.status_code, done.headers["Location"]) == (303, "/lane")
    assert client.get("/lane", headers=PAGE).status_code == 200


def test_the_login_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites(client: FlaskClient) -> None:
    answer = client.post("/login", data={"token": TOKEN, "name": "ann"}, headers=FROM_OWN_PAGE)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie


def test_a_cookie_over_https_stays_on_https(client: FlaskClient) -> None:
    answer = client.post(
        "/login", data={"token": TOKEN, "name": "ann"}, headers=FROM_OWN_PAGE, base_url="https://orch.example"
    )
    assert "Secure" in answer.headers["Set-Cookie"]


def test_a_wrong_token_gives_no_cookie(client: FlaskClient) -> None:
    answer = client.post("/login", data={"token": "wrong", "name": "ann"}, headers=FROM_OWN_PAGE)
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


def test_a_changed_cookie_and_one_of_an_older_token_open_nothing(
    person: FlaskClient, make_app: Callable[..., Flask]
) -> None:
    cookie = person.get_cookie(COOKIE)
    assert cookie is not None
    assert person.get("/lane").status_code == 200
    other = make_app(api_token=Secret("another-token")).test_client()
    other.set_cookie(COOKIE, cookie.value)
    assert other.get("/queue").status_code == 401
    person.set_cookie(COOKIE, cookie.value[:-2] + "xx")
    assert person.get("/lane").status_code == 302


def test_logging_out_ends_the_login(person: FlaskClient) -> None:
    assert person.post("/logout", headers=FROM_OWN_PAGE).status_code == 303
    assert person.get("/lane").status_code == 302


@pytest.mark.parametrize("there", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "", "evil"])
def test_a_login_never_leads_to_another_site(client: FlaskClient, there: str) -> None:
    done = client.post("/login", data={"token": TOKEN, "name": "ann", "next": there}, headers=FROM_OWN_PAGE)
    assert done.headers["Location"] == "/"


# --- changes that a page elsewhere asks for ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "http://localhost"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
def test_a_change_by_a_browser_comes_from_a_page_of_ours(
    person: FlaskClient, store: Store, headers: dict[str, str], status: int
) -> None:
    start_task(store)
    assert person.post("/items/D-1/stop", headers=headers).status_code == status


def test_a_program_with_the_token_needs_no_origin(api: FlaskClient, store: Store) -> None:
    start_task(store)
    assert api.post("/api/items/D-1/stop", headers={"Origin": "http://elsewhere.example"}).status_code == 200


def test_a_login_is_not_done_by_a_page_elsewhere(client: FlaskClient) -> None:
    answer = client.post("/login", data={"token": TOKEN}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


# --- no token -------------------------------------------------------------------------------------------


@pytest.fixture
def open_client(make_app: Callable[..., Flask]) -> FlaskClient:
    """An app without any token."""
    return make_app(api_token=None).test_client()


def test_without_a_token_this_machine_may_ask(open_client: FlaskClient, store: Store) -> None:
    start_task(store)
    assert open_client.get("/", headers=PAGE).status_code == 200
    assert open_client.post("/api/items/D-1/stop").status_code == 200
    assert open_client.get("/login").headers["Location"] == "/"


@pytest.mark.parametrize(
    ("remote", "headers"),
    [
        ("10.0.0.7", {}),
        ("::ffff:10.0.0.7", {}),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}),
        ("127.0.0.1", {"Forwarded": "for=10.0.0.7"}),
        ("127.0.0.1", {"Host": "evil.example"}),
        ("127.0.0.1", {"Host": "evil.example:8080"}),
    ],
)
def test_without_a_token_nobody_else_may_ask(open_client: FlaskClient, remote: str, headers: dict[str, str]) -> None:
    answer = open_client.get("/queue", headers=headers, environ_base={"REMOTE_ADDR": remote})
    assert answer.status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"])
def test_without_a_token_this_machine_is_asked_by_its_own_names(open_client: FlaskClient, host: str) -> None:
    assert open_client.get("/queue", headers={"Host": host}).status_code == 200


def test_without_a_token_a_page_elsewhere_changes_nothing(open_client: FlaskClient, store: Store) -> None:
    start_task(store)
    answer = open_client.post("/api/items/D-1/stop", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "orch.example"])
def test_without_a_token_the_app_does_not_start_for_a_network(settings: Settings, host: str) -> None:
    with pytest.raises(ConfigurationError, match="ORCH_API_TOKEN"):
        create_app(replace(settings, api_token=None, host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_without_a_token_the_app_starts_on_loopback(settings: Settings, host: str) -> None:
    create_app(replace(settings, api_token=None, host=host))
