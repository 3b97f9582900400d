"""Git over HTTP, by git's own server program: what a push or fetch meets is git, not our idea of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SERVER = ("git", "http-backend")


@dataclass(frozen=True, slots=True)
class GitRequest:
    """One request. ``path`` begins after the repository's own (``/info/refs``); ``user`` is empty for nobody."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    user: str


def serve(repository: Path, request: GitRequest, environment: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of git's answer."""
    lowered = {name.lower(): text for name, text in request.headers.items()}
    variables = {
        **environment,
        "GIT_PROJECT_ROOT": str(repository),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": request.path,
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query,
        "CONTENT_TYPE": lowered.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "HTTP_CONTENT_ENCODING": lowered.get("content-encoding", ""),
        "GIT_PROTOCOL": lowered.get("git-protocol", ""),
        # Without it the program serves reads alone.
        "REMOTE_USER": request.user,
        "REMOTE_ADDR": "127.0.0.1",
    }
    done = subprocess.run(_SERVER, env=variables, input=request.body, capture_output=True, check=False)
    return _parsed(done.stdout) if done.returncode == 0 or done.stdout else (500, {}, done.stderr)


def is_write(path: str, query: str) -> bool:
    """Whether the request belongs to a push."""
    return path.endswith("/git-receive-pack") or "service=git-receive-pack" in query


def _parsed(output: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = output.partition(b"\r\n\r\n")
    headers: dict[str, str] = {}
    status = 200
    for line in head.decode("latin-1").split("\r\n"):
        name, _, text = line.partition(":")
        if name.lower() == "status":
            status = int(text.split()[0])
        elif name:
            headers[name] = text.strip()
    return status, headers, body
