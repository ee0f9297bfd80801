create function tasker.resolve_task(of_task uuid, reason text default null, actor text default null) returns tasker.task_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare k tasker.tasks;
begin
  k := tasker.lock_task(of_task, reason, actor);
  if k.state = 'resolved_manually' then
    return k.state;
  elsif k.state in ('complete', 'cancelled') then
    perform tasker.refuse('task_is_finished', format('task %s is %s, and that is final', of_task, k.state));
  end if;
  perform tasker.cancel_unfinished(of_task, 'resolve', actor, reason);
  perform tasker.end_tasks(array[of_task], 'resolved_manually', 'resolve', actor, reason);
  return 'resolved_manually';
end $$;

comment on function tasker.resolve_task(uuid, text, text) is 'Ends a live or failed task as dealt with by hand; its unfinished steps are cancelled, leased ones too.';
