-- Puts steps that may have become ready to the view, and only these: what it calls ready is leased at once where this worker
-- serves it, has room, and no limit stands on it; what only time or room holds back is enqueued. "kept" are the tasks of both.
create function tasker.lease_or_enqueue(by_worker uuid, now_ timestamptz, c_tasks uuid[], c_steps int[], handlers int[], capacity int, lease interval,
  out kept uuid[], out l_tasks uuid[], out l_steps int[], out l_named int[], out l_claims uuid[], out left_over boolean)
language plpgsql as $$
declare release_number bigint := nextval('tasker.transition_numbers');
begin
  with v as materialized (
    select v.*, gen_random_uuid() as claim_id, v.leasable and count(*) filter (where v.leasable) over (rows unbounded preceding) <= capacity as taken from (
      select v.task_id, v.step_number, v.named_task_id, v.handler_id, v.lane, v.limit_key, v.next_retry_at, v.attempts, v.ready_for_execution,
        v.ready_for_execution and v.limit_key = '' and v.handler_id = any(handlers) as leasable
      from unnest(c_tasks, c_steps) c(task_id, step_number)
      cross join lateral (
        select v.task_id, v.step_number, v.named_task_id, v.handler_id, v.lane, v.limit_key, v.next_retry_at, v.attempts, v.ready_for_execution, v.blocking_reason
        from tasker.step_readiness_statuses v where v.task_id = c.task_id and v.step_number = c.step_number offset 0) v
      where coalesce(v.blocking_reason in ('waiting_for_retry', 'scheduled_for_later', 'concurrency_limit_reached'), true)) v),
  queued as (
    insert into tasker.ready_steps (handler_id, lane, limit_key, queue_at, task_id, step_number, attempt, named_task_id)
    select v.handler_id, v.lane, v.limit_key, greatest(now_, v.next_retry_at), v.task_id, v.step_number, v.attempts + 1, v.named_task_id
    from v where not v.taken
    on conflict (task_id, step_number) do nothing),
  leased as materialized (
    insert into tasker.leases (task_id, step_number, named_task_id, attempt, claim_id, worker_id, lease_expires_at, limit_key)
    select v.task_id, v.step_number, v.named_task_id, v.attempts + 1, v.claim_id, by_worker, now_ + lease, v.limit_key
    from v where v.taken
    on conflict (task_id, step_number) do nothing
    returning task_id, step_number, attempt, claim_id),
  moved as (
    insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id,
      retry_limit, attempts_before, generation, timer, last_failure_at, last_attempted_at)
    select l.task_id, l.step_number, release_number, 'in_progress', 'claim', now_, l.attempt, l.claim_id, by_worker,
      h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, now_
    from leased l
    left join lateral (
      select h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at from tasker.workflow_step_transitions h
      where h.task_id = l.task_id and h.step_number = l.step_number order by h.number desc limit 1) h on true)
  select array_agg(v.task_id), array_agg(v.task_id) filter (where v.taken), array_agg(v.step_number) filter (where v.taken),
    array_agg(v.named_task_id) filter (where v.taken), array_agg(v.claim_id) filter (where v.taken),
    coalesce(bool_or(v.ready_for_execution and not v.taken), false)
  into kept, l_tasks, l_steps, l_named, l_claims, left_over from v;
end $$;

comment on function tasker.lease_or_enqueue(uuid, timestamptz, uuid[], int[], int[], int, interval) is 'Leases to a worker, or enqueues, those of some steps that the view calls ready.';
