-- Ends locked live or failed tasks: the row, the transition, and what only live tasks hold.
create function tasker.end_tasks(of_tasks uuid[], end_state tasker.task_state, by_verb tasker.verb, by_actor text default null, because text default null) returns void
language plpgsql as $$
declare now_ timestamptz := tasker.clock(); number_ bigint := nextval('tasker.transition_numbers');
begin
  update tasker.tasks k set state = end_state, finished_at = now_ where k.task_id = any(of_tasks);
  insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at, actor, reason)
  select k.task_id, number_, end_state, k.paused, by_verb, now_, by_actor, because from tasker.tasks k where k.task_id = any(of_tasks);
  delete from tasker.task_deadlines d where d.task_id = any(of_tasks);
  delete from tasker.unique_live_keys u where u.task_id = any(of_tasks);
end $$;

comment on function tasker.end_tasks(uuid[], tasker.task_state, tasker.verb, text, text) is 'Ends locked tasks in a state.';
