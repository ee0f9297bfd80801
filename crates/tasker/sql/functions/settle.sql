-- Records the ends of claims, their tasks locked. The deletion of the lease under its claim id is the fence: a claim
-- that is gone changes nothing. Outcomes: complete, skip, fail, wait (until an instant, or for a delay), release. Gives how many claims
-- it ended, and the steps to put to the view: released children, and steps that go back to the queue.
create function tasker.settle(
  by_verb tasker.verb, now_ timestamptz,
  s_tasks uuid[], s_steps int[], s_claims uuid[], outcomes text[], payloads text[],
  error_kinds text[], retryables boolean[], delays double precision[], instants timestamptz[],
  expired_by timestamptz,
  out settled int, out c_tasks uuid[], out c_steps int[])
language plpgsql as $$
declare
  settle_number bigint := nextval('tasker.transition_numbers');
  finish_number bigint := nextval('tasker.transition_numbers');
  strange int; leaf_tasks uuid[]; parent_tasks uuid[]; parent_steps int[]; parent_named int[]; again_tasks uuid[]; again_steps int[]; x record;
begin
  -- no join: one probe of the index a task, whatever the planner believes of a table that is empty at times
  with d as materialized (
    delete from tasker.leases l
    where l.task_id = any(s_tasks) and l.claim_id = any(s_claims) and (expired_by is null or l.lease_expires_at < expired_by)
    returning l.task_id, l.step_number, l.named_task_id, l.attempt, l.claim_id, l.worker_id, array_position(s_claims, l.claim_id) as i),
  h as (
    select d.*, n.child_count, n.base_retry_delay, n.max_retry_delay,
      h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at,
      coalesce(h.retry_limit, n.retry_limit) as limit_now,
      case when delays[d.i] is not null then least(greatest(delays[d.i], 0), 86400) end as asked_delay,
      coalesce(retryables[d.i], n.retryable) as may_retry,
      -- a node that may run only once is not given back
      case when outcomes[d.i] = 'release' and n.retry_limit = 1 then 'lost' else outcomes[d.i] end as ended
    from d
    cross join lateral (
      select n.child_count, n.base_retry_delay, n.max_retry_delay, n.retry_limit, n.retryable from tasker.named_tasks_named_steps n
      where n.named_task_id = d.named_task_id and n.step_number = d.step_number offset 0) n
    cross join lateral (
      select h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at from tasker.workflow_step_transitions h
      where h.task_id = d.task_id and h.step_number = d.step_number order by h.number desc limit 1) h),
  m as materialized (
    select h.*, case
      when h.ended = 'wait' then coalesce(instants[h.i], now_ + make_interval(secs => delays[h.i]))
      when h.ended = 'release' then now_
      when h.ended in ('fail', 'lost') and h.may_retry and h.attempt < h.limit_now then
        now_ + make_interval(secs => coalesce(h.asked_delay, tasker.backoff(h.base_retry_delay, h.max_retry_delay, h.attempt - coalesce(h.attempts_before, 0))))
      end as next_retry_at
    from h),
  results as (
    insert into tasker.step_results (task_id, step_number, result)
    select m.task_id, m.step_number, payloads[m.i]::json from m where m.ended in ('complete', 'skip')),
  moved as (
    insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id,
      next_retry_at, retryable, error_kind, backoff_request_seconds, retry_limit, attempts_before, generation, timer,
      last_failure_at, last_attempted_at)
    select m.task_id, m.step_number, settle_number,
      case m.ended when 'complete' then 'complete' when 'skip' then 'skipped' when 'wait' then 'pending' when 'release' then 'pending' else 'failed' end::tasker.step_state,
      by_verb, now_,
      case when m.ended in ('wait', 'release') then m.attempt - 1 else m.attempt end,
      m.claim_id, m.worker_id, m.next_retry_at,
      m.ended not in ('fail', 'lost') or m.may_retry,
      case m.ended when 'fail' then coalesce(error_kinds[m.i], 'handler_error') when 'lost' then 'released' end,
      case when m.ended = 'fail' then m.asked_delay end,
      m.retry_limit, m.attempts_before, m.generation,
      case when m.ended = 'wait' then m.next_retry_at else m.timer end,
      case when m.ended in ('fail', 'lost') then now_ else m.last_failure_at end,
      m.last_attempted_at
    from m)
  select count(*), count(*) filter (where m.task_id <> s_tasks[m.i] or m.step_number <> s_steps[m.i]),
    array_agg(m.task_id) filter (where m.ended in ('complete', 'skip') and m.child_count = 0),
    array_agg(m.task_id) filter (where m.ended in ('complete', 'skip') and m.child_count > 0),
    array_agg(m.step_number) filter (where m.ended in ('complete', 'skip') and m.child_count > 0),
    array_agg(m.named_task_id) filter (where m.ended in ('complete', 'skip') and m.child_count > 0),
    array_agg(m.task_id) filter (where m.next_retry_at is not null),
    array_agg(m.step_number) filter (where m.next_retry_at is not null)
  into settled, strange, leaf_tasks, parent_tasks, parent_steps, parent_named, again_tasks, again_steps from m;
  if strange > 0 then
    raise exception using errcode = '22023', message = 'a claim is handed in with the step that it is of, and not with another';
  end if;
  if 'fail' = any(outcomes) then
    insert into tasker.step_errors (task_id, step_number, number, error)
    select u.task_id, u.step_number, settle_number, coalesce(u.payload, '')
    from unnest(s_tasks, s_steps, s_claims, outcomes, payloads) with ordinality u(task_id, step_number, claim_id, outcome, payload, ord)
    -- of a claim that is handed in twice the first end counts
    where u.outcome = 'fail' and array_position(s_claims, u.claim_id) = u.ord and exists (
      select from tasker.workflow_step_transitions h
      where h.task_id = u.task_id and h.step_number = u.step_number and h.number = settle_number and h.claim_id = u.claim_id)
    on conflict do nothing;
  end if;
  if leaf_tasks is not null or parent_tasks is not null then
    x := tasker.satisfy(leaf_tasks, parent_tasks, parent_steps, parent_named, now_, finish_number);
    c_tasks := x.c_tasks; c_steps := x.c_steps;
  end if;
  c_tasks := c_tasks || again_tasks;
  c_steps := c_steps || again_steps;
end $$;

comment on function tasker.settle(tasker.verb, timestamptz, uuid[], int[], uuid[], text[], text[], text[], boolean[], double precision[], timestamptz[], timestamptz)
  is 'Records the ends of claims; gives the steps that may have become ready.';
