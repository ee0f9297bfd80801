create function tasker.cancel_step(of_step uuid, reason text default null, actor text default null) returns tasker.step_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare s tasker.workflow_steps; h tasker.workflow_step_transitions;
begin
  s := tasker.lock_step(of_step, reason, actor);
  if s.state = 'cancelled' then
    return s.state;
  elsif s.state in ('complete', 'resolved_manually', 'skipped') then
    perform tasker.refuse('step_is_finished', format('step %s is %s, and that is final', s.name, s.state));
  elsif not s.task_is_live then
    perform tasker.refuse('task_not_live', format('the task of step %s has ended', s.name));
  end if;
  h := tasker.next_transition(s.task_id, s.step_number);
  select l.claim_id, l.worker_id into h.claim_id, h.worker_id from tasker.leases l where l.task_id = s.task_id and l.step_number = s.step_number;
  h.number := nextval('tasker.transition_numbers'); h.to_state := 'cancelled'; h.verb := 'cancel'; h.at := tasker.clock();
  h.next_retry_at := null; h.retryable := true; h.error_kind := null; h.backoff_request_seconds := null; h.actor := actor; h.reason := reason;
  insert into tasker.workflow_step_transitions values (h.*);
  delete from tasker.leases l where l.task_id = s.task_id and l.step_number = s.step_number;
  perform tasker.conclude(array[s.task_id]);
  return 'cancelled';
end $$;

comment on function tasker.cancel_step(uuid, text, text) is 'Cancels an unfinished step of a live task, a leased one too; its children never run unless it is retried or resolved.';
