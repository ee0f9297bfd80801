create function tasker.resume_task(of_task uuid, reason text default null, actor text default null) returns tasker.task_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare k tasker.tasks;
begin
  k := tasker.lock_task(of_task, reason, actor);
  if k.state not in ('pending', 'in_progress') then
    perform tasker.refuse('task_not_live', format('task %s is %s: only a live task can be resumed', of_task, k.state));
  end if;
  if not k.paused then
    return k.state;
  end if;
  update tasker.tasks t set paused = false where t.task_id = of_task;
  insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at, actor, reason)
  values (of_task, nextval('tasker.transition_numbers'), k.state, false, 'resume', tasker.clock(), resume_task.actor, resume_task.reason);
  perform tasker.enqueue_task(of_task);
  perform tasker.conclude(array[of_task]);
  select t.state into k.state from tasker.tasks t where t.task_id = of_task;
  return k.state;
end $$;

comment on function tasker.resume_task(uuid, text, text) is 'Lets a paused task go on.';
