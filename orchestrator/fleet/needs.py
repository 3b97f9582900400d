"""What the fleet needs to know of the settings; ``orchestrator.settings.Settings`` has it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class FleetSettings(Protocol):
    """Fields of the settings that the fleet reads. No URL means: the embedded store."""

    @property
    def data_dir(self) -> Path: ...
    @property
    def node(self) -> str: ...
    @property
    def database_url(self) -> str | None: ...
    @property
    def broker_url(self) -> str | None: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def flower_port(self) -> int: ...

    def environment(self) -> dict[str, str]:
        """The ORCH_* variables that give a child these settings."""
        ...

    def basic_environment(self) -> dict[str, str]:
        """PATH, HOME, locale and the like."""
        ...
