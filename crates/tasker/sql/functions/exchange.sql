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
  turns constant int := 64; now_ timestamptz; begins boolean; settled_ int; leased_ int := 0; answers_ text[]; one record; only_child int;
  c_tasks uuid[]; c_steps int[]; kept uuid[]; l_tasks uuid[]; l_steps int[]; l_named int[]; l_claims uuid[];
  left_over_ boolean := false; next_at_ timestamptz; x record;
begin
  -- the test is here, where it costs no statement
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    perform tasker.require_read_committed();
  end if;

  -- so many look for work at once, until they have committed: more only hold each other up, at locks of a moment whose holder waits for a
  -- processor. Who only hands in takes no turn: it may hold tasks' locks in a user's transaction, for which those with a turn wait.
  if capacity > 0 and not pg_try_advisory_xact_lock(7463, pg_backend_pid() % turns) then
    perform tasker.wait_for_turn(turns);
  end if;

  -- an idle worker reaps in the same call; one that settles holds locks, under which reaping could deadlock
  if reap_from is not null and cardinality(s_tasks) = 0 then
    x := tasker.reap(100, reap_from, by_worker);
    next_reap_from := x.next_position;
    -- there may be more of them
    left_over_ := x.reaped >= 100 or x.overdue >= 100;
  end if;

  if cardinality(s_tasks) = 1 and outcomes[1] = 'complete' then
    one := tasker.complete_step(by_worker, s_tasks[1], s_steps[1], s_claims[1], payloads[1], handlers, capacity, lease);
    now_ := one.now_; settled_ := one.settled; c_tasks := one.c_tasks; c_steps := one.c_steps;
    only_child := one.l_step;
    if only_child is not null then
      kept := s_tasks; leased_ := 1;
    end if;
  elsif cardinality(s_tasks) > 0 then
    select bool_or(k.state = 'pending') into begins from (
      select k.state from tasker.tasks k where k.task_id = any(s_tasks) order by k.task_id for no key update) k;
    if begins then
      perform tasker.record_start(s_tasks);
    end if;
    now_ := tasker.clock();
    perform tasker.require_settlements(now_, outcomes, delays, instants);
    x := tasker.settle('settle', now_, s_tasks, s_steps, s_claims, outcomes, payloads, error_kinds, retryables, delays, instants, null);
    settled_ := x.settled; c_tasks := x.c_tasks; c_steps := x.c_steps;
  end if;

  if cardinality(s_tasks) > 0 then
    if c_tasks is not null then
      x := tasker.lease_or_enqueue(by_worker, now_, c_tasks, c_steps, handlers, capacity, lease);
      kept := x.kept; left_over_ := x.left_over;
      l_tasks := x.l_tasks; l_steps := x.l_steps; l_named := x.l_named; l_claims := x.l_claims;
      leased_ := coalesce(cardinality(l_tasks), 0);
    end if;

    if not s_tasks <@ coalesce(kept, '{}') then
      perform tasker.conclude(s_tasks, coalesce(kept, '{}'));
    end if;
    answers_ := case when settled_ = cardinality(s_tasks) then array_fill('settled'::text, array[settled_])
      else tasker.answers(s_tasks, s_steps, s_claims) end;
  end if;

  -- without lanes only the released children were asked for
  next_positions := positions; next_keys := keys;
  if cardinality(lanes) > 0 and leased_ < capacity then
    if only_task is null then
      x := tasker.claim(by_worker, handlers, lanes, positions, keys, capacity - leased_, lease, known_pairs, known_keys, known_from);
      next_positions := x.next_positions; next_keys := x.next_keys; seen_pairs := x.seen_pairs; seen_keys := x.seen_keys; seen_from := x.seen_from;
    else
      x := tasker.claim_task(by_worker, only_task, handlers, capacity - leased_, lease);
    end if;
    l_tasks := l_tasks || x.l_tasks; l_steps := l_steps || x.l_steps; l_named := l_named || x.l_named; l_claims := l_claims || x.l_claims;
    next_at_ := x.next_at;
  end if;
  -- a duration, never an instant: the worker counts it on its own monotonic clock
  next_in := case when isfinite(next_at_) then next_at_ - tasker.clock() end; answers := answers_; left_over := left_over_;
  return next;
  if only_child is not null then
    return query select null::text[], null::timestamptz[], null::text[], null::int[], null::text[], null::timestamptz[], null::interval, null::boolean, null::timestamptz,
      s_tasks[1], only_child, one.l_named, 1, one.l_claim, one.retry_limit, 0, null::timestamptz, one.context, null::text, one.results;
  end if;
  if l_tasks is not null then
    return query select null::text[], null::timestamptz[], null::text[], null::int[], null::text[], null::timestamptz[], null::interval, null::boolean, null::timestamptz, d.* from tasker.deliver(l_tasks, l_steps, l_named, l_claims) d;
  end if;
end $$;

comment on function tasker.exchange(uuid, uuid[], int[], uuid[], text[], text[], text[], boolean[], double precision[], timestamptz[], int[], smallint[], timestamptz[], text[], int, interval, uuid, timestamptz, int[], text[], timestamptz[])
  is 'A worker''s one call: settle what is finished, release children, finish tasks, claim what may start.';
