"""A small HTTP/1.1 server on loopback for the doubles: threads, traps, and a record of every exchange of its API."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, assert_never
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrator.demo.doubles.traps import Trap, Traps, Trouble

_log: Final = logging.getLogger(__name__)
_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. ``path`` is decoded except for what stands in ``raw_path``."""

    method: str
    raw_path: str
    query_text: str
    headers: Mapping[str, str]
    body: bytes
    half_done: bool = False

    @property
    def path(self) -> str:
        return unquote(self.raw_path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_text, keep_blank_values=True))

    @property
    def json(self) -> object:
        """The body; None when there is none or it is no JSON."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. ``body`` is sent as JSON, bytes as they are, None not at all."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what was answered to it; ``by_trap``: the answer was ordered by a trap."""

    request: Request
    reply: Reply
    by_trap: bool


class Server:
    """Serves ``answer`` on a free port of loopback (or ``port``) until ``stop``."""

    def __init__(self, answer: Callable[[Request], Reply], port: int = 0) -> None:
        self.traps = Traps()
        self.exchanges: deque[Exchange] = deque(maxlen=_KEPT)
        self._answer = answer
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.owner = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it; what is held by a trap goes on first."""
        self.traps.clear()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=10)

    def handle(self, request: Request) -> Reply | None:
        """The answer, or None where the connection is to be dropped."""
        trap = self.traps.catch(request.method, request.raw_path)
        reply = self._answer(request) if trap is None else self._trapped(request, trap)
        if reply is not None:
            self.exchanges.append(Exchange(request, reply, trap is not None))
        return reply

    def _trapped(self, request: Request, trap: Trap) -> Reply | None:
        said = Reply(trap.status, trap.body, trap.headers)
        match trap.trouble:
            case Trouble.DROP_BEFORE:
                return None
            case Trouble.SAY_BEFORE:
                return said
            case Trouble.HOLD_BEFORE:
                trap.hold()
                return None if trap.forget else self._answer(request)
            case Trouble.HALF_DONE:
                self._answer(replace(request, half_done=True))
                return None
            case Trouble.DROP_AFTER:
                self._answer(request)
                return None
            case Trouble.SAY_AFTER:
                self._answer(request)
                return said
            case Trouble.HOLD_AFTER:
                reply = self._answer(request)
                trap.hold()
                return reply
            case _:
                assert_never(trap.trouble)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    owner: Server

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that was killed or gave up is what the doubles are for.
        _log.debug("a connection from %s ended early", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        request = Request(self.command, parts.path, parts.query, dict(self.headers.items()), self._body())
        reply = self.server.owner.handle(request)
        if reply is None:
            self._drop()
        else:
            self._send(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # the names that http.server looks for

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def _send(self, reply: Reply) -> None:
        body = reply.body
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json;charset=utf-8", **reply.headers}
        for name, text in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, text)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is http.server's
        _log.debug(format, *args)
