"""Between Plane's HTML and plain text. What people wrote is only ever read as text; what we write is only ever escaped.

Plane stores HTML alone and, up to 1.3, as it was sent: whatever is not escaped here would run in people's browsers.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Final

_PARAGRAPHS: Final = frozenset(
    {"p", "div", "ul", "ol", "table", "blockquote", "pre", "h1", "h2", "h3", "h4", "h5", "h6"}
)
_LINES: Final = frozenset({"br", "li", "tr", "hr"})
_SILENT: Final = frozenset({"script", "style", "head", "title", "template"})
_HEADINGS: Final = {f"h{level}": "#" * level + " " for level in range(1, 7)}


def as_html(text: str) -> str:
    """``text`` as one paragraph that shows exactly it: nothing in it is markup."""
    lines = sane(text).replace("\r\n", "\n").split("\n")
    return f"<p>{'<br>'.join(html.escape(line, quote=True) for line in lines)}</p>"


def sane(text: str) -> str:
    """``text`` with a replacement mark for NUL and for half a surrogate pair, which no database and no wire takes."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def as_text(markup: str) -> str:
    """What a person reads of ``markup``: paragraphs apart, lists as dashes; scripts and styles are nothing."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return sane(re.sub(r"\n{3,}", "\n\n", "".join(reader.parts)).strip("\n"))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0
        self._literal = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag in _PARAGRAPHS:
            self._break("\n\n")
            self.parts.append(_HEADINGS.get(tag, ""))
            self._literal += tag == "pre"
        elif tag in _LINES:
            self._break("\n", always=tag == "br")
            self.parts.append("- " if tag == "li" else "")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in _PARAGRAPHS:
            self._literal = max(0, self._literal - (tag == "pre"))
            self._break("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data if self._literal else re.sub(r"[ \t\r\n]+", " ", data))

    def _break(self, wanted: str, *, always: bool = False) -> None:
        written = "".join(self.parts[-4:])
        if always:
            self.parts.append(wanted)
        elif written and not written.endswith(wanted):
            self.parts.append("\n" if written.endswith("\n") else wanted)
