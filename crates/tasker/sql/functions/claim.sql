-- Claims up to "wanted" steps for a worker; next_at is when the next one is due, where nothing more is due now.
-- A source is a (handler, lane, limit key). The heads of all sources are looked at without locks and merged by
-- (queue_at less a minute's bonus a lane, task, step); then each source is asked for as many as fell to it, so that
-- what can start together in one task is claimed together and no handler stands before another.
create function tasker.claim(
  by_worker uuid, handlers int[], lanes smallint[], positions timestamptz[], keys text[], wanted int, lease interval,
  out l_tasks uuid[], out l_steps int[], out next_positions timestamptz[], out next_keys text[], out next_at timestamptz)
language plpgsql as $$
declare
  now_ timestamptz := tasker.clock(); places tid[]; t record;
  k_pairs int[]; k_keys text[]; k_limits int[]; k_rooms int[];
begin
  next_keys := keys;
  if exists (select from tasker.handlers h where h.handler_id = any(handlers) and h.limited) then
    -- walk the distinct limit keys from where the last call stopped, at most 100 a pair, and keep those with a due step
    with recursive pairs as (
      select * from unnest(handlers, lanes, keys) with ordinality p(handler_id, lane, after_key, pair)),
    walk as (
      select p.pair, p.handler_id, p.lane, x.limit_key, 1 as steps from pairs p
      cross join lateral (
        select r.limit_key from tasker.ready_steps r where r.handler_id = p.handler_id and r.lane = p.lane
          and r.limit_key > p.after_key order by r.limit_key limit 1) x
      union all
      select w.pair, w.handler_id, w.lane, x.limit_key, w.steps + 1 from walk w
      cross join lateral (
        select r.limit_key from tasker.ready_steps r where r.handler_id = w.handler_id and r.lane = w.lane
          and r.limit_key > w.limit_key order by r.limit_key limit 1) x
      where w.steps < 100),
    due as materialized (
      select w.pair, w.limit_key, n.concurrency_limit from walk w
      cross join lateral (
        select r.named_task_id, r.step_number from tasker.ready_steps r
        where r.handler_id = w.handler_id and r.lane = w.lane and r.limit_key = w.limit_key and r.queue_at <= now_
        order by r.queue_at, r.task_id, r.step_number limit 1) r
      join tasker.named_tasks_named_steps n on n.named_task_id = r.named_task_id and n.step_number = r.step_number
      where n.concurrency_limit > (select count(*) from tasker.leases l where l.limit_key = w.limit_key and l.limit_key <> ''))
    select array_agg(d.pair), array_agg(d.limit_key), array_agg(d.concurrency_limit),
      (select array_agg(coalesce(s.next_key, '') order by p.pair) from pairs p
       left join (select w.pair, max(w.limit_key collate "C") as next_key from walk w group by 1 having max(w.steps) = 100) s on s.pair = p.pair)
    into k_pairs, k_keys, k_limits, next_keys from due d;
    if k_keys is not null then
      -- the locks of all candidates' keys, ascending; nothing is waited for after them
      perform pg_advisory_xact_lock(x.id) from (
        select distinct hashtextextended(k, 7461) as id from unnest(k_keys) k order by 1) x;
      now_ := tasker.clock();
      -- counted again, now that nobody else claims under these keys
      select array_agg(greatest(x.concurrency_limit - (select count(*)::int from tasker.leases l where l.limit_key = x.limit_key and l.limit_key <> ''), 0) order by x.ord)
      into k_rooms from unnest(k_keys, k_limits) with ordinality x(limit_key, concurrency_limit, ord);
    end if;
  end if;

  with pairs as (
    select * from unnest(handlers, lanes, positions) with ordinality p(handler_id, lane, position, pair)),
  sources as (
    select p.pair, p.handler_id, p.lane, '' as limit_key, p.position, wanted as room from pairs p
    union all
    select p.pair, p.handler_id, p.lane, k.limit_key, '-infinity', k.room
    from unnest(k_pairs, k_keys, k_rooms) k(pair, limit_key, room) join pairs p on p.pair = k.pair where k.room > 0),
  due as (
    select s.*, r.queue_at + make_interval(mins => s.lane) as order_at, r.task_id, r.step_number from sources s
    cross join lateral (
      select r.queue_at, r.task_id, r.step_number from tasker.ready_steps r
      where r.handler_id = s.handler_id and r.lane = s.lane and r.limit_key = s.limit_key
        and r.queue_at >= s.position and r.queue_at <= now_
      order by r.queue_at, r.task_id, r.step_number limit least(s.room, wanted)) r),
  heads as materialized (
    select d.* from (
      -- a key may stand in several lanes: together they get no more than its room
      select d.*, case when d.limit_key = '' then 1 else row_number() over (partition by d.limit_key order by d.order_at, d.task_id, d.step_number) end as place
      from due d) d
    where d.place <= d.room order by d.order_at, d.task_id, d.step_number limit wanted),
  shares as (select h.pair, h.handler_id, h.lane, h.limit_key, h.position, count(*) as share from heads h group by 1, 2, 3, 4, 5),
  candidates as materialized (
    select s.pair, r.* from shares s
    cross join lateral (
      select r.ctid, r.limit_key, r.queue_at from tasker.ready_steps r
      where r.handler_id = s.handler_id and r.lane = s.lane and r.limit_key = s.limit_key
        and r.queue_at >= s.position and r.queue_at <= now_
      order by r.queue_at, r.task_id, r.step_number limit s.share
      for update skip locked) r),
  reached as (select c.pair, max(c.queue_at) filter (where c.limit_key = '') as queue_at from candidates c group by 1)
  select (select array_agg(c.ctid) from candidates c),
    (select array_agg(greatest(p.position, case
      -- a search that found less than it wanted has seen everything up to now
      when (select count(*) from heads) < wanted then now_ - interval '20 ms'
      else r.queue_at - interval '5 ms' end) order by p.pair)
     from pairs p left join reached r on r.pair = p.pair),
    case when (select count(*) from heads) < wanted then (
      select min(r.queue_at) from pairs p
      cross join lateral (
        select r.queue_at from tasker.ready_steps r
        where r.handler_id = p.handler_id and r.lane = p.lane and r.limit_key = '' and r.queue_at > now_
        order by r.queue_at limit 1) r) end
  into places, next_positions, next_at;
  if cardinality(places) > wanted then
    raise exception 'found % steps for a limit of %', cardinality(places), wanted;
  end if;
  if places is not null then
    t := tasker.take(by_worker, places, lease);
    l_tasks := t.l_tasks; l_steps := t.l_steps;
  end if;
end $$;

comment on function tasker.claim(uuid, int[], smallint[], timestamptz[], text[], int, interval) is 'Claims due steps from the queue for a worker.';
