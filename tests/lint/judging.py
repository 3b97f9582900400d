"""How the lint tests look at one piece of code."""

from __future__ import annotations

from textwrap import dedent

from tools.lint.rules import HABITS, LAWS
from tools.lint.run import judge
from tools.lint.source import Source


def codes(path: str, text: str) -> list[str]:
    """Codes of all findings of all rules in ``text``, were it the file ``path``."""
    return [finding.code for finding in judge(Source(path, dedent(text)), LAWS + HABITS)]


def messages(path: str, text: str) -> list[str]:
    return [str(finding) for finding in judge(Source(path, dedent(text)), LAWS + HABITS)]
