"""Products: one JSON file each in ``products/``."""

import json
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "products"


def products() -> list[dict]:
    """Every product, by name."""
    return [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]


def find(name: str) -> dict:
    """The product of that name. Raises KeyError."""
    for product in products():
        if product["name"] == name:
            return product
    raise KeyError(name)


def cheapest() -> dict:
    """The product with the lowest price."""
    best = None
    for product in products():
        if best is None or product["cents"] < best["cents"]:
            best = product
    if best is None:
        raise KeyError("nothing is sold here")
    return best
