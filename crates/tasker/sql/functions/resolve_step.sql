create function tasker.resolve_step(of_step uuid, result json, reason text default null, actor text default null) returns tasker.step_state
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare s tasker.workflow_steps; k tasker.tasks; h tasker.workflow_step_transitions; x record;
begin
  s := tasker.lock_step(of_step, reason, actor);
  select t.* into k from tasker.tasks t where t.task_id = s.task_id;
  if k.state not in ('pending', 'in_progress', 'failed') then
    perform tasker.refuse('task_not_live', format('step %s cannot be resolved: its task is %s, and that is final', s.name, k.state));
  elsif s.state in ('complete', 'resolved_manually', 'skipped') then
    perform tasker.refuse('step_is_finished', format('step %s is %s, and that is final', s.name, s.state));
  elsif s.state = 'in_progress' then
    perform tasker.refuse('step_in_progress', format('step %s is being run: cancel it first, or wait', s.name));
  elsif not (select v.dependencies_satisfied from tasker.step_readiness_statuses v where v.task_id = s.task_id and v.step_number = s.step_number) then
    perform tasker.refuse('dependencies_not_satisfied', format('step %s cannot be resolved before every step that it depends on is satisfied', s.name));
  end if;
  perform tasker.require_storable(result::text, 'the result');
  perform tasker.revive_task(k, 'resolve', actor, reason);
  h := tasker.next_transition(s.task_id, s.step_number);
  h.number := nextval('tasker.transition_numbers'); h.to_state := 'resolved_manually'; h.verb := 'resolve'; h.at := tasker.clock();
  h.next_retry_at := null; h.retryable := true; h.error_kind := null; h.backoff_request_seconds := null; h.actor := actor; h.reason := reason;
  insert into tasker.workflow_step_transitions values (h.*);
  insert into tasker.step_results (task_id, step_number, result) values (s.task_id, s.step_number, coalesce(resolve_step.result, 'null'));
  if s.child_count = 0 then
    x := tasker.satisfy(array[s.task_id], null, null, null, tasker.clock(), nextval('tasker.transition_numbers'));
  else
    x := tasker.satisfy(null, array[s.task_id], array[s.step_number], array[s.named_task_id], tasker.clock(), nextval('tasker.transition_numbers'));
  end if;
  perform tasker.enqueue(x.c_tasks, x.c_steps);
  perform tasker.conclude(array[s.task_id]);
  return 'resolved_manually';
end $$;

comment on function tasker.resolve_step(uuid, json, text, text) is 'Gives a pending, failed or cancelled step, its parents satisfied, a result by hand; its children receive it.';
