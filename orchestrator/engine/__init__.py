"""Read, decide, act, commit. No SQL and no HTTP: rows through ``store``, the outside through ``ports``."""
