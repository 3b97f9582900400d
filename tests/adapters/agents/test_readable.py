"""Streams in words for people: what was said, which tools were used, what went wrong."""

from __future__ import annotations

import json

import pytest

from orchestrator.adapters.agents import built_in_clis
from tests.adapters.agents.recorded import recordings

SAID = [
    ("claude", "success", ["hello", "= completed: hello"]),
    ("claude", "overloaded-529", ["! the provider is tried again", "= api_error"]),
    ("codex", "success", ["hello", "= completed"]),
    ("codex", "sandbox-in-worktree", ["[shell] /bin/bash -lc", "hello"]),
    ("codex", "no-key", ["= failed: Missing environment variable"]),
    ("gemini", "yolo-tool", ["[run_shell_command] touch gy.txt", "= success"]),
    ("gemini", "max-turns", ["= error Reached max session turns"]),
    ("opencode", "permission-rejected", ["[bash] cat /etc/hostname", "! The user rejected permission"]),
    ("opencode", "bad-key-401", ["! Incorrect API key provided"]),
]


@pytest.mark.parametrize(("cli", "case", "expected"), SAID)
def test_a_recorded_stream_reads_as_a_conversation(cli: str, case: str, expected: list[str]) -> None:
    agent = built_in_clis()[cli]
    lines = [agent.readable(json.dumps(event)) for event in recordings(cli)[case].stdout]
    text = "\n".join(line for line in lines if line is not None)
    for part in expected:
        assert part in text
    assert "{" not in text.replace("{}", "")


@pytest.mark.parametrize("cli", ["claude", "codex", "gemini", "opencode", "command"])
@pytest.mark.parametrize("line", ["plain words", '{"type": "half', "[1, 2]", "null"])
def test_what_is_no_event_is_shown_as_it_stands(cli: str, line: str) -> None:
    assert built_in_clis()[cli].readable(line) == line


@pytest.mark.parametrize("cli", ["claude", "codex", "gemini", "opencode"])
def test_an_event_that_is_not_known_tells_nothing(cli: str) -> None:
    assert built_in_clis()[cli].readable('{"type": "telemetry", "item": 7, "part": null, "message": []}') is None


def test_a_long_input_of_a_tool_is_shortened() -> None:
    part = {"type": "tool_use", "name": "Bash", "input": {"command": "x" * 1000}}
    told = built_in_clis()["claude"].readable(json.dumps({"type": "assistant", "message": {"content": [part]}}))
    assert told is not None
    assert len(told) < 400
