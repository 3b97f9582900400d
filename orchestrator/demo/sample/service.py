"""The corner shop over HTTP: ``python service.py ENVIRONMENT PORT VERSION``."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shop import catalog, health


def answer(path: str, environment: str, version: str) -> tuple[int, dict]:
    """Status and body for ``path``."""
    if path == "/health":
        problems = health.problems(environment)
        body = {"version": version, "environment": environment, "healthy": not problems, "problems": problems}
        return (503 if problems else 200), body
    if path == "/products":
        return 200, {"version": version, "products": catalog.products()}
    return 404, {"version": version, "error": "there is only /health and /products"}


class Handler(BaseHTTPRequestHandler):
    environment, version = "", ""

    def do_GET(self) -> None:
        status, body = answer(self.path, self.environment, self.version)
        raw = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_args: object) -> None:
        """Quiet: health is asked often."""


def main() -> None:
    Handler.environment, port, Handler.version = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
