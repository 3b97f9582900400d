"""Where a worker says that it takes messages."""

from __future__ import annotations

from pathlib import Path


def ready_mark(data_dir: Path, name: str) -> Path:
    """The file of the worker called ``name`` (the part of its Celery name before the @)."""
    return data_dir / "ready" / name
