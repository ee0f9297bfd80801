create function tasker.retry_task(of_task uuid, reason text default null, actor text default null) returns tasker.task_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare k tasker.tasks; dead int[];
begin
  k := tasker.lock_task(of_task, reason, actor);
  if k.state not in ('pending', 'in_progress', 'failed') then
    perform tasker.refuse('task_not_live', format('task %s is %s, and that is final', of_task, k.state));
  end if;
  select array_agg(s.step_number order by s.step_number) into dead from tasker.workflow_steps s
  where s.task_id = of_task
    and (s.state = 'cancelled' or (s.state in ('pending', 'failed') and (not s.retryable or s.attempts >= s.retry_limit)));
  if dead is null then
    perform tasker.refuse('nothing_to_retry', format('task %s has no step that failed for good or was cancelled', of_task));
  end if;
  perform tasker.retry_steps(k, dead, actor, reason);
  select t.state into k.state from tasker.tasks t where t.task_id = of_task;
  return k.state;
end $$;

comment on function tasker.retry_task(uuid, text, text) is 'Begins every dead or cancelled step of a live or failed task anew.';
