-- The limit keys of these pairs that have room and a due step, as sources of a claim, which holds their locks from then on:
-- where each begins, and how many steps it may give. One that stands in several lanes is divided among them by age.
-- The keys are walked from where the last call stopped, from one to the next, a probe each. For keys lately seen (known, sorted
-- by pair and key) it is known where their first step can stand, so that what is dead before it is not read again and again
-- while somebody's old snapshot keeps it; seen says so for the next call.
create function tasker.keys_with_room(
  handlers int[], lanes smallint[], after_keys text[], known_pairs int[], known_keys text[], known_from timestamptz[], wanted int,
  out s_handlers int[], out s_lanes smallint[], out s_keys text[], out s_from timestamptz[], out s_rooms int[],
  out next_keys text[], out seen_pairs int[], out seen_keys text[], out seen_from timestamptz[], out next_at timestamptz)
language plpgsql as $$
declare now_ timestamptz := tasker.clock(); from_keys text[] := after_keys; until_keys text[]; found_ int := 0; part record;
begin
  loop
    with recursive pairs as (
      select * from unnest(handlers, lanes, from_keys, until_keys) with ordinality p(handler_id, lane, after_key, until_key, pair)),
    -- at least a hundred keys a pair; more, up to a thousand, while they give less than is wanted
    walk as (
      select p.pair, p.handler_id, p.lane, p.until_key, p.after_key collate "C" as limit_key, null::timestamptz as position, null::timestamptz as queue_at,
        false as has_room, 0 as walked, 0 as found, (
          select min(k.place) from unnest(known_pairs, known_keys) with ordinality k(pair, limit_key, place)
          where k.pair = p.pair and k.limit_key > p.after_key collate "C") as next_known
      from pairs p
      union all
      select w.pair, w.handler_id, w.lane, w.until_key, coalesce(k.unknown, k.known), k.position, h.queue_at, coalesce(h.has_room, false),
        w.walked + 1, w.found + coalesce(h.has_room, false)::int, w.next_known + (k.unknown is null)::int
      from walk w
      cross join lateral (
        select case when known_pairs[w.next_known] = w.pair then known_keys[w.next_known] end as known offset 0) n
      cross join lateral (
        -- what is not known stands before the next that is, or behind the last: a limit key begins with a digit
        select n.known, u.limit_key as unknown, case when u.limit_key is null then known_from[w.next_known] else '-infinity' end as position
        from (select) x left join lateral (
          select r.limit_key from tasker.ready_steps r
          where r.handler_id = w.handler_id and r.lane = w.lane and r.limit_key > w.limit_key and r.limit_key < coalesce(n.known, ';')
          order by r.limit_key limit 1) u on true
        offset 0) k
      left join lateral (
        select r.queue_at, r.queue_at <= now_ and s.concurrency_limit > (
          select count(*) from tasker.leases l where l.limit_key = coalesce(k.unknown, k.known) and l.limit_key <> '') as has_room
        from (
          select r.queue_at from tasker.ready_steps r
          where r.handler_id = w.handler_id and r.lane = w.lane and r.limit_key = coalesce(k.unknown, k.known) and r.queue_at >= k.position
          order by r.queue_at, r.task_id, r.step_number limit 1) r
        -- a limit key begins with its named step
        cross join lateral (
          select n.concurrency_limit from tasker.named_tasks_named_steps n
          where n.named_step_id = substring(coalesce(k.unknown, k.known) from '^[0-9]+')::int and n.concurrency_limit is not null
          order by n.named_task_id desc limit 1) s
        offset 0) h on true
      where coalesce(k.unknown, k.known) is not null and coalesce(coalesce(k.unknown, k.known) collate "C" <= w.until_key, true) and w.walked < 1000 and (w.walked < 100 or w.found < wanted)),
    seen as (
      select w.*, least(w.queue_at - interval '5 ms', now_ - interval '20 ms') as next_from from walk w where w.walked > 0)
    select array_agg(s.handler_id) filter (where s.has_room) as s_handlers, array_agg(s.lane) filter (where s.has_room) as s_lanes,
      array_agg(s.limit_key) filter (where s.has_room) as s_keys, array_agg(s.next_from) filter (where s.has_room) as s_from,
      array_agg(s.pair) as seen_pairs, array_agg(s.limit_key) as seen_keys, array_agg(s.next_from) as seen_from,
      min(s.queue_at) filter (where s.queue_at > now_) as next_at,
      (select array_agg(coalesce(e.limit_key, '') order by p.pair) from pairs p left join lateral (
        -- where it stopped before the end
        select w.limit_key from walk w where w.pair = p.pair and w.walked >= 100 and (w.walked = 1000 or w.found >= wanted)) e on true) as next_keys
    into part from seen s;
    s_handlers := s_handlers || part.s_handlers; s_lanes := s_lanes || part.s_lanes; s_keys := s_keys || part.s_keys; s_from := s_from || part.s_from;
    -- a key may stand in several lanes, and gives no more for it
    found_ := (select count(distinct k) from unnest(s_keys) k); next_keys := part.next_keys; next_at := least(next_at, part.next_at);
    seen_pairs := seen_pairs || part.seen_pairs; seen_keys := seen_keys || part.seen_keys; seen_from := seen_from || part.seen_from;
    -- from the middle to the end is not all: then from the beginning to that middle. What was not walked to its end goes on in the next call
    exit when found_ >= wanted or from_keys <@ array[''] or not next_keys <@ array[''];
    until_keys := from_keys; from_keys := array_fill(''::text, array[cardinality(handlers)]);
  end loop;

  if s_keys is not null then
    -- all their locks, ascending; nothing is waited for after them
    perform pg_advisory_xact_lock(x.id) from (
      select distinct hashtextextended(k, 7461) as id from unnest(s_keys) k order by 1) x;
    now_ := tasker.clock();
    -- counted again, now that nobody else claims under them
    select array_agg(s.handler_id), array_agg(s.lane), array_agg(s.limit_key), array_agg(s.position), array_agg(s.room)
    into s_handlers, s_lanes, s_keys, s_from, s_rooms from (
      select d.handler_id, d.lane, d.limit_key, d.position, count(*)::int as room from (
        select k.*, c.room, row_number() over (
          partition by k.limit_key order by r.queue_at + make_interval(mins => k.lane), r.task_id, r.step_number) as place
        from unnest(s_handlers, s_lanes, s_keys, s_from) k(handler_id, lane, limit_key, position)
        cross join lateral (
          select greatest(tasker.limit_of(substring(k.limit_key from '^[0-9]+')::int) - tasker.leases_under(k.limit_key), 0)::int as room offset 0) c
        cross join lateral (
          select r.queue_at, r.task_id, r.step_number from tasker.ready_steps r
          where r.handler_id = k.handler_id and r.lane = k.lane and r.limit_key = k.limit_key and r.queue_at >= k.position and r.queue_at <= now_
          order by r.queue_at, r.task_id, r.step_number limit least(c.room, wanted)) r) d
      where d.place <= d.room group by 1, 2, 3, 4) s;
  end if;
end $$;

comment on function tasker.keys_with_room(int[], smallint[], text[], int[], text[], timestamptz[], int)
  is 'The limit keys with room and a due step, locked, each with the number of steps that it may give.';
