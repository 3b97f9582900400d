"""The JSON that Plane answers and delivers, key by key as recorded. Kept apart so that drift is seen in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.demo.doubles.plane.records import (
    RELATIONS,
    Activity,
    Comment,
    Item,
    Label,
    Project,
    State,
    User,
    Webhook,
    Workspace,
    written,
)

Body = dict[str, Any]


def user(one: User) -> Body:
    return {
        "id": one.id,
        "first_name": one.name.capitalize(),
        "last_name": "Example",
        "email": f"{one.name}@example.com",
        "avatar": "",
        "avatar_url": None,
        "display_name": one.name,
    }


def state(space: Workspace, project: Project, one: State) -> Body:
    return {
        "id": one.id,
        "created_at": written(one.created_at),
        "updated_at": written(one.created_at),
        "deleted_at": None,
        "name": one.name,
        "description": "",
        "color": one.color,
        "slug": one.slug,
        "sequence": one.sequence,
        "group": one.group,
        "is_triage": False,
        "default": one.default,
        "external_source": one.external_source,
        "external_id": one.external_id,
        "created_by": project.created_by,
        "updated_by": None,
        "project": project.id,
        "workspace": space.id,
    }


def label(space: Workspace, project: Project, one: Label) -> Body:
    return {
        "id": one.id,
        "created_at": written(one.created_at),
        "updated_at": written(one.created_at),
        "deleted_at": None,
        "name": one.name,
        "description": "",
        "color": one.color,
        "sort_order": 65535.0,
        "external_source": None,
        "external_id": None,
        "created_by": project.created_by,
        "updated_by": None,
        "workspace": space.id,
        "project": project.id,
        "parent": None,
    }


def project(space: Workspace, one: Project) -> Body:
    """The keys of a project that anybody reads, and those that tell it from others."""
    return {
        "id": one.id,
        "total_members": len(one.members),
        "total_cycles": 0,
        "total_modules": 0,
        "is_member": True,
        "member_role": 15,
        "is_deployed": False,
        "created_at": written(one.created_at),
        "updated_at": written(one.created_at),
        "deleted_at": None,
        "name": one.name,
        "description": "",
        "network": 2,
        "identifier": one.identifier,
        "archived_at": None,
        "created_by": one.created_by,
        "updated_by": None,
        "workspace": space.id,
        "default_state": None,
    }


def item(space: Workspace, home: Project, one: Item, expand: Sequence[str] = ()) -> Body:
    body: Body = {
        "id": one.id,
        "type_id": None,
        "created_at": written(one.created_at),
        "updated_at": written(one.updated_at),
        "deleted_at": None,
        "point": None,
        "name": one.name,
        "description_html": one.description_html,
        "description_binary": None,
        "priority": one.priority,
        "start_date": None,
        "target_date": None,
        "sequence_id": one.number,
        "sort_order": 65535.0,
        "completed_at": written(one.completed_at),
        "archived_at": None if one.archived_at is None else one.archived_at.date().isoformat(),
        "is_draft": False,
        "external_source": one.external_source,
        "external_id": one.external_id,
        "created_by": one.created_by,
        "updated_by": one.updated_by,
        "project": home.id,
        "workspace": space.id,
        "parent": None,
        "state": one.state,
        "estimate_point": None,
        "type": None,
        "assignees": list(one.assignees),
        "labels": list(one.labels),
    }
    expanded: dict[str, Callable[[], object]] = {
        "state": lambda: short_state(home.states[one.state]),
        "labels": lambda: [short_label(home.labels[each]) for each in one.labels],
        "assignees": lambda: [user(space.users[each]) for each in one.assignees],
        "project": lambda: {"id": home.id, "identifier": home.identifier, "name": home.name},
    }
    return {**body, **{name: expanded[name]() for name in expand if name in expanded}}


def short_state(one: State) -> Body:
    return {"id": one.id, "name": one.name, "color": one.color, "group": one.group}


def short_label(one: Label) -> Body:
    return {"id": one.id, "name": one.name, "color": one.color}


def comment(space: Workspace, home: Project, on: Item, one: Comment) -> Body:
    return {
        "id": one.id,
        "created_at": written(one.created_at),
        "updated_at": written(one.updated_at),
        "deleted_at": None,
        "comment_html": one.html,
        "attachments": [],
        "access": one.access,
        "external_source": one.external_source,
        "external_id": one.external_id,
        "edited_at": None,
        "created_by": one.actor,
        "updated_by": one.updated_by,
        "project": home.id,
        "workspace": space.id,
        "description": one.description,
        "issue": on.id,
        "actor": one.actor,
        "parent": None,
    }


def activity(space: Workspace, home: Project, on: Item, one: Activity) -> Body:
    return {
        "id": one.id,
        "created_at": written(one.at),
        "updated_at": written(one.at),
        "deleted_at": None,
        "verb": one.verb,
        "field": one.about,
        "old_value": one.old,
        "new_value": one.new,
        "comment": "created the issue" if one.verb == "created" else f"updated the {one.about} to",
        "attachments": [],
        "old_identifier": None,
        "new_identifier": None,
        "epoch": float(int(one.at.timestamp())),
        "project": home.id,
        "workspace": space.id,
        "issue": on.id,
        "issue_comment": None,
        "actor": one.actor,
    }


def relations(space: Workspace, one: Item) -> Body:
    found: dict[str, list[Body]] = {kind: [] for kind in RELATIONS}
    for other in one.blocked_by:
        home = space.home_of(other)
        if home is not None:
            found["blocked_by"].append({"project_id": home.id, "issue_id": other})
    for home in space.projects.values():
        found["blocking"] += [
            {"project_id": home.id, "issue_id": each.id} for each in home.items.values() if one.id in each.blocked_by
        ]
    return dict(found)


def page(rows: Sequence[object], per_page: int, number: int) -> Body:
    """Offset paging; ``next_cursor`` is always set."""
    shown = list(rows[number * per_page : (number + 1) * per_page])
    more = (number + 1) * per_page < len(rows)
    return {
        "grouped_by": None,
        "sub_grouped_by": None,
        "total_count": len(rows),
        "next_cursor": f"{per_page}:{number + 1}:0",
        "prev_cursor": f"{per_page}:{number - 1}:1",
        "next_page_results": more,
        "prev_page_results": number > 0,
        "count": len(shown),
        "total_pages": -(-len(rows) // per_page),
        "total_results": len(rows),
        "extra_stats": None,
        "results": shown,
    }


def delivery(space: Workspace, hook: Webhook, event: str, action: str, data: Body, activity_body: Body) -> Body:
    return {
        "event": event,
        "action": action,
        "webhook_id": hook.id,
        "workspace_id": space.id,
        "data": data,
        "activity": activity_body,
    }


def delivered_item(space: Workspace, home: Project, one: Item) -> Body:
    """An item as deliveries hold it: expanded, and with two fields more than REST shows."""
    body = item(space, home, one, ("state", "labels", "assignees"))
    del body["type_id"]
    words = re.sub(r"<[^>]*>", "", one.description_html)
    return {**body, "description": {}, "description_json": {}, "description_stripped": words}


def activity_of(actor: User, name: str | None, old: object, new: object) -> Body:
    return {
        "field": name,
        "new_value": new,
        "old_value": old,
        "actor": user(actor),
        "old_identifier": None,
        "new_identifier": None,
    }
