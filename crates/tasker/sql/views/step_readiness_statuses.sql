-- The law: whether a step may run, and if not, why. Nothing else in the system decides it.
create view tasker.step_readiness_statuses as
select
  s.workflow_step_id,
  s.task_id,
  s.step_number,
  s.named_task_id,
  s.named_step_id,
  s.name,
  s.state as current_state,
  p.satisfied = s.parent_count as dependencies_satisfied,
  s.retryable and s.attempts < s.retry_limit and coalesce(s.next_retry_at <= tasker.now(), true) as retry_eligible,
  b.blocking_reason is null as ready_for_execution,
  b.blocking_reason,
  s.last_failure_at,
  s.next_retry_at,
  s.parent_count as total_parents,
  p.satisfied as completed_parents,
  s.attempts,
  s.retry_limit,
  s.backoff_request_seconds,
  s.last_attempted_at,
  s.handler_id,
  s.lane,
  s.limit_key,
  s.last_transition_number
from tasker.workflow_steps s
-- A join's satisfied parents are counted as they come; a step with one parent asks that one. (offset 0 keeps each of the two
-- an expression that is worked out once a row; merged into the columns above, they would be copied to every mention.)
cross join lateral (select case
  when s.parent_count = 0 then 0
  when s.parent_count > 1 then coalesce((
    select j.satisfied from tasker.join_counts j where j.task_id = s.task_id and j.step_number = s.step_number), 0)
  when (
    select h.to_state from tasker.workflow_step_transitions h
    where h.task_id = s.task_id and h.step_number = s.only_parent
    order by h.number desc limit 1) in ('complete', 'resolved_manually', 'skipped') then 1
  else 0
  end as satisfied offset 0) p
-- The first that holds; null is ready. Causes that no passing time will mend come first.
cross join lateral (select case
  when s.state in ('complete', 'resolved_manually', 'skipped', 'cancelled') then 'finished'
  when s.state = 'in_progress' then 'in_progress'
  when not s.retryable then 'not_retryable'
  when s.attempts >= s.retry_limit then 'retries_exhausted'
  when p.satisfied < s.parent_count then 'dependencies_not_satisfied'
  when not s.task_is_live then 'task_not_live'
  when s.task_is_paused then 'task_paused'
  when s.next_retry_at > tasker.now() then case when s.state = 'failed' then 'waiting_for_retry' else 'scheduled_for_later' end
  when s.concurrency_limit is not null and s.concurrency_limit <= tasker.leases_under(s.limit_key) then 'concurrency_limit_reached'
  end as blocking_reason offset 0) b;

comment on view tasker.step_readiness_statuses is 'Which steps may run now, and why not the others.';
comment on column tasker.step_readiness_statuses.workflow_step_id is 'The step''s id. A filter on it alone reads every task: add task_id = tasker.task_of(id) and step_number = tasker.step_number_of(id).';
comment on column tasker.step_readiness_statuses.task_id is 'The task.';
comment on column tasker.step_readiness_statuses.step_number is 'The step''s number in it, from 0.';
comment on column tasker.step_readiness_statuses.named_task_id is 'The workflow''s version.';
comment on column tasker.step_readiness_statuses.named_step_id is 'The named step.';
comment on column tasker.step_readiness_statuses.name is 'Its name.';
comment on column tasker.step_readiness_statuses.current_state is 'Its state.';
comment on column tasker.step_readiness_statuses.dependencies_satisfied is 'Whether every parent is complete, resolved manually or skipped.';
comment on column tasker.step_readiness_statuses.retry_eligible is 'Whether attempts are left, it is retryable, and its next_retry_at has passed.';
comment on column tasker.step_readiness_statuses.ready_for_execution is 'Whether it may be claimed now.';
comment on column tasker.step_readiness_statuses.blocking_reason is 'Why not, in one word: finished, in_progress, not_retryable, retries_exhausted, dependencies_not_satisfied, task_not_live, task_paused, waiting_for_retry, scheduled_for_later, concurrency_limit_reached; null where it is ready.';
comment on column tasker.step_readiness_statuses.last_failure_at is 'When an attempt last failed.';
comment on column tasker.step_readiness_statuses.next_retry_at is 'It may not start before this instant (backoff, a far side''s request, a start time, a timer); null where it runs or needs none.';
comment on column tasker.step_readiness_statuses.total_parents is 'How many parents it has.';
comment on column tasker.step_readiness_statuses.completed_parents is 'How many of them satisfy it.';
comment on column tasker.step_readiness_statuses.attempts is 'Attempts so far, a running one included.';
comment on column tasker.step_readiness_statuses.retry_limit is 'The greatest number of attempts, the first included.';
comment on column tasker.step_readiness_statuses.backoff_request_seconds is 'The delay that the far side asked for at the last failure, in seconds.';
comment on column tasker.step_readiness_statuses.last_attempted_at is 'When it was last claimed.';
comment on column tasker.step_readiness_statuses.handler_id is 'What runs it.';
comment on column tasker.step_readiness_statuses.lane is 'Its priority: 0 high, 1 normal, 2 low.';
comment on column tasker.step_readiness_statuses.limit_key is 'The concurrency key that it takes a slot of; empty: no limit.';
comment on column tasker.step_readiness_statuses.last_transition_number is 'The number of its last transition; null where it has had none.';
