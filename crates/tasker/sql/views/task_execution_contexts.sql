-- What a task is doing and what to do about it. The planner drops the parts of the summary that are not asked for.
create view tasker.task_execution_contexts as
select
  s.task_id,
  s.named_task_id,
  s.status,
  s.paused,
  s.total_steps,
  s.pending_steps,
  s.in_progress_steps,
  s.completed_steps,
  s.failed_steps,
  s.cancelled_steps,
  s.resolved_manually_steps,
  s.skipped_steps,
  s.ready_steps,
  s.execution_status,
  s.recommended_action,
  s.completion_percentage,
  s.health_status,
  s.next_retry_at
from tasker.task_workflow_summaries s;

comment on view tasker.task_execution_contexts is 'What a task is doing, and what to do about it: a total function of its steps.';
comment on column tasker.task_execution_contexts.task_id is 'The task.';
comment on column tasker.task_execution_contexts.named_task_id is 'The workflow''s version.';
comment on column tasker.task_execution_contexts.status is 'Its state: in_progress from the first claim on.';
comment on column tasker.task_execution_contexts.paused is 'Whether a person has paused it.';
comment on column tasker.task_execution_contexts.total_steps is 'How many steps it has; the counts by state add up to it.';
comment on column tasker.task_execution_contexts.pending_steps is 'How many are pending.';
comment on column tasker.task_execution_contexts.in_progress_steps is 'How many are in progress.';
comment on column tasker.task_execution_contexts.completed_steps is 'How many are complete.';
comment on column tasker.task_execution_contexts.failed_steps is 'How many have failed, those that wait for a retry included.';
comment on column tasker.task_execution_contexts.cancelled_steps is 'How many are cancelled.';
comment on column tasker.task_execution_contexts.resolved_manually_steps is 'How many a person resolved.';
comment on column tasker.task_execution_contexts.skipped_steps is 'How many their handlers skipped.';
comment on column tasker.task_execution_contexts.ready_steps is 'How many may be claimed now.';
comment on column tasker.task_execution_contexts.execution_status is 'all_complete, cancelled, resolved_manually, blocked_by_failures, has_ready_steps, processing, paused, waiting_for_capacity, waiting_for_retry, scheduled or waiting_for_dependencies: the first that holds.';
comment on column tasker.task_execution_contexts.recommended_action is 'none, finalize_task, handle_failures, execute_ready_steps, wait_for_completion, resume_task, wait_for_capacity, wait_for_retry, wait_until_scheduled or wait_for_dependencies.';
comment on column tasker.task_execution_contexts.completion_percentage is 'Satisfied steps of all steps, 0 to 100.';
comment on column tasker.task_execution_contexts.health_status is 'blocked, unknown (cancelled or resolved), recovering (a step is failed or cancelled) or healthy.';
comment on column tasker.task_execution_contexts.next_retry_at is 'The earliest instant over its open steps.';
