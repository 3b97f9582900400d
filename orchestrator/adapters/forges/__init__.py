"""Where branches and pull requests live: one module a kind, each an implementation of ``ports.Forge``."""
