create function tasker.retry_step(of_step uuid, reason text default null, actor text default null) returns tasker.step_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare s tasker.workflow_steps; k tasker.tasks; h tasker.workflow_step_transitions;
begin
  s := tasker.lock_step(of_step, reason, actor);
  select t.* into k from tasker.tasks t where t.task_id = s.task_id;
  if k.state not in ('pending', 'in_progress', 'failed') then
    perform tasker.refuse('task_not_live', format('step %s cannot be retried: its task is %s, and that is final', s.name, k.state));
  elsif s.state = 'cancelled' or (s.state in ('pending', 'failed') and (not s.retryable or s.attempts >= s.retry_limit)) then
    perform tasker.retry_steps(k, array[s.step_number], actor, reason);
    return 'pending';
  elsif s.state = 'failed' then
    -- it waits for its retry: due now, and nothing else
    h := tasker.next_transition(s.task_id, s.step_number);
    h.number := nextval('tasker.transition_numbers'); h.verb := 'retry'; h.at := tasker.clock(); h.next_retry_at := h.at;
    h.actor := actor; h.reason := reason;
    insert into tasker.workflow_step_transitions values (h.*);
    perform tasker.enqueue(array[s.task_id], array[s.step_number]);
    return s.state;
  end if;
  perform tasker.refuse('nothing_to_retry', format('step %s is %s: only a step that failed, is out of attempts, or was cancelled can be retried', s.name, s.state));
end $$;

comment on function tasker.retry_step(uuid, text, text) is 'Begins a dead or cancelled step anew (pending, due now, its attempts forgiven, generation + 1); a step that waits for its retry is due now.';
