"""The tables. Every rule that SQL can hold is a constraint whose name reads as a sentence.

Three rules carry the ownership protocol: ``tasks`` holds stage, stage_seq and lease_epoch in one row, because
that row is what every protocol transaction locks; ``effects`` is unique by (task, visit, kind, target), with no
attempt, pid or epoch in the key, so that a successor recognises the work; ``deployments`` is unique by
(task, visit, environment, kind), so that a start can happen once.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.domain.stages import TERMINAL, Actor, EffectKind, Stage
from orchestrator.domain.views import DeploymentStatus, EffectStatus, GateOutcome, JobStatus, Outcome

metadata: Final = MetaData()

LIVE_STAGE: Final = "stage NOT IN ({})".format(", ".join(f"'{stage}'" for stage in sorted(TERMINAL)))
"""SQL condition of a task that still moves; partial indexes and queries use the same text."""
LIVE_JOB: Final = "status IN ('queued', 'running')"


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def moment(name: str, *, now: bool = False, required: bool = False) -> Column[object]:
    """A column of a point in time; ``now``: the database's clock fills it in."""
    default = func.clock_timestamp() if now else None
    return Column(name, DateTime(timezone=True), nullable=not (now or required), server_default=default)


OWNER_FIELDS: Final = ("node", "boot_id", "pid_ns", "pid", "start_ticks")


def _owner(prefix: str) -> list[Column[object]]:
    kinds = {"node": Text, "boot_id": Text}
    return [Column(f"{prefix}_{field}", kinds.get(field, BigInteger)) for field in OWNER_FIELDS]


def _whole(prefix: str) -> str:
    """SQL condition: the owner is named completely, or not at all."""
    columns = [f"{prefix}_{field}" for field in OWNER_FIELDS]
    return f"num_nulls({', '.join(columns)}) IN (0, {len(columns)})"


def _json(name: str, empty: str = "{}") -> Column[object]:
    return Column(name, JSONB, nullable=False, server_default=text(f"'{empty}'::jsonb"))


tasks = Table(
    "tasks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("work_item", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False, server_default=""),
    Column("author", Text, nullable=False, server_default=""),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("stage", Text, nullable=False, server_default=Stage.ANALYSIS),
    Column("stage_seq", Integer, nullable=False, server_default="0"),
    Column("lease_epoch", BigInteger, nullable=False, server_default="0"),
    Column("round", Integer, nullable=False, server_default="0"),
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("branch", Text, nullable=False),
    Column("worktree_node", Text),
    Column("head_sha", Text),
    Column("pull_request", Integer),
    Column("merged_sha", Text),
    Column("merged_by_hand", Boolean, nullable=False, server_default="false"),
    Column("stop_requested_by", Text),
    moment("stop_requested_at"),
    moment("stop_acknowledged_at"),
    Column("parked_reason", Text),
    moment("parked_at"),
    Column("approved_by", Text),
    moment("approved_at"),
    Column("rejected_by", Text),
    Column("rejected_why", Text),
    moment("retry_not_before"),
    Column("blocked_by", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("reasons", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    moment("reasons_at"),
    moment("reasons_until"),
    moment("facts_at", now=True),
    moment("created_at", now=True),
    moment("stage_entered_at", now=True),
    CheckConstraint(_one_of("stage", Stage), name="stage_is_known"),
    CheckConstraint("stage_seq >= 0 AND lease_epoch >= 0 AND round >= 0", name="fences_only_grow_from_zero"),
    CheckConstraint("(stop_requested_by IS NULL) = (stop_requested_at IS NULL)", name="a_stop_names_who_and_when"),
    CheckConstraint("(parked_reason IS NULL) = (parked_at IS NULL)", name="a_parked_task_says_why_and_since"),
)
Index("one_live_task_a_work_item", tasks.c.work_item, unique=True, postgresql_where=text(LIVE_STAGE))
Index(
    "live_tasks_by_due_time",
    tasks.c.priority.desc(),
    tasks.c.created_at,
    postgresql_where=text(LIVE_STAGE),
)
Index("live_tasks_by_project", tasks.c.project, tasks.c.stage, postgresql_where=text(LIVE_STAGE))

stage_edges = Table(
    "stage_edges",
    metadata,
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    PrimaryKeyConstraint("source", "target", name="an_edge_is_listed_once"),
)
"""The stage graph as rows, filled from ``domain.stages``; a trigger on tasks refuses every other step."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("task_id", BigInteger, ForeignKey("tasks.id", name="a_job_belongs_to_a_task"), nullable=False),
    Column("stage", Text, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default=JobStatus.QUEUED),
    Column("node", Text),
    Column("evidence", Text, nullable=False, server_default=""),
    moment("created_at", now=True),
    moment("dispatched_at"),
    moment("started_at"),
    moment("exited_at"),
    Column("exit_code", Integer),
    moment("settled_at"),
    Column("outcome", Text),
    Column("verdict", JSONB),
    Column("head_sha", Text),
    Column("detail", Text, nullable=False, server_default=""),
    moment("resume_at"),
    Column("counted", Boolean, nullable=False, server_default="false"),
    Column("dead_ticks", Integer, nullable=False, server_default="0"),
    moment("finished_at"),
    *_owner("finalizer"),
    CheckConstraint(_one_of("status", JobStatus), name="job_status_is_known"),
    CheckConstraint(_one_of("stage", Stage), name="job_stage_is_known"),
    CheckConstraint("outcome IS NULL OR " + _one_of("outcome", Outcome), name="job_outcome_is_known"),
    CheckConstraint(
        "(status IN ('finished', 'lost', 'cancelled')) = (finished_at IS NOT NULL)",
        name="a_finished_job_says_when",
    ),
    CheckConstraint(_whole("finalizer"), name="finalizer_is_complete_or_absent"),
    UniqueConstraint("task_id", "visit", "round", name="one_job_a_round"),
)
Index("one_live_job_a_task", jobs.c.task_id, unique=True, postgresql_where=text(LIVE_JOB))
Index("live_jobs", jobs.c.status, jobs.c.id, postgresql_where=text(LIVE_JOB))

agent_runs = Table(
    "agent_runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("job_id", BigInteger, ForeignKey("jobs.id", name="a_run_belongs_to_a_job"), nullable=False),
    Column("run_id", Text, nullable=False),
    Column("turn", Integer, nullable=False, server_default="0"),
    Column("runtime", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("run_dir", Text, nullable=False),
    Column("config_digest", Text, nullable=False, server_default=""),
    *_owner("launcher"),
    *_owner("owner"),
    moment("started_at", now=True),
    moment("exited_at"),
    Column("exit_code", Integer),
    Column("exit_signal", Integer),
    Column("exit_reason", Text),
    Column("outcome", Text),
    Column("session_id", Text),
    Column("model", Text, nullable=False, server_default=""),
    Column("cli_version", Text, nullable=False, server_default=""),
    Column("tokens_in", BigInteger),
    Column("tokens_out", BigInteger),
    Column("cost_usd", Numeric(12, 6)),
    CheckConstraint(_whole("launcher"), name="launcher_is_complete_or_absent"),
    CheckConstraint(_whole("owner"), name="run_owner_is_complete_or_absent"),
    CheckConstraint("turn IN (0, 1)", name="at_most_one_repair_turn"),
    UniqueConstraint("run_id", name="a_run_id_is_used_once"),
    UniqueConstraint("job_id", "turn", name="one_run_a_turn"),
)
Index("runs_by_start", agent_runs.c.started_at)
Index("runs_of_a_session", agent_runs.c.session_id, postgresql_where=agent_runs.c.session_id.is_not(None))

transition_lease = Table(
    "transition_lease",
    metadata,
    Column(
        "task_id",
        BigInteger,
        ForeignKey("tasks.id", name="a_lease_guards_a_task"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("edge", Text, nullable=False, server_default=""),
    Column("actor", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    *_owner("owner"),
    Column("child_pgid", BigInteger),
    Column("child_start_ticks", BigInteger),
    moment("acquired_at", now=True),
    moment("released_at"),
    CheckConstraint(_whole("owner"), name="lease_owner_is_complete_or_absent"),
    CheckConstraint(
        "released_at IS NOT NULL OR num_nulls(owner_node, owner_pid) = 0", name="a_held_lease_names_its_owner"
    ),
    CheckConstraint(_one_of("actor", Actor), name="lease_actor_is_known"),
)
Index(
    "held_leases",
    transition_lease.c.acquired_at,
    postgresql_where=text("released_at IS NULL"),
)

merge_lease = Table(
    "merge_lease",
    metadata,
    Column("project", Text, nullable=False),
    Column("base_branch", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("task_id", BigInteger, ForeignKey("tasks.id", name="a_merge_lane_serves_a_task"), nullable=False),
    Column("lease_epoch", BigInteger, nullable=False),
    *_owner("owner"),
    moment("acquired_at", now=True),
    moment("released_at"),
    CheckConstraint(_whole("owner"), name="lane_owner_is_complete_or_absent"),
    CheckConstraint(
        "released_at IS NOT NULL OR num_nulls(owner_node, owner_pid) = 0", name="a_held_lane_names_its_owner"
    ),
    PrimaryKeyConstraint("project", "base_branch", name="one_lane_a_base_branch"),
)

effects = Table(
    "effects",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("task_id", BigInteger, ForeignKey("tasks.id", name="an_effect_belongs_to_a_task"), nullable=False),
    Column("visit", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=EffectStatus.CLAIMED),
    Column("epoch", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("adoptions", Integer, nullable=False, server_default="0"),
    Column("sends", Integer, nullable=False, server_default="0"),
    _json("request"),
    _json("result"),
    moment("claimed_at", now=True),
    moment("sent_at"),
    moment("settled_at"),
    CheckConstraint(_one_of("status", EffectStatus), name="effect_status_is_known"),
    CheckConstraint(_one_of("kind", EffectKind), name="effect_kind_is_known"),
    CheckConstraint("(status = 'claimed') = (settled_at IS NULL)", name="a_settled_effect_says_when"),
    UniqueConstraint("task_id", "visit", "kind", "target", name="one_effect_a_visit_kind_and_target"),
)
Index("open_claims", effects.c.task_id, postgresql_where=text("status = 'claimed'"))

gate_results = Table(
    "gate_results",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("task_id", BigInteger, ForeignKey("tasks.id", name="a_gate_judges_a_task"), nullable=False),
    Column("project", Text, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("gate", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("head_sha", Text),
    Column("base_sha", Text),
    Column("tree_sha", Text),
    Column("config_digest", Text, nullable=False, server_default=""),
    Column("reused", Boolean, nullable=False, server_default="false"),
    Column("epoch", BigInteger, nullable=False),
    Column("duration_s", Float, nullable=False, server_default="0"),
    Column("figure", Float),
    moment("not_before"),
    moment("at", now=True),
    CheckConstraint(_one_of("outcome", GateOutcome), name="gate_outcome_is_known"),
)
Index("gate_results_of_a_round", gate_results.c.task_id, gate_results.c.visit, gate_results.c.round)
Index(
    "passed_trees",
    gate_results.c.project,
    gate_results.c.gate,
    gate_results.c.tree_sha,
    postgresql_where=text("outcome = 'pass' AND tree_sha IS NOT NULL"),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("project", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="deploy"),
    Column("task_id", BigInteger, ForeignKey("tasks.id", name="a_deployment_serves_a_task"), nullable=False),
    Column("visit", Integer, nullable=False),
    Column("sha", Text, nullable=False),
    Column("image", Text),
    Column("status", Text, nullable=False, server_default=DeploymentStatus.REQUESTED),
    *_owner("owner"),
    Column("previous_sha", Text),
    Column("observed_sha", Text),
    Column("detail", Text, nullable=False, server_default=""),
    moment("requested_at", now=True),
    moment("launched_at"),
    moment("started_at"),
    moment("finished_at"),
    CheckConstraint(_one_of("status", DeploymentStatus), name="deployment_status_is_known"),
    CheckConstraint("kind IN ('deploy', 'roll_back')", name="deployment_kind_is_known"),
    CheckConstraint(_whole("owner"), name="deployer_is_complete_or_absent"),
    CheckConstraint("status <> 'running' OR owner_pid IS NOT NULL", name="a_running_deployment_names_its_deployer"),
    UniqueConstraint("task_id", "visit", "environment", "kind", name="one_deployment_a_visit_and_environment"),
)
Index(
    "one_running_deployment_an_environment",
    deployments.c.project,
    deployments.c.environment,
    unique=True,
    postgresql_where=text("status = 'running'"),
)
Index(
    "unfinished_deployments",
    deployments.c.id,
    postgresql_where=text("status IN ('requested', 'running')"),
)

images = Table(
    "images",
    metadata,
    Column("project", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("recipe_digest", Text, nullable=False),
    Column("task_id", BigInteger, ForeignKey("tasks.id", name="an_image_was_built_for_a_task")),
    moment("built_at", now=True),
    PrimaryKeyConstraint("project", "tag", name="an_image_tag_is_built_once"),
)

coverage_baselines = Table(
    "coverage_baselines",
    metadata,
    Column("project", Text, nullable=False),
    Column("base_branch", Text, nullable=False),
    Column("line_rate", Numeric(7, 6), nullable=False),
    Column("sha", Text, nullable=False),
    moment("raised_at", now=True),
    CheckConstraint("line_rate BETWEEN 0 AND 1", name="a_line_rate_is_a_share"),
    PrimaryKeyConstraint("project", "base_branch", name="one_baseline_a_base_branch"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("node", Text, primary_key=True),
    Column("boot_id", Text, nullable=False),
    Column("pid_ns", BigInteger, nullable=False),
    Column("incarnation", Integer, nullable=False, server_default="1"),
    Column("draining", Boolean, nullable=False, server_default="false"),
    moment("registered_at", now=True),
    moment("last_seen_at", now=True),
    moment("lost_at"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("delivery", Text, nullable=False),
    Column("dedupe_key", Text, nullable=False),
    Column("event", Text, nullable=False, server_default=""),
    Column("body", LargeBinary, nullable=False),
    Column("work_item", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text, nullable=False, server_default=""),
    Column("note", Text, nullable=False, server_default=""),
    moment("not_before", now=True),
    moment("received_at", now=True),
    moment("processed_at"),
    UniqueConstraint("source", "dedupe_key", name="a_delivery_is_kept_once"),
)
Index("unprocessed_deliveries", inbox.c.not_before, postgresql_where=text("processed_at IS NULL"))

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("task_id", BigInteger),
    Column("work_item", Text),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False, server_default=""),
    Column("stage_seq", Integer),
    Column("epoch", BigInteger),
    _json("detail"),
    moment("at", now=True),
)
Index("events_of_a_task", events.c.task_id, events.c.id)
Index("events_of_a_work_item", events.c.work_item, events.c.id)

switches = Table(
    "switches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("scope", Text, primary_key=True, server_default="*"),
    Column("set_by", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    moment("set_at", now=True),
    CheckConstraint("name IN ('pause', 'panic', 'lane')", name="switch_is_known"),
)
"""A row means the lever is thrown. ``scope``: ``*``, a project, or project/base-branch for a lane."""

provider_pauses = Table(
    "provider_pauses",
    metadata,
    Column("runtime", Text, primary_key=True),
    moment("until", required=True),
    Column("why", Text, nullable=False),
    Column("refusals", Integer, nullable=False, server_default="1"),
    Column("tried_by", BigInteger),
    moment("tried_at"),
    moment("refused_at", now=True),
    CheckConstraint("(tried_by IS NULL) = (tried_at IS NULL)", name="a_try_says_who_and_when"),
)
"""A row means that no run of the runtime starts anywhere, or that one is to try first whether the provider is back."""

counters = Table(
    "counters",
    metadata,
    Column("name", Text, nullable=False),
    Column("label", Text, nullable=False, server_default=""),
    Column("value", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("name", "label", name="one_counter_a_name_and_label"),
)

ticks = Table(
    "ticks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("summary", Text, nullable=False, server_default=""),
    moment("last_at", now=True),
    moment("last_success_at"),
    Column("last_error", Text, nullable=False, server_default=""),
)
"""When each sweep and poll ran last; a silent sweep is seen by its age."""


def owner_columns(table: Table, prefix: str = "owner") -> Iterable[Column[object]]:
    """The five identity columns of ``table``, in the order of ``domain.ownership.Owner``."""
    return [table.c[f"{prefix}_{field}"] for field in OWNER_FIELDS]
