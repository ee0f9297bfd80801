-- Cancels the unfinished steps of a locked task, leased ones too. The queue's rows go first, in a statement that waits for
-- claimers; only later statements read leases, the instant and the number.
create function tasker.cancel_unfinished(of_task uuid, by_verb tasker.verb, by_actor text, because text) returns void
language plpgsql as $$
declare now_ timestamptz; number_ bigint;
begin
  delete from tasker.ready_steps r where r.task_id = of_task;
  perform tasker.record_start(array[of_task]);
  now_ := tasker.clock();
  number_ := nextval('tasker.transition_numbers');
  insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id,
    retry_limit, attempts_before, generation, timer, last_failure_at, last_attempted_at, actor, reason)
  select k.task_id, n.step_number, number_, 'cancelled', by_verb, now_, coalesce(h.attempt, 0), l.claim_id, l.worker_id,
    h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at, by_actor, because
  from tasker.tasks k
  cross join lateral (select n.step_number from tasker.named_tasks_named_steps n where n.named_task_id = k.named_task_id offset 0) n
  left join lateral (
    select h.to_state, h.attempt, h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at from tasker.workflow_step_transitions h
    where h.task_id = k.task_id and h.step_number = n.step_number order by h.number desc limit 1) h on true
  left join lateral (
    select l.claim_id, l.worker_id from tasker.leases l where l.task_id = k.task_id and l.step_number = n.step_number offset 0) l on true
  where k.task_id = of_task and coalesce(h.to_state, 'pending') in ('pending', 'in_progress', 'failed');
  delete from tasker.leases l where l.task_id = of_task;
end $$;

comment on function tasker.cancel_unfinished(uuid, tasker.verb, text, text) is 'Cancels the unfinished steps of a locked task.';
