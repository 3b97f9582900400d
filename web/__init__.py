"""The web app: webhooks, API, pages. ``gunicorn "web:create_app()"`` serves it."""

from __future__ import annotations

import ipaddress

from flask import Flask

from orchestrator import bootstrap, logs
from orchestrator.domain.errors import ConfigurationError
from orchestrator.embedded.reachable import with_stores
from orchestrator.engine.context import Engine
from orchestrator.settings import Settings, load_settings
from web import api, auth, errors, health, live, pages, webhooks
from web.parts import Parts, install

BODY_LIMIT = 1024 * 1024
"""Bytes of a request's body: far above any delivery of a tracker or forge, far below what could hurt."""


def create_app(settings: Settings | None = None, engine: Engine | None = None) -> Flask:
    """The app for these settings (default: the environment's). ``engine`` replaces the one that would be built.

    Raises ConfigurationError when it would serve a network without a token.
    """
    found = with_stores(settings or load_settings())
    if settings is None:
        bootstrap.hide_this_process()
        logs.set_up(level=found.log_level, style=found.log_format, secrets=found.secret_values())
    _refuse_open_network(found)
    app = Flask("web", root_path=__path__[0])
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    install(app, Parts(found, bootstrap.build_nudges(found), engine))
    auth.guard(app)
    errors.handle(app)
    for blueprint in (health.routes, webhooks.routes, api.routes, pages.routes, live.routes):
        app.register_blueprint(blueprint)
    return app


def _refuse_open_network(settings: Settings) -> None:
    if settings.api_token is None and not _is_loopback(settings.host):
        raise ConfigurationError(
            f"ORCH_HOST: {settings.host} can be reached by others and no ORCH_API_TOKEN is set",
            remedy="set ORCH_API_TOKEN (or ORCH_API_TOKEN_FILE), or bind to 127.0.0.1",
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
