"""Values that must not be shown, and the masking of passwords inside URLs."""

from __future__ import annotations

import hmac
import re
from typing import Final, NoReturn, Self
from urllib.parse import unquote, urlsplit

MASK: Final = "****"
_QUERY_PASSWORD: Final = re.compile(r"password=([^&]+)")


class Secret:
    """A value that shows itself only to who asks by ``reveal``: not in logs, tracebacks, pickles or messages."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never serialised: it would reach a message, a file or a log")


def passwords_in(text: str) -> tuple[str, ...]:
    """The passwords of a URL (user part or query), as written and decoded; nothing for any other text."""
    if "://" not in text:
        return ()
    try:
        parts = urlsplit(text)
    except ValueError:
        return ()
    written = [parts.password, *_QUERY_PASSWORD.findall(parts.query)]
    return tuple(dict.fromkeys(form for one in written if one for form in (one, unquote(one))))


def without_passwords(text: str) -> str:
    """``text`` with the passwords of a URL masked."""
    for password in passwords_in(text):
        text = text.replace(f":{password}@", f":{MASK}@").replace(f"password={password}", f"password={MASK}")
    return text
