"""Whether a server answers, and whether a port is free."""

from __future__ import annotations

import errno
import http.client
import socket
from collections.abc import Callable

from orchestrator.fleet.errors import FleetError

_TIMEOUT_S = 1.5


def answers_http(host: str, port: int, path: str) -> Callable[[], bool]:
    """A probe: whether the server gives any HTTP answer to GET ``path`` that is not a server error."""

    def probe() -> bool:
        connection = http.client.HTTPConnection(_reachable(host), port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def require_free_port(host: str, port: int, variable: str, what: str) -> None:
    """Raise FleetError, naming the port and the remedy, when ``what`` could not listen there.

    Another program may still take it before ``what`` does; then that one says so in its log.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = "is taken by another program" if error.errno == errno.EADDRINUSE else error.strerror
            raise FleetError(
                f"port {port} on {host} for {what} {why or error}",
                remedy=f"stop what listens there, or set {variable} to a free port",
            ) from error


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
