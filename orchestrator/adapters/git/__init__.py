"""Workspaces by the git binary; see ``workspaces.GitWorkspaces``."""

from orchestrator.adapters.git.trees import Identity
from orchestrator.adapters.git.workspaces import GitWorkspaces

__all__ = ["GitWorkspaces", "Identity"]
