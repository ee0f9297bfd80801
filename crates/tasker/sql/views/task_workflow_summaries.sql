-- A task in one row: counts, what to do next, and which steps that concerns. task_execution_contexts is a part of it.
create view tasker.task_workflow_summaries as
select
  k.task_id,
  k.named_task_id,
  case when k.state = 'pending' and c.in_progress_steps > 0 then 'in_progress' else k.state end as status,
  k.paused,
  c.total_steps,
  c.pending_steps,
  c.in_progress_steps,
  c.completed_steps,
  c.failed_steps,
  c.cancelled_steps,
  c.resolved_manually_steps,
  c.skipped_steps,
  c.ready_steps,
  x.execution_status,
  case x.execution_status
    when 'all_complete' then case when k.state = 'complete' then 'none' else 'finalize_task' end
    when 'cancelled' then 'none'
    when 'resolved_manually' then 'none'
    when 'blocked_by_failures' then 'handle_failures'
    when 'has_ready_steps' then 'execute_ready_steps'
    when 'processing' then 'wait_for_completion'
    when 'paused' then 'resume_task'
    when 'waiting_for_capacity' then 'wait_for_capacity'
    when 'waiting_for_retry' then 'wait_for_retry'
    when 'scheduled' then 'wait_until_scheduled'
    else 'wait_for_dependencies'
  end as recommended_action,
  round(100.0 * (c.completed_steps + c.resolved_manually_steps + c.skipped_steps) / c.total_steps, 2) as completion_percentage,
  case
    when x.execution_status = 'blocked_by_failures' then 'blocked'
    when k.state in ('cancelled', 'resolved_manually') then 'unknown'
    when c.failed_steps + c.cancelled_steps > 0 then 'recovering'
    else 'healthy'
  end as health_status,
  c.next_retry_at,
  c.root_step_ids,
  c.root_step_count,
  c.blocked_step_ids,
  c.blocking_reasons,
  c.next_executable_step_ids,
  case when c.ready_steps > 5 then 'batch_parallel' when c.ready_steps > 1 then 'small_parallel' when c.ready_steps = 1 then 'sequential' else 'waiting' end as processing_strategy
from tasker.tasks k
-- what the ids of its steps share is worked out once (offset 0); as a key of JSON an id stays text, which it takes longest to read as one
cross join lateral (select left(k.task_id::text, 30) as prefix offset 0) i
cross join lateral (
  select
    count(*) as total_steps,
    count(*) filter (where v.current_state = 'pending') as pending_steps,
    count(*) filter (where v.current_state = 'in_progress') as in_progress_steps,
    count(*) filter (where v.current_state = 'complete') as completed_steps,
    count(*) filter (where v.current_state = 'failed') as failed_steps,
    count(*) filter (where v.current_state = 'cancelled') as cancelled_steps,
    count(*) filter (where v.current_state = 'resolved_manually') as resolved_manually_steps,
    count(*) filter (where v.current_state = 'skipped') as skipped_steps,
    count(*) filter (where v.ready_for_execution) as ready_steps,
    count(*) filter (where o.is_open) as open_steps,
    count(*) filter (where o.is_open and coalesce(v.next_retry_at <= tasker.now(), true)) as due_steps,
    min(v.next_retry_at) filter (where o.is_open) as next_retry_at,
    min(v.next_retry_at) filter (where o.is_open and v.current_state = 'failed') as next_failed_retry_at,
    coalesce(array_agg(tasker.step_id_after(i.prefix, v.step_number) order by v.step_number) filter (where v.total_parents = 0), '{}') as root_step_ids,
    count(*) filter (where v.total_parents = 0) as root_step_count,
    coalesce(array_agg(tasker.step_id_after(i.prefix, v.step_number) order by v.step_number) filter (where v.blocking_reason not in ('finished', 'in_progress')), '{}') as blocked_step_ids,
    coalesce(jsonb_object_agg(tasker.step_id_text(i.prefix, v.step_number), v.blocking_reason) filter (where v.blocking_reason not in ('finished', 'in_progress')), '{}') as blocking_reasons,
    coalesce(array_agg(tasker.step_id_after(i.prefix, v.step_number) order by v.step_number) filter (where v.ready_for_execution), '{}') as next_executable_step_ids
  from tasker.step_readiness_statuses v
  -- open: not dead, and every parent satisfies it
  cross join lateral (select coalesce(v.blocking_reason not in ('finished', 'in_progress', 'not_retryable', 'retries_exhausted', 'dependencies_not_satisfied'), true) as is_open) o
  where v.task_id = k.task_id
) c
cross join lateral (select case
  when k.state = 'complete' then 'all_complete'
  when k.state = 'cancelled' then 'cancelled'
  when k.state = 'resolved_manually' then 'resolved_manually'
  when k.state = 'failed' then 'blocked_by_failures'
  when c.completed_steps + c.resolved_manually_steps + c.skipped_steps = c.total_steps then 'all_complete'
  when c.ready_steps > 0 then 'has_ready_steps'
  when c.in_progress_steps > 0 then 'processing'
  when c.open_steps = 0 then 'blocked_by_failures'
  when k.paused then 'paused'
  when c.due_steps > 0 then 'waiting_for_capacity'
  when c.next_failed_retry_at <= c.next_retry_at then 'waiting_for_retry'
  when c.next_retry_at is not null then 'scheduled'
  else 'waiting_for_dependencies'
  end as execution_status) x;

comment on view tasker.task_workflow_summaries is 'A task in one row: its execution context, and the steps that it concerns.';
comment on column tasker.task_workflow_summaries.task_id is 'The task.';
comment on column tasker.task_workflow_summaries.named_task_id is 'The workflow''s version.';
comment on column tasker.task_workflow_summaries.status is 'Its state: in_progress from the first claim on.';
comment on column tasker.task_workflow_summaries.paused is 'Whether a person has paused it.';
comment on column tasker.task_workflow_summaries.total_steps is 'How many steps it has; the counts by state add up to it.';
comment on column tasker.task_workflow_summaries.pending_steps is 'How many are pending.';
comment on column tasker.task_workflow_summaries.in_progress_steps is 'How many are in progress.';
comment on column tasker.task_workflow_summaries.completed_steps is 'How many are complete.';
comment on column tasker.task_workflow_summaries.failed_steps is 'How many have failed, those that wait for a retry included.';
comment on column tasker.task_workflow_summaries.cancelled_steps is 'How many are cancelled.';
comment on column tasker.task_workflow_summaries.resolved_manually_steps is 'How many a person resolved.';
comment on column tasker.task_workflow_summaries.skipped_steps is 'How many their handlers skipped.';
comment on column tasker.task_workflow_summaries.ready_steps is 'How many may be claimed now.';
comment on column tasker.task_workflow_summaries.execution_status is 'all_complete, cancelled, resolved_manually, blocked_by_failures, has_ready_steps, processing, paused, waiting_for_capacity, waiting_for_retry, scheduled or waiting_for_dependencies: the first that holds.';
comment on column tasker.task_workflow_summaries.recommended_action is 'none, finalize_task, handle_failures, execute_ready_steps, wait_for_completion, resume_task, wait_for_capacity, wait_for_retry, wait_until_scheduled or wait_for_dependencies.';
comment on column tasker.task_workflow_summaries.completion_percentage is 'Satisfied steps of all steps, 0 to 100.';
comment on column tasker.task_workflow_summaries.health_status is 'blocked, unknown (cancelled or resolved), recovering (a step is failed or cancelled) or healthy.';
comment on column tasker.task_workflow_summaries.next_retry_at is 'The earliest instant over its open steps.';
comment on column tasker.task_workflow_summaries.root_step_ids is 'Ids of its steps without parents.';
comment on column tasker.task_workflow_summaries.root_step_count is 'How many there are.';
comment on column tasker.task_workflow_summaries.blocked_step_ids is 'Ids of the steps that are neither finished, running nor ready.';
comment on column tasker.task_workflow_summaries.blocking_reasons is 'Their blocking reasons, keyed by step id.';
comment on column tasker.task_workflow_summaries.next_executable_step_ids is 'Ids of the steps that are ready.';
comment on column tasker.task_workflow_summaries.processing_strategy is 'batch_parallel (more than 5 ready), small_parallel (more than 1), sequential (1) or waiting.';
