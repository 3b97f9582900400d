"""Gates: checks that an edge asks for. ``QG_CHECKS`` maps a gate's name to its function."""
