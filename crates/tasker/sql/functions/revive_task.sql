-- A failed task that a person's verb opens again is live where it stood: its deadline is restored if it has not passed
-- and dropped if it has, and it holds its unique key again.
create function tasker.revive_task(k tasker.tasks, by_verb tasker.verb, by_actor text, because text) returns void
language plpgsql as $$
declare now_ timestamptz := tasker.clock(); holder uuid;
begin
  if k.state <> 'failed' then
    return;
  end if;
  if k.unique_key is not null then
    holder := tasker.hold_unique_key((select n.task_namespace_id from tasker.named_tasks n where n.named_task_id = k.named_task_id), k.unique_key, k.task_id);
    if holder <> k.task_id then
      perform tasker.refuse('unique_key_in_use', format('task %s cannot be live again: task %s holds its unique key %s', k.task_id, holder, to_json(k.unique_key)));
    end if;
  end if;
  update tasker.tasks t set state = 'in_progress', finished_at = null, deadline = case when t.deadline > now_ then t.deadline end
  where t.task_id = k.task_id;
  insert into tasker.task_deadlines (task_id, deadline) select k.task_id, k.deadline where k.deadline > now_;
  insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at, actor, reason)
  values (k.task_id, nextval('tasker.transition_numbers'), 'in_progress', k.paused, by_verb, now_, by_actor, because);
end $$;

comment on function tasker.revive_task(tasker.tasks, tasker.verb, text, text) is 'Makes a locked failed task live again.';
