"""Where work items live: one module a kind, each an implementation of ``ports.Tracker``."""
