"""``python -m tests.chaos``: the real fleet under a seeded adversary; the judge reads only rows and the outside."""
