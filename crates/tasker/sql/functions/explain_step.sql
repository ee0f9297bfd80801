-- All causes why a step does not run, followed up the graph to the roots of the trouble. No row with "blocks" exactly when
-- it can be claimed; to a step that is ready and not running it adds, without "blocks", what it can see. The
-- start_at of the step's own rows is the earliest instant at which it could start, where that is known.
create function tasker.explain_step(of_step uuid)
returns table (workflow_step_id uuid, step_number int, name text, cause text, detail text, blocks boolean, start_at timestamptz)
language plpgsql stable
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  of_task uuid := tasker.task_of(of_step); of_number int := tasker.step_number_of(of_step);
  k tasker.tasks; v tasker.step_readiness_statuses; handler text; ahead bigint; reached int[];
begin
  select t.* into k from tasker.tasks t where t.task_id = of_task;
  select s.* into v from tasker.step_readiness_statuses s where s.task_id = of_task and s.step_number = of_number;
  if v.task_id is null then
    perform tasker.refuse('unknown_step', format('there is no step %s', of_step));
  end if;

  -- the step and all its unsatisfied ancestors: a satisfied parent has only satisfied ancestors
  with recursive up(step_number) as (
    select of_number
    union
    select e.from_step from up
    cross join lateral (
      select e.from_step from tasker.named_task_edges e
      where e.named_task_id = k.named_task_id and e.to_step = up.step_number offset 0) e
    where coalesce((
      select h.to_state from tasker.workflow_step_transitions h
      where h.task_id = of_task and h.step_number = e.from_step order by h.number desc limit 1), 'pending')
      not in ('complete', 'resolved_manually', 'skipped'))
  select array_agg(u.step_number) into reached from up u;

  return query
  -- a probe each (offset 0): as joins, both would read the whole task for each step
  with s as materialized (
    select s.*, w.retryable, w.error_kind, w.worker_id, w.concurrency_limit from unnest(reached) n(step_number)
    cross join lateral (select * from tasker.step_readiness_statuses s where s.task_id = of_task and s.step_number = n.step_number offset 0) s
    cross join lateral (select * from tasker.workflow_steps w where w.task_id = of_task and w.step_number = n.step_number offset 0) w)
  select s.workflow_step_id, s.step_number, s.name, c.cause, c.detail, true,
    -- where time alone is the cause
    case when s.step_number = of_number and c.cause in ('waiting_for_retry', 'scheduled_for_later') and count(*) over (partition by s.step_number) = 1
      then s.next_retry_at end
  from s
  cross join lateral (values
    (1, case when s.current_state in ('complete', 'resolved_manually', 'skipped', 'cancelled') then 'finished' end, format('it is %s', s.current_state)),
    (2, case when s.current_state = 'in_progress' then 'in_progress' end,
      format('attempt %s of %s runs on worker %s', s.attempts, s.retry_limit, (select l.worker_id from tasker.leases l where l.task_id = of_task and l.step_number = s.step_number))),
    (3, case when s.current_state in ('pending', 'failed') and not s.retryable then 'not_retryable' end, format('its last failure (%s) may not be retried: retry it by hand, or resolve it', coalesce(s.error_kind, 'unknown'))),
    (4, case when s.current_state in ('pending', 'failed') and s.attempts >= s.retry_limit then 'retries_exhausted' end, format('%s of %s attempts are used: retry it by hand, or resolve it', s.attempts, s.retry_limit)),
    (5, case when s.current_state in ('pending', 'failed', 'cancelled') and not s.dependencies_satisfied then 'dependencies_not_satisfied' end, format('%s of %s parents are satisfied', s.completed_parents, s.total_parents)),
    (6, case when s.current_state in ('pending', 'failed', 'cancelled') and k.state not in ('pending', 'in_progress') and (s.step_number = of_number or s.blocking_reason = 'task_not_live') then 'task_not_live' end, format('its task is %s', k.state)),
    (7, case when s.current_state in ('pending', 'in_progress', 'failed', 'cancelled') and k.paused and (s.step_number = of_number or s.blocking_reason = 'task_paused') then 'task_paused' end, 'its task is paused: resume it'),
    (8, case when s.current_state in ('pending', 'failed') and s.next_retry_at > tasker.now() and s.retryable and s.attempts < s.retry_limit
      then case when s.current_state = 'failed' then 'waiting_for_retry' else 'scheduled_for_later' end end, format('not before %s', s.next_retry_at)),
    (9, case when s.current_state in ('pending', 'failed', 'cancelled')
      and s.concurrency_limit <= (select count(*) from tasker.leases l where l.limit_key = s.limit_key and l.limit_key <> '') then 'concurrency_limit_reached' end,
      format('%s of %s slots of its key are taken', (select count(*) from tasker.leases l where l.limit_key = s.limit_key and l.limit_key <> ''), s.concurrency_limit)),
    (10, case when s.step_number <> of_number and s.ready_for_execution then 'ready' end, 'it is ready, and has not been claimed yet')
  ) c(place, cause, detail)
  where c.cause is not null
  order by s.step_number <> of_number, s.step_number, c.place;

  if v.ready_for_execution then
    select h.name into handler from tasker.handlers h where h.handler_id = v.handler_id;
    if not exists (select from tasker.workers w where v.handler_id = any(w.handler_ids) and w.last_seen_at > tasker.now() - interval '1 minute') then
      return query select v.workflow_step_id, v.step_number, v.name, 'no_worker', format('no live worker has offered the handler "%s"', handler), false, null::timestamptz;
    end if;
    select count(*) into ahead from tasker.ready_steps q
    join tasker.ready_steps r on r.task_id = of_task and r.step_number = of_number and q.handler_id = r.handler_id and q.lane = r.lane and q.limit_key = r.limit_key
    where (q.queue_at, q.task_id, q.step_number) < (r.queue_at, r.task_id, r.step_number);
    if ahead > 0 then
      return query select v.workflow_step_id, v.step_number, v.name, 'queued', format('%s steps stand before it in its queue', ahead), false, null::timestamptz;
    end if;
  end if;
end $$;

comment on function tasker.explain_step(uuid) is 'All causes why a step does not run, followed up the graph to the roots of the trouble.';
