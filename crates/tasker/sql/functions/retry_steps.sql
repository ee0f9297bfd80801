-- Begins dead or cancelled steps of a locked task anew: pending, due now, with the node's attempts on top of those counted.
-- They are in no queue: nothing is due in a dead step.
create function tasker.retry_steps(k tasker.tasks, s_steps int[], by_actor text, because text) returns void
language plpgsql as $$
declare now_ timestamptz; number_ bigint; h tasker.workflow_step_transitions; n int;
begin
  perform tasker.revive_task(k, 'retry', by_actor, because);
  now_ := tasker.clock();
  number_ := nextval('tasker.transition_numbers');
  foreach n in array s_steps loop
    h := tasker.next_transition(k.task_id, n);
    h.number := number_; h.to_state := 'pending'; h.verb := 'retry'; h.at := now_; h.next_retry_at := now_; h.retryable := true;
    h.error_kind := null; h.backoff_request_seconds := null; h.attempts_before := nullif(h.attempt, 0);
    select h.attempt + x.retry_limit into h.retry_limit from tasker.named_tasks_named_steps x
    where x.named_task_id = k.named_task_id and x.step_number = n;
    h.generation := coalesce(h.generation, 0) + 1; h.actor := by_actor; h.reason := because;
    insert into tasker.workflow_step_transitions values (h.*);
  end loop;
  perform tasker.enqueue(array_fill(k.task_id, array[cardinality(s_steps)]), s_steps);
  perform tasker.conclude(array[k.task_id]);
end $$;

comment on function tasker.retry_steps(tasker.tasks, int[], text, text) is 'Begins dead or cancelled steps of a locked task anew.';
