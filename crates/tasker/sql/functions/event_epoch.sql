-- Names the history in which transactions are counted: the server, its timeline (a failover, or a recovery to an instant, begins another), the database.
create function tasker.event_epoch() returns text
language plpgsql stable as $$
begin
  if pg_is_in_recovery() then
    perform tasker.refuse('not_the_primary', 'events can be read on the primary only: a standby sees transactions end in another order');
  end if;
  return left(md5(format('%s %s %s',
    (select c.system_identifier from pg_control_system() c),
    left(pg_walfile_name(pg_current_wal_lsn()), 8),
    (select d.oid from pg_database d where d.datname = current_database()))), 16);
end $$;

comment on function tasker.event_epoch() is 'The history in which this database''s transactions are counted. On the primary only.';
