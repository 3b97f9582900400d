"""Tables of the built-in tracker and forge: the outside of a small team, kept in the same database."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from orchestrator.store.schema import metadata as metadata
from orchestrator.store.schema import moment

local_items = Table(
    "local_items",
    metadata,
    Column("key", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("author", Text, nullable=False),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    UniqueConstraint("project", "number", name="a_number_is_used_once_a_project"),
    CheckConstraint("length(btrim(title)) > 0", name="a_work_item_has_a_title"),
)
Index("local_items_by_change", local_items.c.updated_at)

local_blocks = Table(
    "local_blocks",
    metadata,
    Column("item", Text, ForeignKey("local_items.key", name="a_blocked_item_exists"), nullable=False),
    Column("blocked_by", Text, ForeignKey("local_items.key", name="a_blocking_item_exists"), nullable=False),
    PrimaryKeyConstraint("item", "blocked_by", name="a_block_is_listed_once"),
    CheckConstraint("item <> blocked_by", name="no_item_blocks_itself"),
)

local_comments = Table(
    "local_comments",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("item", Text, ForeignKey("local_items.key", name="a_comment_belongs_to_an_item"), nullable=False),
    Column("marker", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("text", Text, nullable=False),
    moment("at", now=True),
    UniqueConstraint("item", "marker", name="a_marked_comment_is_written_once"),
)

local_pull_requests = Table(
    "local_pull_requests",
    metadata,
    Column("project", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("head_branch", Text, nullable=False),
    Column("base_branch", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="open"),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False, server_default=""),
    Column("merge_sha", Text),
    moment("opened_at", now=True),
    moment("closed_at"),
    PrimaryKeyConstraint("project", "number", name="a_pull_request_number_is_used_once"),
    CheckConstraint("state IN ('open', 'merged', 'closed')", name="pull_request_state_is_known"),
    CheckConstraint("(state = 'merged') = (merge_sha IS NOT NULL)", name="a_merged_pull_request_names_its_commit"),
)
Index(
    "one_open_pull_request_a_head_and_base",
    local_pull_requests.c.project,
    local_pull_requests.c.head_branch,
    local_pull_requests.c.base_branch,
    unique=True,
    postgresql_where=text("state = 'open'"),
)

local_statuses = Table(
    "local_statuses",
    metadata,
    Column("project", Text, nullable=False),
    Column("sha", Text, nullable=False),
    Column("context", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    moment("at", now=True),
    PrimaryKeyConstraint("project", "sha", "context", name="the_newest_status_of_a_context_counts"),
    CheckConstraint("state IN ('pending', 'success', 'failure')", name="status_state_is_known"),
)
