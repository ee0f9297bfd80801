-- Begins dead or cancelled steps of a locked task anew: pending, due now, without a timer, with the node's attempts on top of those counted.
-- They are in no queue: nothing is due in a dead step.
create function tasker.retry_steps(k tasker.tasks, s_steps int[], by_actor text, because text) returns void
language plpgsql as $$
declare now_ timestamptz; number_ bigint;
begin
  perform tasker.revive_task(k, 'retry', by_actor, because);
  now_ := tasker.clock();
  number_ := nextval('tasker.transition_numbers');
  insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, next_retry_at,
    retry_limit, attempts_before, generation, timer, last_failure_at, last_attempted_at, actor, reason)
  select k.task_id, s.step_number, number_, 'pending', 'retry', now_, coalesce(h.attempt, 0), now_,
    coalesce(h.attempt, 0) + n.retry_limit, nullif(h.attempt, 0), coalesce(h.generation, 0) + 1, null, h.last_failure_at, h.last_attempted_at, by_actor, because
  from unnest(s_steps) s(step_number)
  cross join lateral (
    select n.retry_limit from tasker.named_tasks_named_steps n where n.named_task_id = k.named_task_id and n.step_number = s.step_number offset 0) n
  left join lateral (
    select h.attempt, h.generation, h.last_failure_at, h.last_attempted_at from tasker.workflow_step_transitions h
    where h.task_id = k.task_id and h.step_number = s.step_number order by h.number desc limit 1) h on true;
  perform tasker.enqueue(array_fill(k.task_id, array[cardinality(s_steps)]), s_steps);
  perform tasker.conclude(array[k.task_id]);
end $$;

comment on function tasker.retry_steps(tasker.tasks, int[], text, text) is 'Begins dead or cancelled steps of a locked task anew.';
