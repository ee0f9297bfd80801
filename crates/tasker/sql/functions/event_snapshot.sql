-- What is over now. A transaction's own snapshot leaves itself out, and would count as over what it may still write.
create function tasker.event_snapshot() returns pg_snapshot
language sql stable as $$
  select case when pg_current_xact_id_if_assigned() is null then s else (
    select format('%s:%s:%s', min(r.xid), greatest(pg_snapshot_xmax(s), (o::text::bigint + 1)::text::xid8), string_agg(r.xid::text, ',' order by r.xid))::pg_snapshot
    from (select x as xid from pg_snapshot_xip(s) x union select o) r) end
  from (select pg_current_snapshot() as s, pg_current_xact_id_if_assigned() as o) n
$$;

comment on function tasker.event_snapshot() is 'The transactions that are over now: the caller''s own is not.';
