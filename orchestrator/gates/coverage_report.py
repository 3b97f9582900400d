"""Reads a coverage report in Cobertura's XML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

PRECISION: Final = 6
"""Digits of a line rate that are kept; the baseline in the database has as many, so equal ones compare equal."""


@dataclass(frozen=True, slots=True)
class UnreadableReport:
    why: str


def line_rate(raw: bytes) -> float | UnreadableReport:
    """The share of lines that were run, 0 to 1; from the counts where it has them, since ``line-rate`` is rounded."""
    try:
        root = fromstring(raw)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        return UnreadableReport(f"not XML: {error}")
    if root.tag != "coverage":
        return UnreadableReport(f"its root is <{root.tag}>, not <coverage>")
    try:
        rate = _counted(root)
    except (TypeError, ValueError):
        return UnreadableReport("it has no line-rate")
    return round(rate, PRECISION) if 0 <= rate <= 1 else UnreadableReport(f"its line-rate {rate} is no share")


def _counted(root: Element) -> float:
    valid, covered = int(root.get("lines-valid", "0")), int(root.get("lines-covered", "0"))
    return covered / valid if valid > 0 and "lines-covered" in root.attrib else float(root.get("line-rate", ""))
