"""The project's own lint rules: the laws of the architecture that no general tool knows.

Run ``python -m tools.lint``. Each rule has a stable code; what a rule lets pass stands in ``allowed.py``
with its reason, never in the code that it judges (but for the size rules, which ask for theirs in place).
"""
