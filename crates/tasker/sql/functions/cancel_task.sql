create function tasker.cancel_task(of_task uuid, reason text default null, actor text default null) returns tasker.task_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare k tasker.tasks;
begin
  k := tasker.lock_task(of_task, reason, actor);
  if k.state = 'cancelled' then
    return k.state;
  elsif k.state in ('complete', 'resolved_manually') then
    perform tasker.refuse('task_is_finished', format('task %s is %s, and that is final', of_task, k.state));
  end if;
  perform tasker.cancel_unfinished(of_task, 'cancel', actor, reason);
  perform tasker.end_tasks(array[of_task], 'cancelled', 'cancel', actor, reason);
  return 'cancelled';
end $$;

comment on function tasker.cancel_task(uuid, text, text) is 'Cancels every unfinished step of a task, leased ones too, at once, and the task; a result that comes later is not kept.';
