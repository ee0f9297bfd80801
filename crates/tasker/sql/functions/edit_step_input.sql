create function tasker.edit_step_input(of_step uuid, input json, reason text default null, actor text default null) returns tasker.step_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare s tasker.workflow_steps; h tasker.workflow_step_transitions;
begin
  s := tasker.lock_step(of_step, reason, actor);
  if s.state not in ('pending', 'failed') then
    perform tasker.refuse('step_not_waiting', format('step %s is %s: only the input of a pending or failed step can be changed', s.name, s.state));
  elsif not (s.task_is_live or exists (select from tasker.tasks k where k.task_id = s.task_id and k.state = 'failed')) then
    perform tasker.refuse('task_not_live', format('the task of step %s has ended', s.name));
  end if;
  if edit_step_input.input is null then
    perform tasker.refuse('bad_input', 'the new input must be JSON, not null');
  end if;
  perform tasker.require_storable(input::text, 'the input');
  insert into tasker.step_inputs as i (task_id, step_number, input) values (s.task_id, s.step_number, edit_step_input.input)
  on conflict (task_id, step_number) do update set input = excluded.input;
  h := tasker.next_transition(s.task_id, s.step_number);
  h.number := nextval('tasker.transition_numbers'); h.verb := 'edit_input'; h.at := tasker.clock(); h.actor := actor; h.reason := reason;
  insert into tasker.workflow_step_transitions values (h.*);
  perform tasker.enqueue(array[s.task_id], array[s.step_number]);
  return s.state;
end $$;

comment on function tasker.edit_step_input(uuid, json, text, text) is 'Replaces the rendered arguments of a pending or failed step, from its next attempt on.';
