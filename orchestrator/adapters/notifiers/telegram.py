"""Notifications by Telegram's Bot API, https://core.telegram.org/bots/api#sendmessage. The token is part of the URL."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

import httpx

from orchestrator.domain.errors import NeedsHumanError, PermanentError, TransientError
from orchestrator.ports import Notification
from orchestrator.secret import MASK, Secret

_API: Final = "https://api.telegram.org"
# A message is not worth more: the effect is tried again, and an edge waits for it meanwhile.
_TIMEOUT: Final = httpx.Timeout(10.0, connect=5.0)
_LONGEST: Final = 4096  # of a message, in UTF-16 code units
_MARKS: Final = {"warning": "⚠️ ", "alert": "🚨 "}
_TOKEN_IN_URL: Final = re.compile(r"/bot[^/\s]+/")
_CUT: Final = " …"


def _mask_token(record: logging.LogRecord) -> bool:
    """httpx logs every URL, and in these stands the token."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            _TOKEN_IN_URL.sub(f"/bot{MASK}/", str(one)) if isinstance(one, httpx.URL | str) else one
            for one in record.args
        )
    return True


logging.getLogger("httpx").addFilter(_mask_token)


class TelegramNotifier:
    """Sends plain text to one chat. ``chat`` is its number or ``@channel``."""

    name = "telegram"

    def __init__(self, token: Secret, chat: str, *, api: str = _API, timeout: httpx.Timeout = _TIMEOUT) -> None:
        self._token = token
        self._chat = chat
        self._api = api.rstrip("/")
        self._timeout = timeout

    def send(self, notification: Notification) -> None:
        """Send it once.

        Raises TransientError when it may not have arrived (also with the time that a rate limit names),
        NeedsHumanError for a refused token, PermanentError for anything else that is refused. None names the token.
        """
        message = {"chat_id": self._chat, "text": _text(notification), "link_preview_options": {"is_disabled": True}}
        url = f"{self._api}/bot{self._token.reveal()}/sendMessage"
        try:
            response = httpx.post(url, json=message, timeout=self._timeout)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            # Not "from error": its request holds the URL.
            raise TransientError(f"{self._api} did not answer: {self._masked(error) or type(error).__name__}") from None
        self._judge(response)

    def _judge(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        body = _body(response)
        said = self._masked(f"{response.status_code} {body.get('description') or response.reason_phrase}")
        if response.status_code == 429:
            raise TransientError(
                f"the chat service limits its rate: {said}", retry_after_s=_retry_after(body, response)
            )
        if response.is_server_error:
            raise TransientError(f"the chat service failed: {said}")
        if response.status_code in (401, 404):
            raise NeedsHumanError(f"the chat service refused the token: {said}", remedy="check ORCH_TELEGRAM_TOKEN")
        raise PermanentError(
            f"the chat service refused the message: {said}",
            remedy="check ORCH_TELEGRAM_CHAT, and that the bot was added to that chat",
        )

    def _masked(self, said: object) -> str:
        return str(said).replace(self._token.reveal(), MASK)


def _text(notification: Notification) -> str:
    text = f"{_MARKS.get(notification.severity, '')}{notification.title}\n{notification.text}".strip()
    units = text.encode("utf-16-le", "replace")
    if len(units) > 2 * _LONGEST:
        units = units[: 2 * (_LONGEST - len(_CUT))] + _CUT.encode("utf-16-le")
    # A pair that the cut went through is dropped.
    return units.decode("utf-16-le", "ignore")


def _body(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after(body: Mapping[str, Any], response: httpx.Response) -> float | None:
    parameters = body.get("parameters")
    named = parameters.get("retry_after") if isinstance(parameters, dict) else response.headers.get("retry-after")
    try:
        return float(named) if named is not None else None
    except (TypeError, ValueError):
        return None
