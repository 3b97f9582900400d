"""Whether the service can do its work where it runs."""

import importlib
import pkgutil

from shop import checks


def problems(environment: str) -> list[str]:
    """What is wrong in ``environment``; empty when the service is well. Each module of ``shop.checks`` is asked."""
    found = []
    for module in pkgutil.iter_modules(checks.__path__):
        found += importlib.import_module(f"shop.checks.{module.name}").problems(environment)
    return found
