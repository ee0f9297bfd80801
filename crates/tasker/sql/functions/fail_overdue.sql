-- A locked task's deadline has passed: every open or leased step fails and is not retryable.
create function tasker.fail_overdue(of_task uuid) returns void
language plpgsql as $$
declare
  now_ timestamptz; number_ bigint;
  s_tasks uuid[]; s_steps int[]; s_claims uuid[]; n int;
begin
  delete from tasker.ready_steps r where r.task_id = of_task;
  perform tasker.record_start(array[of_task]);
  now_ := tasker.clock();
  -- the cause of what follows; where the task stays live (it is paused), this alone says that its deadline has been acted on
  insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at)
  select k.task_id, nextval('tasker.transition_numbers'), k.state, k.paused, 'deadline', now_ from tasker.tasks k where k.task_id = of_task;
  select array_agg(l.task_id), array_agg(l.step_number), array_agg(l.claim_id), count(*) into s_tasks, s_steps, s_claims, n
  from tasker.leases l where l.task_id = of_task;
  if n > 0 then
    perform tasker.settle('deadline', now_, s_tasks, s_steps, s_claims, array_fill('fail'::text, array[n]),
      array_fill('the task''s deadline has passed'::text, array[n]), array_fill('deadline_passed'::text, array[n]), array_fill(false, array[n]),
      array_fill(null::double precision, array[n]), array_fill(null::timestamptz, array[n]), null);
  end if;
  number_ := nextval('tasker.transition_numbers');
  with open_steps as materialized (
    select v.step_number from tasker.step_readiness_statuses v where v.task_id = of_task
      and coalesce(v.blocking_reason not in ('finished', 'in_progress', 'not_retryable', 'retries_exhausted', 'dependencies_not_satisfied'), true)),
  moved as (
    insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, retryable, error_kind,
      retry_limit, attempts_before, generation, timer, last_failure_at, last_attempted_at)
    select of_task, o.step_number, number_, 'failed', 'deadline', now_, coalesce(h.attempt, 0), false, 'deadline_passed',
      h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at
    from open_steps o
    left join lateral (
      select h.attempt, h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at from tasker.workflow_step_transitions h
      where h.task_id = of_task and h.step_number = o.step_number order by h.number desc limit 1) h on true)
  insert into tasker.step_errors (task_id, step_number, number, error)
  select of_task, o.step_number, number_, 'the task''s deadline has passed' from open_steps o;
  delete from tasker.task_deadlines d where d.task_id = of_task;
  perform tasker.conclude(array[of_task]);
end $$;

comment on function tasker.fail_overdue(uuid) is 'Fails every open or leased step of a locked task, not retryable.';
