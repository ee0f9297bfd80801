-- The row with which a verb begins: the step's last transition carried forward, without what belongs to that one alone.
-- The last row is the whole state of a step, so a writer that starts from here loses nothing.
create function tasker.next_transition(of_task uuid, of_step int) returns tasker.workflow_step_transitions
language plpgsql stable as $$
declare h tasker.workflow_step_transitions;
begin
  select t.* into h from tasker.workflow_step_transitions t
  where t.task_id = of_task and t.step_number = of_step order by t.number desc limit 1;
  if not found then
    h.task_id := of_task; h.step_number := of_step; h.to_state := 'pending'; h.attempt := 0; h.retryable := true;
    select k.run_at into h.next_retry_at from tasker.tasks k where k.task_id = of_task;
  end if;
  h.number := null; h.verb := null; h.at := null; h.claim_id := null; h.worker_id := null; h.actor := null; h.reason := null;
  h.xid := pg_current_xact_id();
  return h;
end $$;

comment on function tasker.next_transition(uuid, int) is 'The row with which a verb begins: the step''s last transition carried forward.';
