-- Names the history in which transactions are counted: the server, its timeline (a failover, or a recovery to an instant, begins another), the database.
create function tasker.event_epoch() returns text
language sql stable as $$
  select left(md5(format('%s %s %s',
    (select c.system_identifier from pg_control_system() c),
    left(pg_walfile_name(pg_current_wal_lsn()), 8),
    (select d.oid from pg_database d where d.datname = current_database()))), 16)
$$;

comment on function tasker.event_epoch() is 'The history in which this database''s transactions are counted. On the primary only.';
