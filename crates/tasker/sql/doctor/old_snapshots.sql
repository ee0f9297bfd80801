-- Whoever keeps vacuum from removing dead rows: long transactions, forgotten prepared ones, replication slots.
select true as wrong,
  format('session %s (%s, %s, %s) has held a snapshot since %s', a.pid, coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), 'no name'),
    coalesce(a.state, a.backend_type), coalesce(date_trunc('second', a.xact_start)::text, age(a.backend_xmin) || ' transactions')) as problem,
  format('end it if nobody needs it: select pg_terminate_backend(%s); and set idle_in_transaction_session_timeout', a.pid) as remedy
from pg_catalog.pg_stat_activity a
where a.pid <> pg_backend_pid() and a.backend_type <> 'autovacuum worker'
  and (a.backend_xmin is not null or a.backend_xid is not null)
  and (a.xact_start < clock_timestamp() - interval '10 minutes' or age(a.backend_xmin) > 10000000)
union all
select true,
  format('the prepared transaction %s is open since %s', p.gid, date_trunc('second', p.prepared)),
  format('commit prepared %L, or rollback prepared %L', p.gid, p.gid)
from pg_catalog.pg_prepared_xacts p where p.prepared < clock_timestamp() - interval '10 minutes'
union all
select true,
  format('the replication slot %s holds back %s transactions', s.slot_name, greatest(age(s.xmin), age(s.catalog_xmin))),
  format('if its reader is gone: select pg_drop_replication_slot(%L)', s.slot_name)
from pg_catalog.pg_replication_slots s where greatest(age(s.xmin), age(s.catalog_xmin)) > 10000000
