-- What follows from steps that have become satisfied, their tasks locked: leaves are counted down, a task without open
-- leaves is complete, joins are counted up; the children that have no unsatisfied parent left are the candidates to
-- put to the view. A step without children is an element of leaf_tasks, one with children of the three p_ arrays.
create function tasker.satisfy(leaf_tasks uuid[], p_tasks uuid[], p_steps int[], p_named int[], now_ timestamptz, finish_number bigint,
  out c_tasks uuid[], out c_steps int[])
language plpgsql as $$
declare l_tasks uuid[]; l_counts int[]; ended uuid[];
begin
  if leaf_tasks is not null then
    if cardinality(leaf_tasks) = 1 then
      l_tasks := leaf_tasks; l_counts := '{1}';
    else
      select array_agg(l.task_id), array_agg(l.n) into l_tasks, l_counts
      from (select t as task_id, count(*)::int as n from unnest(leaf_tasks) t group by 1) l;
    end if;
    with k as (
      update tasker.tasks k set
        open_leaves = k.open_leaves - l_counts[array_position(l_tasks, k.task_id)],
        state = case when k.open_leaves = l_counts[array_position(l_tasks, k.task_id)] then 'complete' else k.state end,
        finished_at = case when k.open_leaves = l_counts[array_position(l_tasks, k.task_id)] then now_ end
      where k.task_id = any(l_tasks)
      returning k.task_id, k.state, k.paused, k.deadline, k.unique_key),
    finished as (
      insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at)
      select k.task_id, finish_number, 'complete', k.paused, 'finish', now_ from k where k.state = 'complete')
    select array_agg(k.task_id) filter (where k.state = 'complete' and (k.deadline is not null or k.unique_key is not null)) into ended from k;
    if ended is not null then
      delete from tasker.task_deadlines d where d.task_id = any(ended);
      delete from tasker.unique_live_keys u where u.task_id = any(ended);
    end if;
  end if;

  if p_tasks is not null then
    with children as materialized (
      select s.task_id, e.to_step as step_number, e.parent_count, count(*)::int as satisfied
      from unnest(p_tasks, p_steps, p_named) s(task_id, step_number, named_task_id)
      cross join lateral (
        select e.to_step, c.parent_count from (
          select unnest(n.children) as to_step from tasker.named_tasks_named_steps n
          where n.named_task_id = s.named_task_id and n.step_number = s.step_number) e
        cross join lateral (
          select c.parent_count from tasker.named_tasks_named_steps c
          where c.named_task_id = s.named_task_id and c.step_number = e.to_step offset 0) c
        offset 0) e
      group by 1, 2, 3),
    joins as materialized (
      insert into tasker.join_counts as j (task_id, step_number, satisfied)
      select c.task_id, c.step_number, c.satisfied from children c where c.parent_count > 1
      on conflict (task_id, step_number) do update set satisfied = j.satisfied + excluded.satisfied
      returning j.task_id, j.step_number, j.satisfied)
    select array_agg(c.task_id), array_agg(c.step_number) into c_tasks, c_steps
    from children c left join joins j on j.task_id = c.task_id and j.step_number = c.step_number
    where c.parent_count = 1 or j.satisfied = c.parent_count;
  end if;
end $$;

comment on function tasker.satisfy(uuid[], uuid[], int[], int[], timestamptz, bigint) is 'Records what follows from satisfied steps; gives the children that may have become ready.';
