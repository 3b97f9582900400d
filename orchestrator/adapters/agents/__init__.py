"""Agent runtimes: how each coding agent is started, with which environment and which prompt."""
