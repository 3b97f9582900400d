"""Deploy drivers: how a version comes into an environment, by a process that outlives the orchestrator."""
