"""The first schema: every table, index, function and trigger, and the stage graph as rows."""

# ORC008: one frozen statement after the other, written by tools/schema_dump.py until the first release
# ruff: noqa: E501

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0001"
down_revision: Final = None

STATEMENTS: Final = (
    """CREATE TABLE counters (
    name TEXT NOT NULL,
    label TEXT DEFAULT '' NOT NULL,
    value BIGINT DEFAULT '0' NOT NULL,
    CONSTRAINT one_counter_a_name_and_label PRIMARY KEY (name, label)
)""",
    """CREATE TABLE coverage_baselines (
    project TEXT NOT NULL,
    base_branch TEXT NOT NULL,
    line_rate NUMERIC(7, 6) NOT NULL,
    sha TEXT NOT NULL,
    raised_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT one_baseline_a_base_branch PRIMARY KEY (project, base_branch),
    CONSTRAINT a_line_rate_is_a_share CHECK (line_rate BETWEEN 0 AND 1)
)""",
    """CREATE TABLE events (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    task_id BIGINT,
    work_item TEXT,
    kind TEXT NOT NULL,
    actor TEXT DEFAULT '' NOT NULL,
    stage_seq INTEGER,
    epoch BIGINT,
    detail JSONB DEFAULT '{}'::jsonb NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (id)
)""",
    """CREATE INDEX events_of_a_task ON events (task_id, id)""",
    """CREATE INDEX events_of_a_work_item ON events (work_item, id)""",
    """CREATE TABLE inbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    source TEXT NOT NULL,
    delivery TEXT NOT NULL,
    dedupe_key TEXT NOT NULL,
    event TEXT DEFAULT '' NOT NULL,
    body BYTEA NOT NULL,
    work_item TEXT,
    attempts INTEGER DEFAULT '0' NOT NULL,
    error TEXT DEFAULT '' NOT NULL,
    note TEXT DEFAULT '' NOT NULL,
    not_before TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    processed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT a_delivery_is_kept_once UNIQUE (source, dedupe_key)
)""",
    """CREATE INDEX unprocessed_deliveries ON inbox (not_before) WHERE processed_at IS NULL""",
    """CREATE TABLE local_items (
    key TEXT NOT NULL,
    project TEXT NOT NULL,
    number INTEGER NOT NULL,
    title TEXT NOT NULL,
    body TEXT DEFAULT '' NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER DEFAULT '0' NOT NULL,
    author TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (key),
    CONSTRAINT a_number_is_used_once_a_project UNIQUE (project, number),
    CONSTRAINT a_work_item_has_a_title CHECK (length(btrim(title)) > 0)
)""",
    """CREATE INDEX local_items_by_change ON local_items (updated_at)""",
    """CREATE TABLE local_pull_requests (
    project TEXT NOT NULL,
    number INTEGER NOT NULL,
    head_branch TEXT NOT NULL,
    base_branch TEXT NOT NULL,
    state TEXT DEFAULT 'open' NOT NULL,
    title TEXT NOT NULL,
    body TEXT DEFAULT '' NOT NULL,
    merge_sha TEXT,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT a_pull_request_number_is_used_once PRIMARY KEY (project, number),
    CONSTRAINT pull_request_state_is_known CHECK (state IN ('open', 'merged', 'closed')),
    CONSTRAINT a_merged_pull_request_names_its_commit CHECK ((state = 'merged') = (merge_sha IS NOT NULL))
)""",
    """CREATE UNIQUE INDEX one_open_pull_request_a_head_and_base ON local_pull_requests (project, head_branch, base_branch) WHERE state = 'open'""",
    """CREATE TABLE local_statuses (
    project TEXT NOT NULL,
    sha TEXT NOT NULL,
    context TEXT NOT NULL,
    state TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT the_newest_status_of_a_context_counts PRIMARY KEY (project, sha, context),
    CONSTRAINT status_state_is_known CHECK (state IN ('pending', 'success', 'failure'))
)""",
    """CREATE TABLE nodes (
    node TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    pid_ns BIGINT NOT NULL,
    incarnation INTEGER DEFAULT '1' NOT NULL,
    draining BOOLEAN DEFAULT 'false' NOT NULL,
    registered_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    last_seen_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    lost_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (node)
)""",
    """CREATE TABLE provider_pauses (
    runtime TEXT NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    why TEXT NOT NULL,
    refusals INTEGER DEFAULT '1' NOT NULL,
    tried_by BIGINT,
    tried_at TIMESTAMP WITH TIME ZONE,
    refused_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (runtime),
    CONSTRAINT a_try_says_who_and_when CHECK ((tried_by IS NULL) = (tried_at IS NULL))
)""",
    """CREATE TABLE stage_edges (
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    CONSTRAINT an_edge_is_listed_once PRIMARY KEY (source, target)
)""",
    """CREATE TABLE switches (
    name TEXT NOT NULL,
    scope TEXT DEFAULT '*' NOT NULL,
    set_by TEXT NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    set_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (name, scope),
    CONSTRAINT switch_is_known CHECK (name IN ('pause', 'panic', 'lane'))
)""",
    """CREATE TABLE tasks (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    work_item TEXT NOT NULL,
    project TEXT NOT NULL,
    title TEXT NOT NULL,
    body TEXT DEFAULT '' NOT NULL,
    author TEXT DEFAULT '' NOT NULL,
    priority INTEGER DEFAULT '0' NOT NULL,
    stage TEXT DEFAULT 'analysis' NOT NULL,
    stage_seq INTEGER DEFAULT '0' NOT NULL,
    lease_epoch BIGINT DEFAULT '0' NOT NULL,
    round INTEGER DEFAULT '0' NOT NULL,
    generation INTEGER DEFAULT '0' NOT NULL,
    branch TEXT NOT NULL,
    worktree_node TEXT,
    head_sha TEXT,
    pull_request INTEGER,
    merged_sha TEXT,
    merged_by_hand BOOLEAN DEFAULT 'false' NOT NULL,
    stop_requested_by TEXT,
    stop_requested_at TIMESTAMP WITH TIME ZONE,
    stop_acknowledged_at TIMESTAMP WITH TIME ZONE,
    parked_reason TEXT,
    parked_at TIMESTAMP WITH TIME ZONE,
    approved_by TEXT,
    approved_at TIMESTAMP WITH TIME ZONE,
    rejected_by TEXT,
    rejected_why TEXT,
    retry_not_before TIMESTAMP WITH TIME ZONE,
    blocked_by TEXT[] DEFAULT '{}'::text[] NOT NULL,
    reasons JSONB DEFAULT '[]'::jsonb NOT NULL,
    reasons_at TIMESTAMP WITH TIME ZONE,
    reasons_until TIMESTAMP WITH TIME ZONE,
    facts_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    stage_entered_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT stage_is_known CHECK (stage IN ('analysis', 'architecture', 'development', 'review', 'testing', 'deploy-staging', 'deploy', 'done', 'cancelled')),
    CONSTRAINT fences_only_grow_from_zero CHECK (stage_seq >= 0 AND lease_epoch >= 0 AND round >= 0),
    CONSTRAINT a_stop_names_who_and_when CHECK ((stop_requested_by IS NULL) = (stop_requested_at IS NULL)),
    CONSTRAINT a_parked_task_says_why_and_since CHECK ((parked_reason IS NULL) = (parked_at IS NULL))
)""",
    """CREATE INDEX live_tasks_by_due_time ON tasks (priority DESC, created_at) WHERE stage NOT IN ('cancelled', 'done')""",
    """CREATE INDEX live_tasks_by_project ON tasks (project, stage) WHERE stage NOT IN ('cancelled', 'done')""",
    """CREATE UNIQUE INDEX one_live_task_a_work_item ON tasks (work_item) WHERE stage NOT IN ('cancelled', 'done')""",
    """CREATE TABLE ticks (
    name TEXT NOT NULL,
    summary TEXT DEFAULT '' NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    last_success_at TIMESTAMP WITH TIME ZONE,
    last_error TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (name)
)""",
    """CREATE TABLE deployments (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    project TEXT NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT DEFAULT 'deploy' NOT NULL,
    task_id BIGINT NOT NULL,
    visit INTEGER NOT NULL,
    sha TEXT NOT NULL,
    image TEXT,
    status TEXT DEFAULT 'requested' NOT NULL,
    owner_node TEXT,
    owner_boot_id TEXT,
    owner_pid_ns BIGINT,
    owner_pid BIGINT,
    owner_start_ticks BIGINT,
    previous_sha TEXT,
    observed_sha TEXT,
    detail TEXT DEFAULT '' NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    launched_at TIMESTAMP WITH TIME ZONE,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT deployment_status_is_known CHECK (status IN ('requested', 'running', 'succeeded', 'failed', 'rolled_back', 'revoked')),
    CONSTRAINT deployment_kind_is_known CHECK (kind IN ('deploy', 'roll_back')),
    CONSTRAINT deployer_is_complete_or_absent CHECK (num_nulls(owner_node, owner_boot_id, owner_pid_ns, owner_pid, owner_start_ticks) IN (0, 5)),
    CONSTRAINT a_running_deployment_names_its_deployer CHECK (status <> 'running' OR owner_pid IS NOT NULL),
    CONSTRAINT one_deployment_a_visit_and_environment UNIQUE (task_id, visit, environment, kind),
    CONSTRAINT a_deployment_serves_a_task FOREIGN KEY(task_id) REFERENCES tasks (id)
)""",
    """CREATE INDEX unfinished_deployments ON deployments (id) WHERE status IN ('requested', 'running')""",
    """CREATE UNIQUE INDEX one_running_deployment_an_environment ON deployments (project, environment) WHERE status = 'running'""",
    """CREATE TABLE effects (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    task_id BIGINT NOT NULL,
    visit INTEGER NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    status TEXT DEFAULT 'claimed' NOT NULL,
    epoch BIGINT NOT NULL,
    actor TEXT NOT NULL,
    adoptions INTEGER DEFAULT '0' NOT NULL,
    sends INTEGER DEFAULT '0' NOT NULL,
    request JSONB DEFAULT '{}'::jsonb NOT NULL,
    result JSONB DEFAULT '{}'::jsonb NOT NULL,
    claimed_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    sent_at TIMESTAMP WITH TIME ZONE,
    settled_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT effect_status_is_known CHECK (status IN ('claimed', 'confirmed', 'refused', 'revoked')),
    CONSTRAINT effect_kind_is_known CHECK (kind IN ('tracker_state', 'tracker_comment', 'notify', 'open_pr', 'merge_pr', 'ratchet_coverage', 'rebuild_image', 'start_deploy_staging', 'start_deploy_production', 'roll_back_deploy', 'close_pr', 'delete_branch', 'remove_worktree')),
    CONSTRAINT a_settled_effect_says_when CHECK ((status = 'claimed') = (settled_at IS NULL)),
    CONSTRAINT one_effect_a_visit_kind_and_target UNIQUE (task_id, visit, kind, target),
    CONSTRAINT an_effect_belongs_to_a_task FOREIGN KEY(task_id) REFERENCES tasks (id)
)""",
    """CREATE INDEX open_claims ON effects (task_id) WHERE status = 'claimed'""",
    """CREATE TABLE gate_results (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    task_id BIGINT NOT NULL,
    project TEXT NOT NULL,
    visit INTEGER NOT NULL,
    round INTEGER NOT NULL,
    gate TEXT NOT NULL,
    outcome TEXT NOT NULL,
    evidence TEXT NOT NULL,
    head_sha TEXT,
    base_sha TEXT,
    tree_sha TEXT,
    config_digest TEXT DEFAULT '' NOT NULL,
    reused BOOLEAN DEFAULT 'false' NOT NULL,
    epoch BIGINT NOT NULL,
    duration_s FLOAT DEFAULT '0' NOT NULL,
    figure FLOAT,
    not_before TIMESTAMP WITH TIME ZONE,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT gate_outcome_is_known CHECK (outcome IN ('pass', 'fail', 'error', 'wait')),
    CONSTRAINT a_gate_judges_a_task FOREIGN KEY(task_id) REFERENCES tasks (id)
)""",
    """CREATE INDEX gate_results_of_a_round ON gate_results (task_id, visit, round)""",
    """CREATE INDEX passed_trees ON gate_results (project, gate, tree_sha) WHERE outcome = 'pass' AND tree_sha IS NOT NULL""",
    """CREATE TABLE images (
    project TEXT NOT NULL,
    tag TEXT NOT NULL,
    recipe_digest TEXT NOT NULL,
    task_id BIGINT,
    built_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT an_image_tag_is_built_once PRIMARY KEY (project, tag),
    CONSTRAINT an_image_was_built_for_a_task FOREIGN KEY(task_id) REFERENCES tasks (id)
)""",
    """CREATE TABLE jobs (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    task_id BIGINT NOT NULL,
    stage TEXT NOT NULL,
    visit INTEGER NOT NULL,
    round INTEGER NOT NULL,
    status TEXT DEFAULT 'queued' NOT NULL,
    node TEXT,
    evidence TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    dispatched_at TIMESTAMP WITH TIME ZONE,
    started_at TIMESTAMP WITH TIME ZONE,
    exited_at TIMESTAMP WITH TIME ZONE,
    exit_code INTEGER,
    settled_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    verdict JSONB,
    head_sha TEXT,
    detail TEXT DEFAULT '' NOT NULL,
    resume_at TIMESTAMP WITH TIME ZONE,
    counted BOOLEAN DEFAULT 'false' NOT NULL,
    dead_ticks INTEGER DEFAULT '0' NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    finalizer_node TEXT,
    finalizer_boot_id TEXT,
    finalizer_pid_ns BIGINT,
    finalizer_pid BIGINT,
    finalizer_start_ticks BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT job_status_is_known CHECK (status IN ('queued', 'running', 'finished', 'lost', 'cancelled')),
    CONSTRAINT job_stage_is_known CHECK (stage IN ('analysis', 'architecture', 'development', 'review', 'testing', 'deploy-staging', 'deploy', 'done', 'cancelled')),
    CONSTRAINT job_outcome_is_known CHECK (outcome IS NULL OR outcome IN ('verdict', 'no-verdict', 'killed', 'timed-out', 'silent', 'bad-start', 'auth', 'quota', 'rate-limited', 'overloaded', 'turn-limit', 'budget', 'context-full', 'interrupted', 'lost', 'stopped')),
    CONSTRAINT a_finished_job_says_when CHECK ((status IN ('finished', 'lost', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT finalizer_is_complete_or_absent CHECK (num_nulls(finalizer_node, finalizer_boot_id, finalizer_pid_ns, finalizer_pid, finalizer_start_ticks) IN (0, 5)),
    CONSTRAINT one_job_a_round UNIQUE (task_id, visit, round),
    CONSTRAINT a_job_belongs_to_a_task FOREIGN KEY(task_id) REFERENCES tasks (id)
)""",
    """CREATE INDEX live_jobs ON jobs (status, id) WHERE status IN ('queued', 'running')""",
    """CREATE UNIQUE INDEX one_live_job_a_task ON jobs (task_id) WHERE status IN ('queued', 'running')""",
    """CREATE TABLE local_blocks (
    item TEXT NOT NULL,
    blocked_by TEXT NOT NULL,
    CONSTRAINT a_block_is_listed_once PRIMARY KEY (item, blocked_by),
    CONSTRAINT no_item_blocks_itself CHECK (item <> blocked_by),
    CONSTRAINT a_blocked_item_exists FOREIGN KEY(item) REFERENCES local_items (key),
    CONSTRAINT a_blocking_item_exists FOREIGN KEY(blocked_by) REFERENCES local_items (key)
)""",
    """CREATE TABLE local_comments (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    item TEXT NOT NULL,
    marker TEXT NOT NULL,
    author TEXT NOT NULL,
    text TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT a_marked_comment_is_written_once UNIQUE (item, marker),
    CONSTRAINT a_comment_belongs_to_an_item FOREIGN KEY(item) REFERENCES local_items (key)
)""",
    """CREATE TABLE merge_lease (
    project TEXT NOT NULL,
    base_branch TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    task_id BIGINT NOT NULL,
    lease_epoch BIGINT NOT NULL,
    owner_node TEXT,
    owner_boot_id TEXT,
    owner_pid_ns BIGINT,
    owner_pid BIGINT,
    owner_start_ticks BIGINT,
    acquired_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    released_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT one_lane_a_base_branch PRIMARY KEY (project, base_branch),
    CONSTRAINT lane_owner_is_complete_or_absent CHECK (num_nulls(owner_node, owner_boot_id, owner_pid_ns, owner_pid, owner_start_ticks) IN (0, 5)),
    CONSTRAINT a_held_lane_names_its_owner CHECK (released_at IS NOT NULL OR num_nulls(owner_node, owner_pid) = 0),
    CONSTRAINT a_merge_lane_serves_a_task FOREIGN KEY(task_id) REFERENCES tasks (id)
)""",
    """CREATE TABLE transition_lease (
    task_id BIGINT NOT NULL,
    edge TEXT DEFAULT '' NOT NULL,
    actor TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    owner_node TEXT,
    owner_boot_id TEXT,
    owner_pid_ns BIGINT,
    owner_pid BIGINT,
    owner_start_ticks BIGINT,
    child_pgid BIGINT,
    child_start_ticks BIGINT,
    acquired_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    released_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (task_id),
    CONSTRAINT lease_owner_is_complete_or_absent CHECK (num_nulls(owner_node, owner_boot_id, owner_pid_ns, owner_pid, owner_start_ticks) IN (0, 5)),
    CONSTRAINT a_held_lease_names_its_owner CHECK (released_at IS NOT NULL OR num_nulls(owner_node, owner_pid) = 0),
    CONSTRAINT lease_actor_is_known CHECK (actor IN ('monitor', 'plane', 'gitea', 'reconciler', 'reaper', 'finalizer', 'operator')),
    CONSTRAINT a_lease_guards_a_task FOREIGN KEY(task_id) REFERENCES tasks (id)
)""",
    """CREATE INDEX held_leases ON transition_lease (acquired_at) WHERE released_at IS NULL""",
    """CREATE TABLE agent_runs (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    job_id BIGINT NOT NULL,
    run_id TEXT NOT NULL,
    turn INTEGER DEFAULT '0' NOT NULL,
    runtime TEXT NOT NULL,
    node TEXT NOT NULL,
    run_dir TEXT NOT NULL,
    config_digest TEXT DEFAULT '' NOT NULL,
    launcher_node TEXT,
    launcher_boot_id TEXT,
    launcher_pid_ns BIGINT,
    launcher_pid BIGINT,
    launcher_start_ticks BIGINT,
    owner_node TEXT,
    owner_boot_id TEXT,
    owner_pid_ns BIGINT,
    owner_pid BIGINT,
    owner_start_ticks BIGINT,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    exited_at TIMESTAMP WITH TIME ZONE,
    exit_code INTEGER,
    exit_signal INTEGER,
    exit_reason TEXT,
    outcome TEXT,
    session_id TEXT,
    model TEXT DEFAULT '' NOT NULL,
    cli_version TEXT DEFAULT '' NOT NULL,
    tokens_in BIGINT,
    tokens_out BIGINT,
    cost_usd NUMERIC(12, 6),
    PRIMARY KEY (id),
    CONSTRAINT launcher_is_complete_or_absent CHECK (num_nulls(launcher_node, launcher_boot_id, launcher_pid_ns, launcher_pid, launcher_start_ticks) IN (0, 5)),
    CONSTRAINT run_owner_is_complete_or_absent CHECK (num_nulls(owner_node, owner_boot_id, owner_pid_ns, owner_pid, owner_start_ticks) IN (0, 5)),
    CONSTRAINT at_most_one_repair_turn CHECK (turn IN (0, 1)),
    CONSTRAINT a_run_id_is_used_once UNIQUE (run_id),
    CONSTRAINT one_run_a_turn UNIQUE (job_id, turn),
    CONSTRAINT a_run_belongs_to_a_job FOREIGN KEY(job_id) REFERENCES jobs (id)
)""",
    """CREATE INDEX runs_by_start ON agent_runs (started_at)""",
    """CREATE INDEX runs_of_a_session ON agent_runs (session_id) WHERE session_id IS NOT NULL""",
    """
    CREATE OR REPLACE FUNCTION orch_actor() RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT coalesce(nullif(current_setting('orch.actor', true), ''), session_user::text) $$
    """,
    """
    CREATE OR REPLACE FUNCTION orch_lease_mark() RETURNS jsonb LANGUAGE sql STABLE AS
    $$ SELECT CASE WHEN current_setting('orch.lease', true) = 'off' THEN '{"lease": "off"}'::jsonb ELSE '{}' END $$
    """,
    """
    CREATE OR REPLACE FUNCTION refuse_illegal_stage_step() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.stage = OLD.stage THEN
        IF NEW.stage_seq <> OLD.stage_seq THEN
          RAISE EXCEPTION 'stage_seq moves only with the stage' USING ERRCODE = 'check_violation',
            CONSTRAINT = 'stage_seq_moves_only_with_the_stage';
        END IF;
      ELSIF NEW.stage_seq <> OLD.stage_seq + 1 THEN
        RAISE EXCEPTION 'a stage commit raises stage_seq by one' USING ERRCODE = 'check_violation',
          CONSTRAINT = 'a_stage_commit_raises_stage_seq_by_one';
      ELSIF NOT EXISTS (SELECT FROM stage_edges e WHERE e.source = OLD.stage AND e.target = NEW.stage) THEN
        RAISE EXCEPTION 'no edge % -> %', OLD.stage, NEW.stage USING ERRCODE = 'check_violation',
          CONSTRAINT = 'a_stage_commit_follows_an_edge';
      END IF;
      IF NEW.lease_epoch < OLD.lease_epoch THEN
        RAISE EXCEPTION 'the epoch never falls' USING ERRCODE = 'check_violation',
          CONSTRAINT = 'the_epoch_never_falls';
      END IF;
      RETURN NEW;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION record_task_history() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE kind text := NULL; detail jsonb := '{}';
    BEGIN
      IF TG_OP = 'INSERT' THEN
        kind := 'task.created'; detail := jsonb_build_object('to', NEW.stage);
      ELSIF NEW.stage <> OLD.stage THEN
        kind := 'stage.committed';
        detail := jsonb_build_object('from', OLD.stage, 'to', NEW.stage) || orch_lease_mark();
      ELSIF NEW.stop_requested_at IS DISTINCT FROM OLD.stop_requested_at THEN
        kind := 'stop.requested'; detail := jsonb_build_object('by', NEW.stop_requested_by);
      ELSIF NEW.stop_acknowledged_at IS DISTINCT FROM OLD.stop_acknowledged_at THEN
        kind := 'stop.acknowledged';
      ELSIF NEW.parked_at IS DISTINCT FROM OLD.parked_at THEN
        kind := CASE WHEN NEW.parked_at IS NULL THEN 'task.unparked' ELSE 'task.parked' END;
        detail := jsonb_build_object('reason', coalesce(NEW.parked_reason, OLD.parked_reason));
      ELSIF NEW.approved_at IS DISTINCT FROM OLD.approved_at AND NEW.approved_at IS NOT NULL THEN
        kind := 'task.approved'; detail := jsonb_build_object('by', NEW.approved_by);
      END IF;
      IF kind IS NOT NULL THEN
        INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail)
        VALUES (NEW.id, NEW.work_item, kind, orch_actor(), NEW.stage_seq, NEW.lease_epoch, detail);
      END IF;
      RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION record_status_history() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE detail jsonb; was text := NULL; what text := NEW.status;
    BEGIN
      IF TG_OP = 'UPDATE' THEN
        was := OLD.status;
        IF NEW.status = OLD.status THEN
          IF to_jsonb(NEW)->'adoptions' IS NOT DISTINCT FROM to_jsonb(OLD)->'adoptions' THEN RETURN NULL; END IF;
          what := 'adopted';
        END IF;
      END IF;
      detail := jsonb_strip_nulls(jsonb_build_object('id', NEW.id, 'from', was, 'to', NEW.status))
                || (to_jsonb(NEW) - ARRAY(SELECT jsonb_object_keys(to_jsonb(NEW))
                    EXCEPT SELECT unnest(ARRAY['kind', 'target', 'environment', 'sha', 'stage', 'outcome', 'round',
                                                       'epoch'])))
                || orch_lease_mark();
      INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail)
      SELECT NEW.task_id, t.work_item, TG_ARGV[0] || '.' || what, orch_actor(), t.stage_seq,
             t.lease_epoch, detail
        FROM tasks t WHERE t.id = NEW.task_id;
      RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION record_lease_history() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE how text;
    BEGIN
      IF OLD.released_at IS NOT NULL OR (NEW.released_at IS NULL AND NEW.epoch = OLD.epoch) THEN RETURN NULL; END IF;
      how := CASE WHEN NEW.released_at IS NULL THEN 'taken' WHEN NEW.epoch = OLD.epoch THEN 'released'
                  ELSE 'forced' END;
      INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail)
      SELECT OLD.task_id, t.work_item, 'lease.ended', orch_actor(), t.stage_seq, OLD.epoch,
             jsonb_build_object('how', how, 'edge', OLD.edge, 'actor', OLD.actor, 'acquired_at', OLD.acquired_at,
               'owner', jsonb_build_object('node', OLD.owner_node, 'boot_id', OLD.owner_boot_id,
                 'pid_ns', OLD.owner_pid_ns, 'pid', OLD.owner_pid, 'start_ticks', OLD.owner_start_ticks))
             || CASE WHEN OLD.child_pgid IS NULL THEN '{}' ELSE jsonb_build_object('child',
                  jsonb_build_object('pgid', OLD.child_pgid, 'start_ticks', OLD.child_start_ticks)) END
        FROM tasks t WHERE t.id = OLD.task_id;
      RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION refuse_falling_coverage() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.line_rate < OLD.line_rate THEN
        RAISE EXCEPTION 'a coverage baseline never falls' USING ERRCODE = 'check_violation',
          CONSTRAINT = 'a_coverage_baseline_never_falls';
      END IF;
      RETURN NEW;
    END $$
    """,
    """CREATE TRIGGER a_stage_step_follows_the_graph BEFORE UPDATE OF stage, stage_seq, lease_epoch ON tasks FOR EACH ROW EXECUTE FUNCTION refuse_illegal_stage_step()""",
    """CREATE TRIGGER every_task_change_leaves_a_trace AFTER INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION record_task_history()""",
    """CREATE TRIGGER every_job_change_leaves_a_trace AFTER INSERT OR UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION record_status_history('job')""",
    """CREATE TRIGGER every_effect_change_leaves_a_trace AFTER INSERT OR UPDATE ON effects FOR EACH ROW EXECUTE FUNCTION record_status_history('effect')""",
    """CREATE TRIGGER every_deployment_change_leaves_a_trace AFTER INSERT OR UPDATE ON deployments FOR EACH ROW EXECUTE FUNCTION record_status_history('deployment')""",
    """CREATE TRIGGER every_lease_leaves_a_trace AFTER UPDATE ON transition_lease FOR EACH ROW EXECUTE FUNCTION record_lease_history()""",
    """CREATE TRIGGER a_coverage_baseline_never_falls BEFORE UPDATE ON coverage_baselines FOR EACH ROW EXECUTE FUNCTION refuse_falling_coverage()""",
    """INSERT INTO stage_edges (source, target) VALUES
    ('analysis', 'architecture'),
    ('analysis', 'cancelled'),
    ('architecture', 'cancelled'),
    ('architecture', 'development'),
    ('development', 'cancelled'),
    ('development', 'review'),
    ('review', 'cancelled'),
    ('review', 'development'),
    ('review', 'testing'),
    ('testing', 'cancelled'),
    ('testing', 'deploy-staging'),
    ('testing', 'development'),
    ('deploy-staging', 'cancelled'),
    ('deploy-staging', 'deploy'),
    ('deploy-staging', 'development'),
    ('deploy', 'cancelled'),
    ('deploy', 'development'),
    ('deploy', 'done')""",
)


def upgrade() -> None:
    """Create all of it in an empty database."""
    for statement in STATEMENTS:
        op.execute(statement)
