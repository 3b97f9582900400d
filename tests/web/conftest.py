"""The web app on a real database, with a project in the built-in tracker and a broker that is down unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from flask import Flask
from flask.testing import FlaskClient

from orchestrator import bootstrap
from orchestrator.project_config import example_operator_config
from orchestrator.secret import Secret
from orchestrator.settings import Settings, load_settings
from orchestrator.store.database import Store
from orchestrator.store.schema import metadata
from web import create_app

TOKEN = "a-token-of-tests"
SECRET = "a-webhook-secret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FROM_OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
NO_BROKER = "redis+socket:///nowhere/valkey.sock?virtual_host=0"


@pytest.fixture(scope="module")
def database_url(module_database_url: str) -> str:
    """One database a module, emptied between tests."""
    return module_database_url


@pytest.fixture(autouse=True)
def emptied(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing of a test is left for the next one."""
    yield
    if "database_url" in request.fixturenames:
        engine = sqlalchemy.create_engine(request.getfixturevalue("database_url"), poolclass=sqlalchemy.NullPool)
        kept = ("stage_edges",)
        names = ", ".join(table.name for table in metadata.sorted_tables if table.name not in kept)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    (tmp_path / "orchestrator.yml").write_text(example_operator_config(key="D", repository=str(tmp_path / "d.git")))
    found = load_settings(
        {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "ORCH_DATA_DIR": str(tmp_path / "data"),
            "ORCH_CONFIG": str(tmp_path / "orchestrator.yml"),
            "ORCH_NODE": "n1",
            "ORCH_DATABASE_URL": database_url,
            "ORCH_BROKER_URL": NO_BROKER,
        }
    )
    secret = Secret(SECRET)
    return replace(
        found,
        api_token=Secret(TOKEN),
        plane_webhook_secret=secret,
        gitea_webhook_secret=secret,
        github_webhook_secret=secret,
    )


@pytest.fixture
def make_app(settings: Settings) -> Iterator[Callable[..., Flask]]:
    """An app with some settings changed; its connections are closed at the end."""
    made: list[sqlalchemy.Engine] = []

    def make(**changed: object) -> Flask:
        changed_settings = replace(settings, **changed)  # type: ignore[arg-type]  # the test names fields
        engine = bootstrap.build_engine(changed_settings, bootstrap.build_nudges(changed_settings), pool_size=4)
        made.append(engine.store.engine)
        app = create_app(changed_settings, engine)
        app.testing = False
        return app

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser or program without any credentials."""
    return app.test_client()


@pytest.fixture
def api(app: Flask) -> FlaskClient:
    """A program with the token."""
    made = app.test_client()
    made.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return made


@pytest.fixture
def person(app: Flask) -> FlaskClient:
    """A person who logged in."""
    made = app.test_client()
    answer = made.post("/login", data={"token": TOKEN, "name": "ann"}, headers=FROM_OWN_PAGE)
    assert answer.status_code == 303
    made.environ_base["HTTP_ACCEPT"] = "text/html"
    return made


@pytest.fixture
def store(engine: sqlalchemy.Engine) -> Store:
    return Store(engine)
