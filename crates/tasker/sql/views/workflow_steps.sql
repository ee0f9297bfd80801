-- A task's steps: its workflow's nodes, each with its last transition. (The list of one leaves no way but from the task to its nodes:
-- of "=", a planner that has seen tasks of few workflows makes a merge join that reads the nodes of all.)
create view tasker.workflow_steps as
select
  tasker.step_id(k.task_id, n.step_number) as workflow_step_id,
  k.task_id,
  n.step_number,
  k.named_task_id,
  n.named_step_id,
  n.name,
  coalesce(h.to_state, 'pending') as state,
  coalesce(h.attempt, 0) as attempts,
  coalesce(h.retry_limit, n.retry_limit) as retry_limit,
  coalesce(h.attempts_before, 0) as attempts_before,
  coalesce(h.retryable, true) as retryable,
  coalesce(h.generation, 0) as generation,
  case when h.task_id is null then k.run_at else h.next_retry_at end as next_retry_at,
  h.timer,
  h.backoff_request_seconds,
  h.error_kind,
  h.claim_id,
  h.worker_id,
  h.last_failure_at,
  h.last_attempted_at,
  h.number as last_transition_number,
  h.at as last_transition_at,
  n.handler_id,
  coalesce(k.lane, n.lane) as lane,
  case when n.concurrency_limit is not null then tasker.limit_of(n.named_step_id) end as concurrency_limit,
  case when n.concurrency_limit is null then ''
    else tasker.limit_key_in(k.task_id, n.named_step_id, n.concurrency_key)
  end as limit_key,
  n.parent_count,
  n.only_parent,
  n.child_count,
  k.state in ('pending', 'in_progress') as task_is_live,
  k.paused as task_is_paused
from tasker.tasks k
join tasker.named_tasks_named_steps n on n.named_task_id = any(array[k.named_task_id])
left join lateral (
  select h.task_id, h.to_state, h.attempt, h.retry_limit, h.attempts_before, h.retryable, h.generation, h.next_retry_at, h.timer, h.backoff_request_seconds,
    h.error_kind, h.claim_id, h.worker_id, h.last_failure_at, h.last_attempted_at, h.number, h.at
  from tasker.workflow_step_transitions h
  where h.task_id = k.task_id and h.step_number = n.step_number
  order by h.number desc limit 1
) h on true;

comment on view tasker.workflow_steps is 'The steps of tasks: nodes with their last transition.';
comment on column tasker.workflow_steps.workflow_step_id is 'The step''s id: its task''s with the step''s number + 1 in the last 24 bits.';
comment on column tasker.workflow_steps.task_id is 'The task.';
comment on column tasker.workflow_steps.step_number is 'The step''s number in it, from 0.';
comment on column tasker.workflow_steps.named_task_id is 'The workflow''s version.';
comment on column tasker.workflow_steps.named_step_id is 'The named step.';
comment on column tasker.workflow_steps.name is 'Its name.';
comment on column tasker.workflow_steps.state is 'Its state: that of the last transition, pending without one.';
comment on column tasker.workflow_steps.attempts is 'Attempts so far, a running one included.';
comment on column tasker.workflow_steps.retry_limit is 'The greatest number of attempts, the first included.';
comment on column tasker.workflow_steps.attempts_before is 'Attempts that the last retry by hand forgave.';
comment on column tasker.workflow_steps.retryable is 'Whether it may be tried again.';
comment on column tasker.workflow_steps.generation is 'How often it was retried by hand.';
comment on column tasker.workflow_steps.next_retry_at is 'It may not start before this instant; null where it runs or needs none.';
comment on column tasker.workflow_steps.timer is 'The instant for which its handler asked to wait.';
comment on column tasker.workflow_steps.backoff_request_seconds is 'The delay that the far side asked for at the last failure, in seconds.';
comment on column tasker.workflow_steps.error_kind is 'A stable word for the failure that its last transition records.';
comment on column tasker.workflow_steps.claim_id is 'The claim that its last transition began or ended.';
comment on column tasker.workflow_steps.worker_id is 'The worker of that claim.';
comment on column tasker.workflow_steps.last_failure_at is 'When an attempt last failed.';
comment on column tasker.workflow_steps.last_attempted_at is 'When it was last claimed.';
comment on column tasker.workflow_steps.last_transition_number is 'The number of its last transition.';
comment on column tasker.workflow_steps.last_transition_at is 'The instant of its last transition.';
comment on column tasker.workflow_steps.handler_id is 'What runs it.';
comment on column tasker.workflow_steps.lane is 'Its priority: 0 high, 1 normal, 2 low.';
comment on column tasker.workflow_steps.concurrency_limit is 'How many steps with its limit key may run at once; null: no limit.';
comment on column tasker.workflow_steps.limit_key is 'The concurrency key that it takes a slot of; empty: no limit.';
comment on column tasker.workflow_steps.parent_count is 'How many parents it has.';
comment on column tasker.workflow_steps.only_parent is 'The number of its parent, where it has one only.';
comment on column tasker.workflow_steps.child_count is 'How many children it has.';
comment on column tasker.workflow_steps.task_is_live is 'Whether its task is pending or in progress.';
comment on column tasker.workflow_steps.task_is_paused is 'Whether its task is paused.';
