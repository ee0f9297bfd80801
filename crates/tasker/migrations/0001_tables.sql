-- The facts (definitions, tasks, transitions, payloads) and the little that is remembered beside them (join counts, the
-- queue, the leases). A task is one row until something happens; a step is its last transition, and pending without one.

create type tasker.step_state as enum ('pending', 'in_progress', 'complete', 'failed', 'cancelled', 'resolved_manually', 'skipped');
create type tasker.task_state as enum ('pending', 'in_progress', 'complete', 'failed', 'cancelled', 'resolved_manually');
create type tasker.verb as enum ('submit', 'claim', 'settle', 'release', 'reap', 'deadline', 'finish', 'cancel', 'retry', 'resolve', 'pause', 'resume', 'change_limit', 'edit_input');

create sequence tasker.transition_numbers as bigint cache 1;
comment on sequence tasker.transition_numbers is 'Numbers of transitions: what causes has the smaller number.';

-- Definitions: written at registration, immutable.

create table tasker.task_namespaces (
  task_namespace_id int generated always as identity primary key,
  name text not null unique,
  constraint name_is_legal check (name ~ '^[a-z][a-z0-9_]{0,62}$')
);
comment on table tasker.task_namespaces is 'Tenants: every workflow lives in one.';
comment on column tasker.task_namespaces.task_namespace_id is 'Its id.';
comment on column tasker.task_namespaces.name is 'Its name, for example "shop".';

create table tasker.handlers (
  handler_id int generated always as identity primary key,
  name text not null unique,
  limited boolean not null default false
);
comment on table tasker.handlers is 'Names of handlers: what a node needs and a worker serves.';
comment on column tasker.handlers.handler_id is 'Its id, a part of the key of the queue.';
comment on column tasker.handlers.name is 'Its name, for example "command" or "shop.fulfil_order.ship".';
comment on column tasker.handlers.limited is 'Whether any node with this handler has a concurrency limit; never goes back to false.';

create table tasker.named_tasks (
  named_task_id int generated always as identity primary key,
  task_namespace_id int not null references tasker.task_namespaces,
  name text not null,
  version text not null,
  release int[],
  definition json not null,
  content_hash text not null,
  total_steps int not null,
  leaf_count int not null,
  created_at timestamptz not null,
  unique (task_namespace_id, name, version),
  constraint name_is_legal check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint has_steps check (total_steps between 1 and 100000 and leaf_count between 1 and total_steps)
);
create index on tasker.named_tasks (task_namespace_id, name, release desc nulls last);
comment on table tasker.named_tasks is 'Registered workflows: one row a version, immutable.';
comment on column tasker.named_tasks.named_task_id is 'Its id.';
comment on column tasker.named_tasks.task_namespace_id is 'The namespace it lives in.';
comment on column tasker.named_tasks.name is 'The workflow''s name.';
comment on column tasker.named_tasks.version is 'The semantic version, unique with namespace and name.';
comment on column tasker.named_tasks.release is 'Major, minor and patch of a release; null for pre-releases and builds. The highest is what a submission without a version takes.';
comment on column tasker.named_tasks.definition is 'The validated definition as JSON: handlers, arguments, templates, the input''s schema.';
comment on column tasker.named_tasks.content_hash is 'SHA-256 of the definition''s canonical JSON, in hexadecimal.';
comment on column tasker.named_tasks.total_steps is 'How many steps a task of it has.';
comment on column tasker.named_tasks.leaf_count is 'How many of them have no children.';
comment on column tasker.named_tasks.created_at is 'When it was registered.';

create table tasker.named_steps (
  named_step_id int generated always as identity primary key,
  task_namespace_id int not null references tasker.task_namespaces,
  task_name text not null,
  name text not null,
  unique (task_namespace_id, task_name, name),
  constraint name_is_legal check (name ~ '^[a-z][a-z0-9_]{0,62}$')
);
comment on table tasker.named_steps is 'A step''s name in a workflow, shared by the workflow''s versions: what statistics and limits are kept of.';
comment on column tasker.named_steps.named_step_id is 'Its id.';
comment on column tasker.named_steps.task_namespace_id is 'The workflow''s namespace.';
comment on column tasker.named_steps.task_name is 'The workflow''s name.';
comment on column tasker.named_steps.name is 'The step''s name.';

create table tasker.named_tasks_named_steps (
  named_task_id int not null references tasker.named_tasks,
  step_number int not null,
  named_step_id int not null references tasker.named_steps,
  name text not null,
  handler_id int not null references tasker.handlers,
  retry_limit int not null,
  retryable boolean not null,
  base_retry_delay double precision not null,
  max_retry_delay double precision not null,
  timeout double precision,
  lane smallint not null,
  concurrency_limit int,
  concurrency_key text[],
  needs int[] not null,
  parent_count int not null,
  child_count int not null,
  min_depth_from_root int not null,
  max_depth_from_root int not null,
  max_depth_to_leaf int not null,
  primary key (named_task_id, step_number),
  constraint number_fits_in_the_id check (step_number between 0 and 16777214),
  constraint at_least_one_attempt check (retry_limit >= 1),
  constraint delays_are_sane check (base_retry_delay between 0 and 31622400 and max_retry_delay between 0 and 31622400),
  constraint timeout_is_positive check (timeout > 0),
  constraint lane_is_known check (lane between 0 and 2),
  constraint limit_has_a_key check ((concurrency_limit >= 1 and concurrency_key is not null) or (concurrency_limit is null and concurrency_key is null))
);
create index on tasker.named_tasks_named_steps (named_task_id, step_number) where parent_count = 0;
comment on table tasker.named_tasks_named_steps is 'The nodes of a version''s graph.';
comment on column tasker.named_tasks_named_steps.named_task_id is 'The workflow''s version.';
comment on column tasker.named_tasks_named_steps.step_number is 'The node''s place in it, from 0; also the last 24 bits of its steps'' ids, less 1.';
comment on column tasker.named_tasks_named_steps.named_step_id is 'The named step.';
comment on column tasker.named_tasks_named_steps.name is 'The step''s name.';
comment on column tasker.named_tasks_named_steps.handler_id is 'What runs it.';
comment on column tasker.named_tasks_named_steps.retry_limit is 'The greatest number of attempts, the first included.';
comment on column tasker.named_tasks_named_steps.retryable is 'Whether a failure that does not say otherwise may be retried.';
comment on column tasker.named_tasks_named_steps.base_retry_delay is 'The first delay between attempts, in seconds.';
comment on column tasker.named_tasks_named_steps.max_retry_delay is 'The greatest delay between attempts, in seconds.';
comment on column tasker.named_tasks_named_steps.timeout is 'The greatest duration of an attempt, in seconds; null: none.';
comment on column tasker.named_tasks_named_steps.lane is 'Its priority: 0 high, 1 normal, 2 low.';
comment on column tasker.named_tasks_named_steps.concurrency_limit is 'How many may run at once for each key; null: no limit.';
comment on column tasker.named_tasks_named_steps.concurrency_key is 'The key''s path of members in the task''s context; empty: one key for all.';
comment on column tasker.named_tasks_named_steps.needs is 'Numbers of the steps whose results an attempt is given.';
comment on column tasker.named_tasks_named_steps.parent_count is 'How many parents it has.';
comment on column tasker.named_tasks_named_steps.child_count is 'How many children it has; 0: a leaf.';
comment on column tasker.named_tasks_named_steps.min_depth_from_root is 'Edges on the shortest path from a root.';
comment on column tasker.named_tasks_named_steps.max_depth_from_root is 'Edges on the longest path from a root: its level.';
comment on column tasker.named_tasks_named_steps.max_depth_to_leaf is 'Edges on the longest path to a leaf: its height.';

create table tasker.named_task_edges (
  named_task_id int not null references tasker.named_tasks,
  from_step int not null,
  to_step int not null,
  primary key (named_task_id, from_step, to_step),
  constraint no_step_waits_for_itself check (from_step <> to_step)
);
create index on tasker.named_task_edges (named_task_id, to_step, from_step);
comment on table tasker.named_task_edges is 'The edges of a version''s graph: from_step must be satisfied before to_step may run.';
comment on column tasker.named_task_edges.named_task_id is 'The workflow''s version.';
comment on column tasker.named_task_edges.from_step is 'The parent''s step number.';
comment on column tasker.named_task_edges.to_step is 'The child''s step number.';

-- Tasks.

create table tasker.tasks (
  task_id uuid primary key,
  named_task_id int not null,
  state tasker.task_state not null,
  paused boolean not null default false,
  open_leaves int not null,
  lane smallint,
  run_at timestamptz not null,
  deadline timestamptz,
  unique_key text,
  created_at timestamptz not null,
  finished_at timestamptz,
  constraint id_ends_in_24_zero_bits check (right(task_id::text, 6) = '000000'),
  constraint complete_means_no_open_leaf check (open_leaves >= 0 and (state <> 'complete' or open_leaves = 0)),
  constraint ended_has_an_instant check ((state in ('pending', 'in_progress')) = (finished_at is null)),
  constraint lane_is_known check (lane between 0 and 2),
  constraint instants_are_finite check (isfinite(run_at) and isfinite(deadline))
) with (fillfactor = 80);
create index on tasker.tasks (named_task_id, task_id);
comment on table tasker.tasks is 'Submissions of workflows.';
comment on column tasker.tasks.task_id is 'Its id, a UUIDv7 that ends in 24 zero bits; the ids of its steps sort beside it.';
comment on column tasker.tasks.named_task_id is 'The workflow''s version with which it began and ends.';
comment on column tasker.tasks.state is 'Its recorded state; a claim does not record in_progress, the views show it.';
comment on column tasker.tasks.paused is 'Whether a person has paused it: nothing new starts.';
comment on column tasker.tasks.open_leaves is 'How many of its leaves are not satisfied: at none it is complete.';
comment on column tasker.tasks.lane is 'Its priority where the submission gave one: 0 high, 1 normal, 2 low.';
comment on column tasker.tasks.run_at is 'No step starts before this instant.';
comment on column tasker.tasks.deadline is 'When its open steps fail; null: never.';
comment on column tasker.tasks.unique_key is 'At most one live task of the namespace has this key; null: no such rule.';
comment on column tasker.tasks.created_at is 'When it was submitted.';
comment on column tasker.tasks.finished_at is 'When it ended; null while it is live.';

create table tasker.task_payloads (
  task_id uuid primary key,
  context jsonb not null,
  tags jsonb,
  summary text,
  constraint tags_are_an_object check (jsonb_typeof(tags) = 'object'),
  constraint summary_is_one_line check (length(summary) <= 500 and summary !~ '[\r\n]')
);
create index on tasker.task_payloads using gin (tags jsonb_path_ops) where tags is not null;
comment on table tasker.task_payloads is 'What a task was submitted with.';
comment on column tasker.task_payloads.task_id is 'The task.';
comment on column tasker.task_payloads.context is 'Its input.';
comment on column tasker.task_payloads.tags is 'Names and values to find it by.';
comment on column tasker.task_payloads.summary is 'One line for people.';

create table tasker.task_deadlines (
  task_id uuid primary key,
  deadline timestamptz not null
);
create index on tasker.task_deadlines (deadline, task_id);
comment on table tasker.task_deadlines is 'Deadlines of live tasks that have not been acted on.';
comment on column tasker.task_deadlines.task_id is 'The task.';
comment on column tasker.task_deadlines.deadline is 'Its deadline.';

create table tasker.idempotency_keys (
  task_namespace_id int not null,
  idempotency_key text not null,
  task_id uuid not null,
  body_hash bytea not null,
  created_at timestamptz not null,
  primary key (task_namespace_id, idempotency_key),
  constraint key_is_short check (length(idempotency_key) between 1 and 255)
);
create index on tasker.idempotency_keys (created_at);
comment on table tasker.idempotency_keys is 'Keys of submissions, kept for 30 days: the same key and body gives the first task.';
comment on column tasker.idempotency_keys.task_namespace_id is 'The namespace in which the key is unique.';
comment on column tasker.idempotency_keys.idempotency_key is 'The caller''s key, 1 to 255 characters.';
comment on column tasker.idempotency_keys.task_id is 'The task that it began.';
comment on column tasker.idempotency_keys.body_hash is 'SHA-256 of what was submitted.';
comment on column tasker.idempotency_keys.created_at is 'When it was first used.';

create table tasker.unique_live_keys (
  task_namespace_id int not null,
  unique_key text not null,
  task_id uuid not null,
  primary key (task_namespace_id, unique_key),
  constraint key_is_short check (length(unique_key) between 1 and 255)
);
create index on tasker.unique_live_keys (task_id);
comment on table tasker.unique_live_keys is 'The live task that holds a unique_while_live key.';
comment on column tasker.unique_live_keys.task_namespace_id is 'The namespace in which the key is unique.';
comment on column tasker.unique_live_keys.unique_key is 'The caller''s key, 1 to 255 characters.';
comment on column tasker.unique_live_keys.task_id is 'The live task.';

-- History: append only.

create table tasker.task_transitions (
  task_id uuid not null,
  number bigint not null,
  to_state tasker.task_state not null,
  paused boolean not null,
  verb tasker.verb not null,
  at timestamptz not null,
  actor text,
  reason text,
  xid xid8 not null default pg_current_xact_id(),
  primary key (task_id, number)
);
create index on tasker.task_transitions (xid);
comment on table tasker.task_transitions is 'What happened to tasks: a row for each move, and for pause and resume.';
comment on column tasker.task_transitions.task_id is 'The task.';
comment on column tasker.task_transitions.number is 'Its place in the order of events.';
comment on column tasker.task_transitions.to_state is 'The state from then on.';
comment on column tasker.task_transitions.paused is 'Whether it is paused from then on.';
comment on column tasker.task_transitions.verb is 'What moved it.';
comment on column tasker.task_transitions.at is 'When, by the database''s clock.';
comment on column tasker.task_transitions.actor is 'Who, where a person or a program said so.';
comment on column tasker.task_transitions.reason is 'Why, where a person said so.';
comment on column tasker.task_transitions.xid is 'The transaction that wrote it: what cursors over events are made of.';

create table tasker.workflow_step_transitions (
  task_id uuid not null,
  step_number int not null,
  number bigint not null,
  to_state tasker.step_state not null,
  verb tasker.verb not null,
  at timestamptz not null,
  attempt int not null,
  claim_id uuid,
  worker_id uuid,
  next_retry_at timestamptz,
  retryable boolean not null default true,
  error_kind text,
  backoff_request_seconds double precision,
  retry_limit int,
  attempts_before int,
  generation int,
  timer timestamptz,
  last_failure_at timestamptz,
  last_attempted_at timestamptz,
  actor text,
  reason text,
  xid xid8 not null default pg_current_xact_id(),
  primary key (task_id, step_number, number),
  constraint running_has_a_claim check (to_state <> 'in_progress' or claim_id is not null or verb = 'change_limit'),
  constraint attempts_are_counted check (attempt >= 0 and coalesce(attempts_before, 0) between 0 and attempt),
  constraint limit_covers_the_attempts check (retry_limit is null or retry_limit >= greatest(attempt, 1)),
  constraint values_only_has_no_claim check (verb not in ('change_limit', 'edit_input') or claim_id is null),
  constraint only_waiting_has_an_instant check (next_retry_at is null or to_state in ('pending', 'failed')),
  constraint generation_counts_retries check (generation >= 1)
);
create index on tasker.workflow_step_transitions (xid);
comment on table tasker.workflow_step_transitions is 'What happened to steps. A step''s state is its last row here (the greatest number); without one it is pending.';
comment on column tasker.workflow_step_transitions.task_id is 'The task.';
comment on column tasker.workflow_step_transitions.step_number is 'The step''s number in it.';
comment on column tasker.workflow_step_transitions.number is 'Its place in the order of events; it orders a step''s transitions.';
comment on column tasker.workflow_step_transitions.to_state is 'The state from then on.';
comment on column tasker.workflow_step_transitions.verb is 'What wrote it; change_limit and edit_input change values only, and are no move.';
comment on column tasker.workflow_step_transitions.at is 'When, by the database''s clock.';
comment on column tasker.workflow_step_transitions.attempt is 'How many attempts count from then on, a running one included.';
comment on column tasker.workflow_step_transitions.claim_id is 'The claim that this row begins or ends.';
comment on column tasker.workflow_step_transitions.worker_id is 'The worker that holds or held the claim.';
comment on column tasker.workflow_step_transitions.next_retry_at is 'It may not start before this instant.';
comment on column tasker.workflow_step_transitions.retryable is 'Whether it may be tried again.';
comment on column tasker.workflow_step_transitions.error_kind is 'A stable word for the failure.';
comment on column tasker.workflow_step_transitions.backoff_request_seconds is 'The delay that the far side asked for, in seconds, at most 86,400.';
comment on column tasker.workflow_step_transitions.retry_limit is 'The limit of attempts where it was changed; null: the node''s. Carried forward.';
comment on column tasker.workflow_step_transitions.attempts_before is 'Attempts that the last retry by hand forgave; null: none. Carried forward.';
comment on column tasker.workflow_step_transitions.generation is 'How often it was retried by hand; null: never. Carried forward.';
comment on column tasker.workflow_step_transitions.timer is 'The instant for which a handler asked to wait. Carried forward.';
comment on column tasker.workflow_step_transitions.last_failure_at is 'When an attempt last failed. Carried forward.';
comment on column tasker.workflow_step_transitions.last_attempted_at is 'When it was last claimed. Carried forward.';
comment on column tasker.workflow_step_transitions.actor is 'Who, where a person or a program said so.';
comment on column tasker.workflow_step_transitions.reason is 'Why, where a person said so.';
comment on column tasker.workflow_step_transitions.xid is 'The transaction that wrote it: what cursors over events are made of.';

create table tasker.step_results (
  task_id uuid not null,
  step_number int not null,
  result json not null,
  primary key (task_id, step_number)
);
comment on table tasker.step_results is 'Results of satisfied steps, their text as the handler gave it.';
comment on column tasker.step_results.task_id is 'The task.';
comment on column tasker.step_results.step_number is 'The step''s number in it.';
comment on column tasker.step_results.result is 'What the handler, or a person, gave.';

create table tasker.step_errors (
  task_id uuid not null,
  step_number int not null,
  number bigint not null,
  error text not null,
  primary key (task_id, step_number, number)
);
comment on table tasker.step_errors is 'Messages of failed attempts.';
comment on column tasker.step_errors.task_id is 'The task.';
comment on column tasker.step_errors.step_number is 'The step''s number in it.';
comment on column tasker.step_errors.number is 'The number of the transition that records the failure.';
comment on column tasker.step_errors.error is 'The message, at most 64 KiB.';

create table tasker.step_inputs (
  task_id uuid not null,
  step_number int not null,
  input json not null,
  primary key (task_id, step_number)
);
comment on table tasker.step_inputs is 'Arguments that a person put in place of a step''s rendered "with".';
comment on column tasker.step_inputs.task_id is 'The task.';
comment on column tasker.step_inputs.step_number is 'The step''s number in it.';
comment on column tasker.step_inputs.input is 'The arguments from then on.';

-- What is remembered, so that answering costs nothing: recounted by step_readiness_divergences.

create table tasker.join_counts (
  task_id uuid not null,
  step_number int not null,
  satisfied int not null,
  primary key (task_id, step_number)
) with (fillfactor = 50);
comment on table tasker.join_counts is 'How many parents of a step with two or more are satisfied, from the first on.';
comment on column tasker.join_counts.task_id is 'The task.';
comment on column tasker.join_counts.step_number is 'The step''s number in it.';
comment on column tasker.join_counts.satisfied is 'How many of its parents are satisfied.';

create table tasker.ready_steps (
  handler_id int not null,
  lane smallint not null,
  limit_key text collate "C" not null,
  queue_at timestamptz not null,
  task_id uuid not null,
  step_number int not null,
  attempt int not null,
  named_task_id int not null,
  primary key (handler_id, lane, limit_key, queue_at, task_id, step_number),
  unique (task_id, step_number)
);
comment on table tasker.ready_steps is 'The queue: this step may be claimed from this instant on. A claim is the deletion of the row; a row is never updated.';
comment on column tasker.ready_steps.handler_id is 'What runs it.';
comment on column tasker.ready_steps.lane is 'Its priority: 0 high, 1 normal, 2 low.';
comment on column tasker.ready_steps.limit_key is 'The concurrency key that it takes a slot of; empty: no limit.';
comment on column tasker.ready_steps.queue_at is 'The instant from which it may be claimed, never before its writer''s clock.';
comment on column tasker.ready_steps.task_id is 'The task.';
comment on column tasker.ready_steps.step_number is 'The step''s number in it.';
comment on column tasker.ready_steps.attempt is 'The number of the attempt that a claim begins.';
comment on column tasker.ready_steps.named_task_id is 'The workflow''s version.';

create table tasker.leases (
  task_id uuid not null,
  step_number int not null,
  named_task_id int not null,
  attempt int not null,
  claim_id uuid not null,
  worker_id uuid not null,
  lease_expires_at timestamptz not null,
  limit_key text collate "C" not null,
  primary key (task_id, step_number)
) with (fillfactor = 70);
create index on tasker.leases (lease_expires_at);
create index on tasker.leases (limit_key) where limit_key <> '';
comment on table tasker.leases is 'What is being run: a worker''s time-limited right to one attempt, fenced by its claim id.';
comment on column tasker.leases.task_id is 'The task.';
comment on column tasker.leases.step_number is 'The step''s number in it.';
comment on column tasker.leases.named_task_id is 'The workflow''s version.';
comment on column tasker.leases.attempt is 'The attempt''s number.';
comment on column tasker.leases.claim_id is 'The fence: a settlement, heartbeat or release under another id changes nothing.';
comment on column tasker.leases.worker_id is 'Who runs it: a random id for each start of a process.';
comment on column tasker.leases.lease_expires_at is 'When it may be taken away, by the database''s clock.';
comment on column tasker.leases.limit_key is 'The concurrency key that it takes a slot of; empty: no limit.';

create table tasker.workers (
  worker_id uuid primary key,
  handler_ids int[] not null,
  description text,
  started_at timestamptz not null,
  last_seen_at timestamptz not null
) with (fillfactor = 70);
comment on table tasker.workers is 'Who has offered to run what, for explaining why nothing starts. No decision reads it.';
comment on column tasker.workers.worker_id is 'A random id for each start of a process.';
comment on column tasker.workers.handler_ids is 'The handlers that it serves.';
comment on column tasker.workers.description is 'Host and process, for people.';
comment on column tasker.workers.started_at is 'When it began.';
comment on column tasker.workers.last_seen_at is 'Its last heartbeat.';
