"""Who may ask: a bearer token, a login cookie, or, while no token is set, whoever sits at this machine.

Every route needs one of them unless it is listed here as open; webhooks bring their own proof.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from flask import Flask, Request, Response, g, redirect, request
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.exceptions import Forbidden, Unauthorized

from orchestrator.secret import Secret
from web.parts import parts

OPEN: Final = frozenset({"health.livez", "health.readyz", "pages.login", "pages.log_in", "static"})
WITH_OWN_PROOF: Final = "webhooks"
"""The blueprint whose handlers check a signature."""

COOKIE: Final = "orch_login"
COOKIE_AGE_S: Final = 12 * 3600
"""A working day: the token itself stays where it is, the cookie alone is in the browser."""

_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``program``: it sent the token itself, so no browser can have been tricked into the request."""

    name: str
    program: bool


def guard(app: Flask) -> None:
    """Check every request before its handler, and mark every answer."""
    app.before_request(_admit)
    app.after_request(_harden)


def caller() -> Caller:
    """Who asks; only in routes that are not open."""
    found: Caller = g.caller
    return found


def _admit() -> Response | None:
    if request.endpoint in OPEN or request.blueprint == WITH_OWN_PROOF:
        return None
    token = parts().settings.api_token
    found = _at_this_machine(request) if token is None else _with_token(request, token)
    if found is None:
        return _refuse(request)
    if request.method not in _SAFE and not found.program:
        require_own_page(request, strict=token is not None)
    g.caller = found
    return None


def _with_token(asked: Request, token: Secret) -> Caller | None:
    bearer = asked.headers.get("Authorization", "")
    if bearer:
        scheme, _, given = bearer.partition(" ")
        if scheme.lower() == "bearer" and same(given.strip(), token):
            return Caller("api", program=True)
        return None
    name = _name_in_cookie(asked.cookies.get(COOKIE, ""), token)
    return None if name is None else Caller(name, program=False)


def same(given: str, token: Secret) -> bool:
    """Compare without telling by time how much of it was right."""
    return hmac.compare_digest(given.encode(), token.reveal().encode())


def _at_this_machine(asked: Request) -> Caller | None:
    """Only a direct peer on loopback that asks for this machine by its own name: a page elsewhere whose name was bent
    to 127.0.0.1 sends another Host, and what comes through a proxy comes from anywhere."""
    through_proxy = any(name in asked.headers for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP"))
    if through_proxy or not _is_loopback(asked.remote_addr or "") or host_name(asked.host) not in _LOCAL_NAMES:
        return None
    return Caller("local", program=False)


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    name, separator, port = host.rpartition(":")
    return name.lower() if separator and port.isdigit() else host.lower()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def require_own_page(asked: Request, *, strict: bool) -> None:
    """A change asked for by a browser must come from a page of ours. Raises Forbidden.

    Browsers name the origin of every POST. ``strict``: also refuse one that names none (a login cookie may be in it).
    """
    site, origin = asked.headers.get("Sec-Fetch-Site"), asked.headers.get("Origin")
    if site is None and origin is None and not strict:
        return
    if site == "same-origin" or (origin is not None and urlsplit(origin).netloc == asked.host):
        return
    raise Forbidden("this change was asked for by a page elsewhere")


def _refuse(asked: Request) -> Response:
    if wants_page(asked) and asked.method in _SAFE and parts().settings.api_token is not None:
        there = asked.full_path.rstrip("?") if asked.path != "/" else ""
        return _as_response(redirect(f"/login?next={quote(there)}" if there else "/login"))
    if parts().settings.api_token is None:
        raise Unauthorized("no ORCH_API_TOKEN is set, so only this machine itself may ask, as localhost or 127.0.0.1")
    raise Unauthorized("send Authorization: Bearer with the value of ORCH_API_TOKEN")


def _as_response(made: object) -> Response:
    assert isinstance(made, Response)
    return made


def wants_page(asked: Request) -> bool:
    """Whether a person's browser asks, rather than a program."""
    return asked.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html" and not (
        asked.path.startswith(("/api/", "/webhooks/", "/transition-lease/"))
    )


# --- the login cookie ------------------------------------------------------------------------------------


def _signer(token: Secret) -> URLSafeTimedSerializer:
    # Made from the token: a new token ends every login, and there is no second secret to keep.
    key = hashlib.sha256(b"orchestrator login cookie\0" + token.reveal().encode()).digest()
    return URLSafeTimedSerializer(key, salt="login", signer_kwargs={"digest_method": hashlib.sha256})


def _name_in_cookie(cookie: str, token: Secret) -> str | None:
    if not cookie:
        return None
    try:
        return str(_signer(token).loads(cookie, max_age=COOKIE_AGE_S))
    except BadData:
        return None


def log_in(answer: Response, name: str, token: Secret) -> None:
    """Put the login into ``answer``; ``name`` is what history says of this person's acts."""
    shown = "".join(one for one in name if one.isprintable()).strip()[:_LONGEST_NAME] or "web"
    answer.set_cookie(
        COOKIE,
        _signer(token).dumps(shown),
        max_age=COOKIE_AGE_S,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
    )


def log_out(answer: Response) -> None:
    answer.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=request.is_secure)


# --- every answer ----------------------------------------------------------------------------------------

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def _harden(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "same-origin"
    answer.headers["X-Frame-Options"] = "DENY"
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if request.endpoint != "static":
        answer.headers.setdefault("Cache-Control", "no-store")
    return answer
