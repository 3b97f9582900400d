"""Who may have agents work for him: what an item's author and labels say, in one place for the start and its gate."""

from __future__ import annotations

from orchestrator.domain.configuration import ProjectConfig
from orchestrator.domain.work_items import WorkItem


def not_authorised(config: ProjectConfig, item: WorkItem) -> str:
    """Why agents may not work on ``item`` in this project; empty when they may. Empty lists of the configuration
    allow everybody and ask for no label."""
    if config.trusted_authors and item.author not in config.trusted_authors:
        return (
            f"{item.author or 'an author without a name'} is not one of the trusted authors of {config.key}; "
            "add the name to trusted_authors in orchestrator.yml, or let a trusted author write the item"
        )
    if config.authorising_labels and not set(config.authorising_labels).intersection(item.labels):
        return f"it has none of the labels that authorise it: {', '.join(config.authorising_labels)}"
    return ""
