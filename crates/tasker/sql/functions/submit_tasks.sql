-- Submits many tasks in the caller's transaction: one row each (with its payload and transition), and a ready row for each
-- root. An element that repeats an idempotency key gives the first task; one whose unique key is held by a live task gives
-- that one; "existing" says so. "asked" is what the caller gave (version and context, JSON), of which an idempotency key's
-- body is made. Keys are taken first of all, in ascending order.
create function tasker.submit_tasks(
  named_task_ids int[], contexts text[], of_idempotency_keys text[], of_unique_keys text[], run_ats timestamptz[],
  of_lanes smallint[], deadlines timestamptz[], of_tags text[], summaries text[], asked text[] default null, actors text[] default null)
returns table (ord int, task_id uuid, existing boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_memoize = off set jit = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  now_ timestamptz; number_ bigint; n int := cardinality(named_task_ids);
  ids uuid[]; olds boolean[] := array_fill(false, array[n]); hashes bytea[]; holder uuid; x record;
begin
  if cardinality(array_remove(run_ats || deadlines, null)) > 0 and exists (
    select from unnest(run_ats || deadlines) i(at) where i.at not between '0001-01-01 00:00+00' and '9999-12-31 23:59:59.999999+00') then
    perform tasker.refuse('bad_instant', 'run_at and deadline are instants of the years 1 to 9999');
  end if;
  if n = 1 then
    ids := array[tasker.uuid_v7()];
  else
    select array_agg(tasker.uuid_v7()) into ids from generate_series(1, n);
  end if;

  if cardinality(array_remove(of_idempotency_keys, null)) > 0 then
    -- of what the caller gave, not of what became of it: a later release, another time zone or a default changes nothing
    select array_agg(sha256(convert_to(jsonb_build_array(t.name, coalesce(asked[u.ord], contexts[u.ord])::jsonb, u.unique_key, extract(epoch from u.run_at), u.lane,
      extract(epoch from u.deadline), u.tags::jsonb, u.summary)::text, 'UTF8')) order by u.ord)
    into hashes
    from unnest(named_task_ids, of_unique_keys, run_ats, of_lanes, deadlines, of_tags, summaries) with ordinality u(named_task_id, unique_key, run_at, lane, deadline, tags, summary, ord)
    cross join lateral (select t.name from tasker.named_tasks t where t.named_task_id = u.named_task_id offset 0) t;
    insert into tasker.idempotency_keys as k (task_namespace_id, idempotency_key, task_id, body_hash, created_at)
    select distinct on (t.task_namespace_id, u.key) t.task_namespace_id, u.key, u.id, u.hash, tasker.clock()
    from unnest(named_task_ids, of_idempotency_keys, ids, hashes) with ordinality u(named_task_id, key, id, hash, ord)
    cross join lateral (select t.task_namespace_id from tasker.named_tasks t where t.named_task_id = u.named_task_id offset 0) t
    where u.key is not null
    order by t.task_namespace_id, u.key, u.ord
    on conflict (task_namespace_id, idempotency_key) do update set task_id = excluded.task_id, body_hash = excluded.body_hash, created_at = excluded.created_at
    where k.created_at < tasker.clock() - interval '30 days';
    for x in
      select u.ord::int as ord, u.id, u.key, u.hash, k.task_id, k.body_hash
      from unnest(named_task_ids, of_idempotency_keys, ids, hashes) with ordinality u(named_task_id, key, id, hash, ord)
      cross join lateral (select t.task_namespace_id from tasker.named_tasks t where t.named_task_id = u.named_task_id offset 0) t
      -- one probe of the index a key; a join would read all keys of the namespace where there are no statistics. (An older snapshot may show
      -- the key's old row, too.)
      cross join lateral (
        select k.task_id, k.body_hash from tasker.idempotency_keys k
        where k.task_namespace_id = t.task_namespace_id and k.idempotency_key = u.key order by k.task_id = any(ids) desc limit 1) k
      where k.task_id <> u.id
    loop
      if x.body_hash <> x.hash then
        perform tasker.refuse('idempotency_key_reused', format('the idempotency key %s was used for task %s with another body', to_json(x.key), x.task_id));
      end if;
      ids[x.ord] := x.task_id; olds[x.ord] := true;
    end loop;
  end if;

  if cardinality(array_remove(of_unique_keys, null)) > 0 then
    for x in
      select u.ord::int as ord, u.id, u.key, t.task_namespace_id
      from unnest(named_task_ids, of_unique_keys, ids, olds) with ordinality u(named_task_id, key, id, old, ord)
      cross join lateral (select t.task_namespace_id from tasker.named_tasks t where t.named_task_id = u.named_task_id offset 0) t
      where u.key is not null and not u.old
      order by t.task_namespace_id, u.key, u.ord
    loop
      holder := tasker.hold_unique_key(x.task_namespace_id, x.key, x.id);
      if holder <> x.id then
        -- the task that this key began is the one that is live: the idempotency key is to give it too
        update tasker.idempotency_keys i set task_id = holder
        where i.task_namespace_id = x.task_namespace_id and i.idempotency_key = of_idempotency_keys[x.ord] and i.task_id = x.id;
        -- whoever repeats its idempotency key in this call gives it too
        ids := array_replace(ids, x.id, holder); olds[x.ord] := true;
      end if;
    end loop;
  end if;

  now_ := tasker.clock();
  number_ := nextval('tasker.transition_numbers');
  with u as materialized (
    select u.*, greatest(now_, u.asked_run_at) as run_at
    from unnest(ids, olds, named_task_ids, contexts, of_unique_keys, run_ats, of_lanes, deadlines, of_tags, summaries, actors)
      u(id, old, named_task_id, context, unique_key, asked_run_at, lane, deadline, tags, summary, actor)
    where not u.old),
  k as (
    insert into tasker.tasks (task_id, named_task_id, state, open_leaves, lane, run_at, deadline, unique_key, created_at)
    select u.id, u.named_task_id, 'pending', t.leaf_count, u.lane, u.run_at, u.deadline, u.unique_key, now_
    from u cross join lateral (select t.leaf_count from tasker.named_tasks t where t.named_task_id = u.named_task_id offset 0) t),
  p as (
    insert into tasker.task_payloads (task_id, context, tags, summary)
    select u.id, coalesce(u.context::jsonb, '{}'), u.tags::jsonb, u.summary from u),
  d as (
    insert into tasker.task_deadlines (task_id, deadline) select u.id, u.deadline from u where u.deadline is not null),
  h as (
    insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at, actor) select u.id, number_, 'pending', false, 'submit', now_, u.actor from u)
  insert into tasker.ready_steps (handler_id, lane, limit_key, queue_at, task_id, step_number, attempt, named_task_id)
  select s.handler_id, coalesce(u.lane, s.lane),
    case when s.concurrency_limit is null then '' else tasker.limit_key(s.named_step_id, u.context::jsonb, s.concurrency_key) end,
    u.run_at, u.id, s.step_number, 1, u.named_task_id
  from u cross join lateral (
    select s.* from tasker.named_tasks_named_steps s where s.named_task_id = u.named_task_id and s.parent_count = 0 offset 0) s;

  for i in 1 .. n loop
    ord := i; task_id := ids[i]; existing := olds[i];
    return next;
  end loop;
end $$;

comment on function tasker.submit_tasks(int[], text[], text[], text[], timestamptz[], smallint[], timestamptz[], text[], text[], text[], text[])
  is 'Submits many tasks of known versions; gives each one''s id and whether it was there already.';
