-- What settle does for one claim that ends as complete, in statements of one row each: for a single step, what costs is the start of
-- large plans, not their work.
create function tasker.complete_step(now_ timestamptz, of_task uuid, of_step int, of_claim uuid, payload text,
  out settled int, out c_tasks uuid[], out c_steps int[])
language plpgsql as $$
declare
  settle_number bigint := nextval('tasker.transition_numbers');
  finish_number bigint := nextval('tasker.transition_numbers');
  lease record; last record; child record; satisfied_ int; x record;
begin
  delete from tasker.leases l where l.task_id = of_task and l.step_number = of_step and l.claim_id = of_claim
  returning l.named_task_id, l.attempt, l.worker_id into lease;
  if not found then
    settled := 0;
    return;
  end if;
  settled := 1;
  select n.child_count, h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at into last
  from tasker.named_tasks_named_steps n
  cross join lateral (
    select h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at from tasker.workflow_step_transitions h
    where h.task_id = of_task and h.step_number = of_step order by h.number desc limit 1) h
  where n.named_task_id = lease.named_task_id and n.step_number = of_step;
  if not found then
    settled := 0;
    return;
  end if;
  insert into tasker.step_results (task_id, step_number, result) values (of_task, of_step, payload::json);
  insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id,
    retry_limit, attempts_before, generation, timer, last_failure_at, last_attempted_at)
  values (of_task, of_step, settle_number, 'complete', 'settle', now_, lease.attempt, of_claim, lease.worker_id,
    last.retry_limit, last.attempts_before, last.generation, last.timer, last.last_failure_at, last.last_attempted_at);
  if last.child_count = 0 then
    x := tasker.satisfy(array[of_task], null, null, null, now_, finish_number);
  elsif last.child_count > 1 then
    x := tasker.satisfy(null, array[of_task], array[of_step], array[lease.named_task_id], now_, finish_number);
    c_tasks := x.c_tasks; c_steps := x.c_steps;
  else
    select e.to_step as step_number, c.parent_count into child
    from tasker.named_task_edges e
    cross join lateral (
      select c.parent_count from tasker.named_tasks_named_steps c
      where c.named_task_id = e.named_task_id and c.step_number = e.to_step offset 0) c
    where e.named_task_id = lease.named_task_id and e.from_step = of_step;
    satisfied_ := 1;
    if child.parent_count > 1 then
      insert into tasker.join_counts as j (task_id, step_number, satisfied) values (of_task, child.step_number, 1)
      on conflict (task_id, step_number) do update set satisfied = j.satisfied + 1
      returning j.satisfied into satisfied_;
    end if;
    if satisfied_ = child.parent_count then
      c_tasks := array[of_task]; c_steps := array[child.step_number];
    end if;
  end if;
end $$;

comment on function tasker.complete_step(timestamptz, uuid, int, uuid, text) is 'Records the end of one claim as complete; gives the children that may have become ready.';
