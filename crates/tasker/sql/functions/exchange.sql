-- The engine's one call: hand in what is finished, receive what may start. Settle, release the children, finish tasks,
-- claim. The first row has the answers (one for each settlement handed in: settled, lease_lost, cancelled) and where the
-- next search for work begins, when the next step is due, and whether work was left for others; every other row is a step that the worker now holds.
create function tasker.exchange(
  by_worker uuid,
  s_tasks uuid[], s_steps int[], s_claims uuid[], outcomes text[], payloads text[],
  error_kinds text[], retryables boolean[], delays double precision[], instants timestamptz[],
  handlers int[], lanes smallint[], positions timestamptz[], keys text[], capacity int, lease interval, only_task uuid default null, reap_from timestamptz default null,
  known_pairs int[] default '{}', known_keys text[] default '{}', known_from timestamptz[] default '{}')
returns table (answers text[], next_positions timestamptz[], next_keys text[], seen_pairs int[], seen_keys text[], seen_from timestamptz[], next_in interval, left_over boolean, next_reap_from timestamptz,
  task_id uuid, step_number int, named_task_id int, attempt int, claim_id uuid, retry_limit int, generation int, timer timestamptz,
  context text, input text, results text)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_memoize = off set jit = off set plan_cache_mode = force_generic_plan set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
  now_ timestamptz; release_number bigint; begins boolean; settled_ int; answers_ text[];
  c_tasks uuid[]; c_steps int[]; kept uuid[]; l_tasks uuid[]; l_steps int[]; l_named int[]; l_claims uuid[];
  left_over_ boolean := false; next_at_ timestamptz; x record;
begin
  -- the test is here, where it costs no statement
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    perform tasker.require_read_committed();
  end if;

  -- an idle worker reaps in the same call; one that settles holds locks, under which reaping could deadlock
  if reap_from is not null and cardinality(s_tasks) = 0 then
    x := tasker.reap(100, reap_from, by_worker);
    next_reap_from := x.next_position;
  end if;

  if cardinality(s_tasks) > 0 then
    select bool_or(k.state = 'pending') into begins from (
      select k.state from tasker.tasks k where k.task_id = any(s_tasks) order by k.task_id for no key update) k;
    if begins then
      perform tasker.record_start(s_tasks);
    end if;
    now_ := tasker.clock();
    x := tasker.settle('settle', now_, s_tasks, s_steps, s_claims, outcomes, payloads, error_kinds, retryables, delays, instants, null);
    settled_ := x.settled; c_tasks := x.c_tasks; c_steps := x.c_steps;

    if c_tasks is not null then
      -- the view is asked, about these steps only: what it calls ready is leased at once where this worker serves it,
      -- has room, and no limit stands on it; what only time or room holds back is enqueued
      release_number := nextval('tasker.transition_numbers');
      with v as materialized (
        select v.*, gen_random_uuid() as claim_id, v.leasable and count(*) filter (where v.leasable) over (rows unbounded preceding) <= capacity as taken from (
          select v.task_id, v.step_number, v.named_task_id, v.handler_id, v.lane, v.limit_key, v.next_retry_at, v.attempts, v.ready_for_execution,
            v.ready_for_execution and v.limit_key = '' and v.handler_id = any(handlers) as leasable
          from unnest(c_tasks, c_steps) c(task_id, step_number)
          cross join lateral (
            select * from tasker.step_readiness_statuses v where v.task_id = c.task_id and v.step_number = c.step_number offset 0) v
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
          select h.* from tasker.workflow_step_transitions h
          where h.task_id = l.task_id and h.step_number = l.step_number order by h.number desc limit 1) h on true)
      select array_agg(v.task_id), array_agg(v.task_id) filter (where v.taken), array_agg(v.step_number) filter (where v.taken),
        array_agg(v.named_task_id) filter (where v.taken), array_agg(v.claim_id) filter (where v.taken),
        coalesce(bool_or(v.ready_for_execution and not v.taken), false)
      into kept, l_tasks, l_steps, l_named, l_claims, left_over_ from v;
    end if;

    if not s_tasks <@ coalesce(kept, '{}') then
      perform tasker.conclude(s_tasks, coalesce(kept, '{}'));
    end if;
    answers_ := case when settled_ = cardinality(s_tasks) then array_fill('settled'::text, array[settled_])
      else tasker.answers(s_tasks, s_steps, s_claims) end;
  end if;

  -- without lanes only the released children were asked for
  next_positions := positions; next_keys := keys;
  if cardinality(lanes) > 0 and coalesce(cardinality(l_tasks), 0) < capacity then
    if only_task is null then
      x := tasker.claim(by_worker, handlers, lanes, positions, keys, capacity - coalesce(cardinality(l_tasks), 0), lease, known_pairs, known_keys, known_from);
      next_positions := x.next_positions; next_keys := x.next_keys; seen_pairs := x.seen_pairs; seen_keys := x.seen_keys; seen_from := x.seen_from;
    else
      x := tasker.claim_task(by_worker, only_task, handlers, capacity - coalesce(cardinality(l_tasks), 0), lease);
    end if;
    l_tasks := l_tasks || x.l_tasks; l_steps := l_steps || x.l_steps; l_named := l_named || x.l_named; l_claims := l_claims || x.l_claims;
    next_at_ := x.next_at;
  end if;
  -- a duration, never an instant: the worker counts it on its own monotonic clock
  next_in := case when isfinite(next_at_) then next_at_ - tasker.clock() end; answers := answers_; left_over := left_over_;
  return next;
  if l_tasks is not null then
    return query select null::text[], null::timestamptz[], null::text[], null::int[], null::text[], null::timestamptz[], null::interval, null::boolean, null::timestamptz, d.* from tasker.deliver(l_tasks, l_steps, l_named, l_claims) d;
  end if;
end $$;

comment on function tasker.exchange(uuid, uuid[], int[], uuid[], text[], text[], text[], boolean[], double precision[], timestamptz[], int[], smallint[], timestamptz[], text[], int, interval, uuid, timestamptz, int[], text[], timestamptz[])
  is 'A worker''s one call: settle what is finished, release children, finish tasks, claim what may start.';
