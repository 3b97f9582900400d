"""One measured value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """``limit`` is what a document promises, in the same unit; None where nothing is promised."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def keeps_promise(self) -> bool:
        return self.limit is None or self.value <= self.limit

    def __str__(self) -> str:
        promise = "" if self.limit is None else f"  (promised: {self.limit:g} {self.unit})"
        return f"{self.name:<40} {self.value:10.1f} {self.unit}{promise}"
