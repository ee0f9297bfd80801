-- Turns expired leases into failed attempts, and acts on deadlines that have passed: at most so many of each, from a remembered
-- position, whatever handlers the caller has. It waits for nobody: the locks of tasks, leases and ready rows are taken with skip
-- locked, and what somebody holds is looked at again by the next call. The deletion of a lease checks its expiry again.
-- Idempotency keys older than 30 days go, too, ten times as many: they cost nothing else.
create function tasker.reap(at_most int, from_position timestamptz, by_worker uuid default null, out reaped int, out overdue int, out next_position timestamptz)
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan set lock_timeout = '1s'
as $$
declare
  now_ timestamptz := tasker.clock(); at_most_keys int := 10 * at_most; t uuid; wanted uuid[]; held uuid[];
  first_live timestamptz; s_tasks uuid[]; s_steps int[]; s_claims uuid[]; n int; c_tasks uuid[]; c_steps int[];
begin
  perform tasker.require_read_committed();
  update tasker.workers w set last_seen_at = now_ where w.worker_id = (
    select x.worker_id from tasker.workers x where x.worker_id = by_worker and x.last_seen_at < now_ - interval '10 s' for update skip locked);
  reaped := 0; overdue := 0;
  -- what was settled long before it would have expired is dead here, and is read by this statement alone
  select l.lease_expires_at into first_live from tasker.leases l
  where l.lease_expires_at >= from_position and l.lease_expires_at < now_ order by l.lease_expires_at limit 1;
  -- one lease after the other, each task's lock with it: those that somebody holds, or whose task he does, are passed over, however many, and
  -- take nobody's place
  select array_agg(distinct e.task_id) into held from (
    select l.task_id from (
      select l.task_id, l.step_number from tasker.leases l
      where l.lease_expires_at >= first_live and l.lease_expires_at < now_ order by l.lease_expires_at offset 0) l
    cross join lateral (select from tasker.tasks k where k.task_id = l.task_id for no key update skip locked) k
    cross join lateral (
      select from tasker.leases x where x.task_id = l.task_id and x.step_number = l.step_number for update skip locked) x
    limit at_most) e;
  if held is not null then
    perform tasker.record_start(held);
    now_ := tasker.clock();
    select array_agg(l.task_id), array_agg(l.step_number), array_agg(l.claim_id), count(*) into s_tasks, s_steps, s_claims, n
    from (
      select l.* from tasker.leases l where l.task_id = any(held) and l.lease_expires_at < now_
      order by l.lease_expires_at limit at_most for update skip locked) l;
    if n > 0 then
      select r.settled, r.c_tasks, r.c_steps into reaped, c_tasks, c_steps from tasker.settle('reap', now_, s_tasks, s_steps, s_claims,
        array_fill('fail'::text, array[n]), array_fill('the lease expired: the worker died, hung, or lost the database'::text, array[n]),
        array_fill('lease_expired'::text, array[n]), array_fill(null::boolean, array[n]), array_fill(null::double precision, array[n]),
        array_fill(null::timestamptz, array[n]), now_) r;
      perform tasker.enqueue(c_tasks, c_steps);
      perform tasker.conclude(held);
    end if;
  end if;

  -- A lease that was passed over is looked at again, and a clock that is set back takes the position with it. What was committed long
  -- after its end lies behind every position: the caller begins at the beginning now and then.
  next_position := least(now_ - interval '1 second', (
    select l.lease_expires_at from tasker.leases l where l.lease_expires_at >= first_live and l.lease_expires_at < now_ order by l.lease_expires_at limit 1));

  delete from tasker.idempotency_keys k where k.ctid = any(array(
    select o.ctid from tasker.idempotency_keys o
    where o.created_at < now_ - interval '30 days' order by o.created_at limit at_most_keys for update skip locked));

  select array_agg(e.task_id order by e.task_id) into wanted from (
    select d.task_id from (
      select d.task_id from tasker.task_deadlines d where d.deadline <= now_ order by d.deadline, d.task_id offset 0) d
    cross join lateral (select k.task_id from tasker.tasks k where k.task_id = d.task_id for no key update skip locked) k
    cross join lateral (select tasker.is_held(k.task_id) as is_held offset 0) h
    where not h.is_held
    limit at_most) e;
  if wanted is not null then
    foreach t in array wanted loop
      if exists (select from tasker.task_deadlines d where d.task_id = t and d.deadline <= tasker.clock()) then
        perform tasker.fail_overdue(t);
        overdue := overdue + 1;
      end if;
    end loop;
  end if;
end $$;

comment on function tasker.reap(int, timestamptz, uuid) is 'Turns expired leases into failed attempts and acts on passed deadlines.';
