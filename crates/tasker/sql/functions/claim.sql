-- Claims up to "wanted" steps for a worker; next_at is when the next one is due, where nothing is due now.
-- A source is a (handler, lane, limit key). The heads of all sources are looked at without locks and merged by
-- (queue_at less a minute's bonus a lane, task, step); then each source is asked for as many as fell to it, so that
-- what can start together in one task is claimed together and no handler stands before another.
create function tasker.claim(
  by_worker uuid, handlers int[], lanes smallint[], positions timestamptz[], keys text[], wanted int, lease interval,
  out l_tasks uuid[], out l_steps int[], out l_named int[], out l_claims uuid[],
  out next_positions timestamptz[], out next_keys text[], out next_at timestamptz)
language plpgsql as $$
declare
  now_ timestamptz := tasker.clock(); looked_at timestamptz := now_; pairs int := cardinality(handlers); places tid[]; heads_ int; passed_over boolean := false; t record;
  -- the sources: first the pairs, whose steps have no limit, from their positions on; then the limited keys with room
  s_handlers int[] := handlers; s_lanes smallint[] := lanes; s_from timestamptz[] := positions;
  s_keys text[] := array_fill(''::text, array[pairs]); s_rooms int[] := array_fill(wanted, array[pairs]);
  k_handlers int[]; k_lanes smallint[]; k_keys text[]; k_limits int[]; k_rooms int[]; c_sources bigint[]; c_queue_ats timestamptz[];
begin
  next_keys := keys;
  if pairs > wanted then
    -- more can come only from those with one of the foremost heads
    select array_agg(case when h.pair is null then 0 else wanted end order by p.pair), count(h.pair) = wanted into s_rooms, passed_over
    from generate_series(1, pairs) p(pair) left join (
      select p.pair from unnest(handlers, lanes, positions) with ordinality p(handler_id, lane, position, pair)
      cross join lateral (
        select r.queue_at, r.task_id, r.step_number from tasker.ready_steps r
        where r.handler_id = p.handler_id and r.lane = p.lane and r.limit_key = '' and r.queue_at >= p.position and r.queue_at <= now_
        order by r.queue_at, r.task_id, r.step_number limit 1) r
      order by r.queue_at + make_interval(mins => p.lane), r.task_id, r.step_number limit wanted) h on h.pair = p.pair;
  end if;

  if exists (select from tasker.handlers h where h.handler_id = any(handlers) and h.limited) then
    -- walk the distinct limit keys from where the last call stopped, at most 100 a pair, and keep those with room and a due step
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
      select w.handler_id, w.lane, w.limit_key, n.concurrency_limit from walk w
      cross join lateral (
        select r.named_task_id, r.step_number from tasker.ready_steps r
        where r.handler_id = w.handler_id and r.lane = w.lane and r.limit_key = w.limit_key and r.queue_at <= now_
        order by r.queue_at, r.task_id, r.step_number limit 1) r
      join tasker.named_tasks_named_steps n on n.named_task_id = r.named_task_id and n.step_number = r.step_number
      where n.concurrency_limit > (select count(*) from tasker.leases l where l.limit_key = w.limit_key and l.limit_key <> ''))
    select array_agg(d.handler_id), array_agg(d.lane), array_agg(d.limit_key), array_agg(d.concurrency_limit),
      (select array_agg(coalesce(s.next_key, '') order by p.pair) from pairs p
       left join (select w.pair, max(w.limit_key collate "C") as next_key from walk w group by 1 having max(w.steps) = 100) s on s.pair = p.pair)
    into k_handlers, k_lanes, k_keys, k_limits, next_keys from due d;
    if k_keys is not null then
      -- the locks of all candidates' keys, ascending; nothing is waited for after them
      perform pg_advisory_xact_lock(x.id) from (
        select distinct hashtextextended(k, 7461) as id from unnest(k_keys) k order by 1) x;
      now_ := tasker.clock();
      -- counted again, now that nobody else claims under these keys; one that stands in several lanes is divided among them
      select array_agg(s.handler_id), array_agg(s.lane), array_agg(s.limit_key), array_agg(s.room)
      into k_handlers, k_lanes, k_keys, k_rooms from (
        select d.handler_id, d.lane, d.limit_key, count(*)::int as room from (
          select k.*, c.room, row_number() over (
            partition by k.limit_key order by r.queue_at + make_interval(mins => k.lane), r.task_id, r.step_number) as place
          from unnest(k_handlers, k_lanes, k_keys, k_limits) k(handler_id, lane, limit_key, concurrency_limit)
          cross join lateral (
            select greatest(k.concurrency_limit - count(*), 0)::int as room from tasker.leases l
            where l.limit_key = k.limit_key and l.limit_key <> '') c
          cross join lateral (
            select r.queue_at, r.task_id, r.step_number from tasker.ready_steps r
            where r.handler_id = k.handler_id and r.lane = k.lane and r.limit_key = k.limit_key and r.queue_at <= now_
            order by r.queue_at, r.task_id, r.step_number limit least(c.room, wanted)) r) d
        where d.place <= d.room group by 1, 2, 3) s;
      s_handlers := s_handlers || k_handlers; s_lanes := s_lanes || k_lanes; s_keys := s_keys || k_keys; s_rooms := s_rooms || k_rooms;
      s_from := s_from || array_fill('-infinity'::timestamptz, array[coalesce(cardinality(k_keys), 0)]);
    end if;
  end if;

  with heads as materialized (
    select s.* from unnest(s_handlers, s_lanes, s_keys, s_from, s_rooms) with ordinality s(handler_id, lane, limit_key, position, room, source)
    cross join lateral (
      select r.queue_at, r.task_id, r.step_number from tasker.ready_steps r
      where r.handler_id = s.handler_id and r.lane = s.lane and r.limit_key = s.limit_key
        and r.queue_at >= s.position and r.queue_at <= now_
      order by r.queue_at, r.task_id, r.step_number limit s.room) r
    order by r.queue_at + make_interval(mins => s.lane), r.task_id, r.step_number limit wanted),
  shares as (select h.source, h.handler_id, h.lane, h.limit_key, h.position, count(*) as share from heads h group by 1, 2, 3, 4, 5),
  candidates as materialized (
    select s.source, r.* from shares s
    cross join lateral (
      select r.ctid, r.queue_at from tasker.ready_steps r
      where r.handler_id = s.handler_id and r.lane = s.lane and r.limit_key = s.limit_key
        and r.queue_at >= s.position and r.queue_at <= now_
      order by r.queue_at, r.task_id, r.step_number limit s.share
      for update skip locked) r)
  select array_agg(c.ctid), array_agg(c.source), array_agg(c.queue_at), (select count(*) from heads) into places, c_sources, c_queue_ats, heads_
  from candidates c;

  if heads_ < wanted and not passed_over then
    -- a search that found less than it wanted has seen everything up to now (one that passed over pairs may find less only
    -- because others have claimed meanwhile)
    next_positions := array_fill(looked_at - interval '20 ms', array[pairs]);
  else
    select array_agg(greatest(p.position, c.reached - interval '5 ms') order by p.pair) into next_positions
    from unnest(positions) with ordinality p(position, pair)
    left join (select c.source, max(c.queue_at) as reached from unnest(c_sources, c_queue_ats) c(source, queue_at) group by 1) c on c.source = p.pair;
  end if;
  if places is null and (heads_ > 0 or passed_over) then
    -- somebody was faster: there may be work elsewhere
    next_at := now_;
  elsif places is null then
    select min(r.queue_at) into next_at from unnest(handlers, lanes) p(handler_id, lane)
    cross join lateral (
      select r.queue_at from tasker.ready_steps r
      where r.handler_id = p.handler_id and r.lane = p.lane and r.limit_key = '' and r.queue_at > now_
      order by r.queue_at limit 1) r;
  end if;

  if cardinality(places) > wanted then
    raise exception 'found % steps for a limit of %', cardinality(places), wanted;
  end if;
  if places is not null then
    t := tasker.take(by_worker, places, lease);
    l_tasks := t.l_tasks; l_steps := t.l_steps; l_named := t.l_named; l_claims := t.l_claims;
  end if;
end $$;

comment on function tasker.claim(uuid, int[], smallint[], timestamptz[], text[], int, interval) is 'Claims due steps from the queue for a worker.';
