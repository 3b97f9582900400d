"""Orchestrator takes a work item from the tracker to production."""
