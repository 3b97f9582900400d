"""Secrets in diffs. Every sample is put together here: a whole one in this file would be a finding of its own."""

from __future__ import annotations

import pytest

from orchestrator.gates.secret_scan import ALLOW_MARK, scan

RANDOM = "q7Zt2Lx9Vb4Nw8Rk3Mj6Hs1Pd5Gf0YcA"
HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"


def added(*lines: str, path: str = "app.py") -> str:
    body = "\n".join(f"+{line}" for line in lines)
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -3,0 +4,{len(lines)} @@\n{body}\n"


ISSUED = [
    ("AWS access key", "AKIA" + "Q7ZT2LX9VB4NW8RK"),
    ("private key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    ("private key", "-----BEGIN " + "PRIVATE KEY-----"),
    ("GitHub token", "ghp_" + RANDOM + "abcd"),
    ("GitHub token", "github_" + "pat_" + RANDOM * 2),
    ("Gitea token", "GITEA_" + f"TOKEN is {HEX}"),
    ("GitLab token", "glpat-" + RANDOM[:20]),
    ("Slack token", "xoxb-" + "123456789012-abc"),
    ("Telegram bot token", "1234567890:" + "AA" + RANDOM + "x"),
    ("API key of a model provider", "sk-" + "ant-" + RANDOM),
    ("Google API key", "AIza" + RANDOM + "abc"),
]


@pytest.mark.parametrize(("kind", "value"), ISSUED)
def test_tokens_are_known_by_what_their_issuers_put_into_them(kind: str, value: str) -> None:
    (leak,) = scan(added("harmless", f"use {value} here"))
    assert (leak.path, leak.line, leak.kind) == ("app.py", 5, kind)


@pytest.mark.parametrize("kind_and_value", ISSUED)
def test_the_value_is_never_repeated(kind_and_value: tuple[str, str]) -> None:
    (leak,) = scan(added(f"use {kind_and_value[1]} here"))
    assert kind_and_value[1][6:] not in str(leak)


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{RANDOM}"',
        f"  apiKey: '{HEX}',",
        f'"client_secret": "{RANDOM}",',
        f"PASSWORD => '{RANDOM}'",
        f"export SERVICE_TOKEN={RANDOM}",
        f"DB_PASSWORD={RANDOM}",
    ],
)
def test_a_random_value_under_a_telling_name_is_a_secret(line: str) -> None:
    (leak,) = scan(added(line))
    assert leak.kind == "assigned secret"
    assert RANDOM not in str(leak)


@pytest.mark.parametrize(
    "line",
    [
        'api_key = "your-api-key-goes-here-2024"',
        'token = "${SERVICE_TOKEN_OF_2024_PROD}"',
        'password = "correct-horse-battery-staple"',
        'secret = "aaaaaaaaaaaaaaaa1111111111111111"',
        f'sha = "{HEX}"',
        f'token_sha256 = "{HEX}"',
        "token = read_token(settings.token_file_2, default=None)",
        "API_TOKEN=$OTHER_TOKEN_VARIABLE_2024",
        "key = AKIA" + "IOSFODNN7EXAMPLE",
        ".sk-" + "a-very-long-name-of-a-class-in-a-style-sheet-1 { color: red }",
    ],
)
def test_placeholders_words_and_plain_code_are_no_secrets(line: str) -> None:
    assert scan(added(line)) == []


def test_a_marked_line_is_named_but_allowed() -> None:
    (leak,) = scan(added(f'api_key = "{RANDOM}"  # {ALLOW_MARK}: of the public sandbox'))
    assert leak.allowed


def test_what_a_diff_takes_away_or_leaves_is_not_judged() -> None:
    old = f'api_key = "{RANDOM}"'
    assert scan(f"--- a/x\n+++ b/x\n@@ -1,2 +1,1 @@\n-{old}\n {old}\n") == []


def test_lines_are_counted_in_the_new_file_over_all_hunks() -> None:
    key = "AKIA" + "Q7ZT2LX9VB4NW8RK"
    diff = (
        "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"
        f"@@ -10,2 +10,3 @@\n ten\n+{key}\n eleven\n\\ No newline at end of file\n"
        f"diff --git a/y b/y\n--- /dev/null\n+++ b/y\n@@ -0,0 +1 @@\n+{key}\n"
    )
    assert [(leak.path, leak.line) for leak in scan(diff)] == [("x", 11), ("y", 1)]


def test_an_added_line_that_looks_like_a_header_does_not_hide_what_follows() -> None:
    key = "AKIA" + "Q7ZT2LX9VB4NW8RK"
    assert [str(leak)[:8] for leak in scan(added("++ b/harmless.txt", "@@ -0,0 +0,0 @@", key))] == ["app.py:6"]


def test_a_path_in_quotes_is_read_as_git_writes_it() -> None:
    key = "AKIA" + "Q7ZT2LX9VB4NW8RK"
    diff = f'--- /dev/null\n+++ "b/a\\"b\\t\\303\\251.txt"\n@@ -0,0 +1 @@\n+{key}\n'
    assert scan(diff)[0].path == 'a"b\té.txt'
