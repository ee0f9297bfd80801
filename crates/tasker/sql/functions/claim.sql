-- Claims up to "wanted" steps for a worker; next_at is when the next one is due, where nothing is due now.
-- A source is a (handler, lane, limit key). The heads of all sources are looked at without locks and merged by
-- (queue_at less a minute's bonus a lane, task, step); then each source is asked for as many as fell to it, so that
-- what can start together in one task is claimed together and no handler stands before another.
create function tasker.claim(
  by_worker uuid, handlers int[], lanes smallint[], positions timestamptz[], keys text[], wanted int, lease interval,
  known_pairs int[] default '{}', known_keys text[] default '{}', known_from timestamptz[] default '{}',
  out l_tasks uuid[], out l_steps int[], out l_named int[], out l_claims uuid[],
  out next_positions timestamptz[], out next_keys text[], out seen_pairs int[], out seen_keys text[], out seen_from timestamptz[], out next_at timestamptz)
language plpgsql as $$
declare
  now_ timestamptz := tasker.clock(); looked_at timestamptz := now_; pairs int := cardinality(handlers); places tid[]; heads_ int; passed_over boolean := false; k record; t record;
  -- the sources: first the pairs, whose steps have no limit, from their positions on; then the limited keys with room
  s_handlers int[] := handlers; s_lanes smallint[] := lanes; s_from timestamptz[] := positions;
  s_keys text[] := array_fill(''::text, array[pairs]); s_rooms int[] := array_fill(wanted, array[pairs]);
  c_sources bigint[]; c_queue_ats timestamptz[];
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
    k := tasker.keys_with_room(handlers, lanes, keys, known_pairs, known_keys, known_from, wanted);
    next_keys := k.next_keys; seen_pairs := k.seen_pairs; seen_keys := k.seen_keys; seen_from := k.seen_from; next_at := k.next_at;
    s_handlers := s_handlers || k.s_handlers; s_lanes := s_lanes || k.s_lanes; s_keys := s_keys || k.s_keys;
    s_from := s_from || k.s_from; s_rooms := s_rooms || k.s_rooms;
    now_ := tasker.clock();
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
  if places is not null then
    next_at := null;
  elsif heads_ > 0 or passed_over or not next_keys <@ array[''] then
    -- somebody was faster, or not all keys were looked at: there may be work elsewhere
    next_at := now_;
  else
    select least(min(r.queue_at), next_at) into next_at from unnest(handlers, lanes) p(handler_id, lane)
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

comment on function tasker.claim(uuid, int[], smallint[], timestamptz[], text[], int, interval, int[], text[], timestamptz[]) is 'Claims due steps from the queue for a worker.';
