-- What follows from steps that have become satisfied, their tasks locked: leaves are counted down, a task without open
-- leaves is complete, joins are counted up; the children that have no unsatisfied parent left are the candidates to
-- put to the view.
create function tasker.satisfy(s_tasks uuid[], s_steps int[], now_ timestamptz, finish_number bigint, out c_tasks uuid[], out c_steps int[])
language plpgsql as $$
begin
  with s as materialized (
    select u.task_id, u.step_number, k.named_task_id, n.child_count
    from unnest(s_tasks, s_steps) u(task_id, step_number)
    join tasker.tasks k on k.task_id = u.task_id
    join tasker.named_tasks_named_steps n on n.named_task_id = k.named_task_id and n.step_number = u.step_number),
  leaves as (select s.task_id, count(*)::int as satisfied from s where s.child_count = 0 group by 1),
  k as materialized (
    update tasker.tasks k set
      open_leaves = k.open_leaves - x.satisfied,
      state = case when k.open_leaves = x.satisfied then 'complete' else k.state end,
      finished_at = case when k.open_leaves = x.satisfied then now_ end
    from leaves x where k.task_id = x.task_id
    returning k.task_id, k.state, k.paused, k.deadline, k.unique_key),
  finished as (
    insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at)
    select k.task_id, finish_number, 'complete', k.paused, 'finish', now_ from k where k.state = 'complete'),
  deadlines as (
    delete from tasker.task_deadlines d using k where d.task_id = k.task_id and k.state = 'complete' and k.deadline is not null),
  unique_keys as (
    delete from tasker.unique_live_keys u using k where u.task_id = k.task_id and k.state = 'complete' and k.unique_key is not null),
  children as materialized (
    select s.task_id, e.to_step as step_number, c.parent_count, count(*)::int as satisfied
    from s
    join tasker.named_task_edges e on e.named_task_id = s.named_task_id and e.from_step = s.step_number
    join tasker.named_tasks_named_steps c on c.named_task_id = e.named_task_id and c.step_number = e.to_step
    where s.child_count > 0
    group by 1, 2, 3),
  joins as materialized (
    insert into tasker.join_counts as j (task_id, step_number, satisfied)
    select c.task_id, c.step_number, c.satisfied from children c where c.parent_count > 1
    on conflict (task_id, step_number) do update set satisfied = j.satisfied + excluded.satisfied
    returning j.task_id, j.step_number, j.satisfied)
  select array_agg(c.task_id), array_agg(c.step_number) into c_tasks, c_steps
  from children c left join joins j on j.task_id = c.task_id and j.step_number = c.step_number
  where c.parent_count = 1 or j.satisfied = c.parent_count;
end $$;

comment on function tasker.satisfy(uuid[], int[], timestamptz, bigint) is 'Records what follows from satisfied steps; gives the children that may have become ready.';
