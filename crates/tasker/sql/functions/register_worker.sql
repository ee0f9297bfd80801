-- A worker says what it serves; gives the ids of its handlers, in their order.
create function tasker.register_worker(of_worker uuid, handler_names text[], of_description text) returns int[]
language plpgsql as $$
declare ids int[];
begin
  perform tasker.require_read_committed();
  insert into tasker.handlers (name) select distinct n from unnest(handler_names) n order by n on conflict (name) do nothing;
  select array_agg(h.handler_id order by u.ord) into ids
  from unnest(handler_names) with ordinality u(name, ord) join tasker.handlers h on h.name = u.name;
  insert into tasker.workers (worker_id, handler_ids, description, started_at, last_seen_at)
  values (of_worker, coalesce(ids, '{}'), of_description, tasker.clock(), tasker.clock())
  on conflict (worker_id) do update set handler_ids = excluded.handler_ids, last_seen_at = excluded.last_seen_at;
  -- one that comes back at this instant may want to forget others too: nobody waits for anybody
  delete from tasker.workers w where w.worker_id in (
    select x.worker_id from tasker.workers x where x.last_seen_at < tasker.clock() - interval '1 day' for update skip locked);
  return ids;
end $$;

comment on function tasker.register_worker(uuid, text[], text) is 'Records a worker and what it serves; gives the handlers'' ids.';
