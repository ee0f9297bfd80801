-- Cancels the unfinished steps of a locked task, leased ones too. The queue's rows go first, in a statement that waits for
-- claimers; only later statements read leases, the instant and the number.
create function tasker.cancel_unfinished(of_task uuid, by_verb tasker.verb, by_actor text, because text) returns void
language plpgsql as $$
declare now_ timestamptz; number_ bigint; h tasker.workflow_step_transitions; s record;
begin
  delete from tasker.ready_steps r where r.task_id = of_task;
  perform tasker.record_start(array[of_task]);
  now_ := tasker.clock();
  number_ := nextval('tasker.transition_numbers');
  for s in
    select v.step_number, l.claim_id, l.worker_id from tasker.workflow_steps v
    left join tasker.leases l on l.task_id = v.task_id and l.step_number = v.step_number
    where v.task_id = of_task and v.state in ('pending', 'in_progress', 'failed')
  loop
    h := tasker.next_transition(of_task, s.step_number);
    h.number := number_; h.to_state := 'cancelled'; h.verb := by_verb; h.at := now_; h.claim_id := s.claim_id; h.worker_id := s.worker_id;
    h.next_retry_at := null; h.retryable := true; h.error_kind := null; h.backoff_request_seconds := null; h.actor := by_actor; h.reason := because;
    insert into tasker.workflow_step_transitions values (h.*);
  end loop;
  delete from tasker.leases l where l.task_id = of_task;
end $$;

comment on function tasker.cancel_unfinished(uuid, tasker.verb, text, text) is 'Cancels the unfinished steps of a locked task.';
