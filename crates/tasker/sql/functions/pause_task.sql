create function tasker.pause_task(of_task uuid, reason text default null, actor text default null) returns tasker.task_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare k tasker.tasks;
begin
  k := tasker.lock_task(of_task, reason, actor);
  if k.state not in ('pending', 'in_progress') then
    perform tasker.refuse('task_not_live', format('task %s is %s: only a live task can be paused', of_task, k.state));
  end if;
  if k.paused then
    return k.state;
  end if;
  delete from tasker.ready_steps r where r.task_id = of_task;
  perform tasker.record_start(array[of_task]);
  update tasker.tasks t set paused = true where t.task_id = of_task returning t.state into k.state;
  insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at, actor, reason)
  values (of_task, nextval('tasker.transition_numbers'), k.state, true, 'pause', tasker.clock(), pause_task.actor, pause_task.reason);
  return k.state;
end $$;

comment on function tasker.pause_task(uuid, text, text) is 'Starts nothing new in a live task until it is resumed; what runs goes on.';
