-- Claims up to "wanted" due steps of one task, under the same limits as any claim.
create function tasker.claim_task(by_worker uuid, of_task uuid, handlers int[], wanted int, lease interval,
  out l_tasks uuid[], out l_steps int[], out l_named int[], out l_claims uuid[], out next_at timestamptz)
language plpgsql as $$
declare now_ timestamptz := tasker.clock(); locked text[]; places tid[]; t record;
begin
  select array_agg(distinct r.limit_key) into locked from tasker.ready_steps r
  where r.task_id = of_task and r.handler_id = any(handlers) and r.limit_key <> '' and r.queue_at <= now_;
  if locked is not null then
    perform pg_advisory_xact_lock(x.id) from (select distinct hashtextextended(k, 7461) as id from unnest(locked) k order by 1) x;
    now_ := tasker.clock();
  end if;
  with due as (
    select r.*, row_number() over (partition by r.limit_key order by r.lane, r.queue_at, r.step_number) as place
    from tasker.ready_steps r where r.task_id = of_task and r.handler_id = any(handlers) and r.queue_at <= now_),
  rooms as materialized (
    select k as limit_key, tasker.limit_of(substring(k from '^[0-9]+')::int) - tasker.leases_under(k) as room from unnest(locked) k),
  -- a key that came up meanwhile is not locked, and has to wait for the next call
  heads as materialized (
    select d.step_number from due d left join rooms r on r.limit_key = d.limit_key
    where d.limit_key = '' or d.place <= r.room
    order by d.lane, d.queue_at, d.step_number limit wanted),
  candidates as materialized (
    select r.ctid from tasker.ready_steps r join heads h on h.step_number = r.step_number
    where r.task_id = of_task for update of r skip locked)
  select array_agg(c.ctid) into places from candidates c;
  if places is not null then
    t := tasker.take(by_worker, places, lease);
    l_tasks := t.l_tasks; l_steps := t.l_steps; l_named := t.l_named; l_claims := t.l_claims;
  end if;
  select min(r.queue_at) into next_at from tasker.ready_steps r
  where r.task_id = of_task and r.handler_id = any(handlers) and (r.queue_at > now_ or r.limit_key <> '' and not r.limit_key = any(coalesce(locked, '{}')));
end $$;

comment on function tasker.claim_task(uuid, uuid, int[], int, interval) is 'Claims due steps of one task for a worker.';
