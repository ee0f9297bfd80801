create function tasker.change_retry_limit(of_step uuid, new_limit int, reason text default null, actor text default null) returns tasker.step_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare s tasker.workflow_steps; h tasker.workflow_step_transitions;
begin
  s := tasker.lock_step(of_step, reason, actor);
  if s.state not in ('pending', 'failed', 'in_progress') then
    perform tasker.refuse('step_is_finished', format('step %s is %s: its limit no longer matters', s.name, s.state));
  elsif not s.task_is_live then
    perform tasker.refuse('task_not_live', format('the task of step %s has ended: retry the step instead', s.name));
  elsif new_limit is null or new_limit < greatest(s.attempts, 1) then
    perform tasker.refuse('limit_too_low', format('step %s counts %s attempts: its limit cannot be %s', s.name, s.attempts, coalesce(new_limit::text, 'null')));
  end if;
  h := tasker.next_transition(s.task_id, s.step_number);
  h.number := nextval('tasker.transition_numbers'); h.verb := 'change_limit'; h.at := tasker.clock(); h.retry_limit := new_limit;
  h.actor := actor; h.reason := reason;
  if s.state <> 'in_progress' then
    -- a step that has attempts again is due, and one that has none left waits for nothing
    h.next_retry_at := case when h.attempt < new_limit and h.retryable then coalesce(h.next_retry_at, h.at) end;
  end if;
  insert into tasker.workflow_step_transitions values (h.*);
  perform tasker.enqueue(array[s.task_id], array[s.step_number]);
  perform tasker.conclude(array[s.task_id]);
  return s.state;
end $$;

comment on function tasker.change_retry_limit(uuid, int, text, text) is 'Changes an unfinished step''s greatest number of attempts, never below those counted.';
