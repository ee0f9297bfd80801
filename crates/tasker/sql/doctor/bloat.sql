-- Hot tables with far more dead rows than live ones, or far more space than their rows need. Below 10,000 rows and 64 MiB
-- nothing is slow.
select true as wrong,
  format('tasker.%s has %s dead rows beside %s live ones, in %s', t.relname, t.n_dead_tup, t.n_live_tup, pg_size_pretty(pg_total_relation_size(t.relid))) as problem,
  format('end what holds old snapshots, see that autovacuum runs, then: vacuum (analyze) tasker.%I', t.relname) as remedy
from pg_catalog.pg_stat_user_tables t
where t.schemaname = 'tasker' and t.n_dead_tup > 10000 + 5 * t.n_live_tup
  and t.relname in ('ready_steps', 'leases', 'join_counts', 'tasks', 'task_deadlines', 'unique_live_keys', 'workers')
union all
select true,
  format('tasker.%s takes %s for %s rows', t.relname, pg_size_pretty(pg_total_relation_size(t.relid)), t.n_live_tup),
  format('in a quiet hour, it locks the table: vacuum full tasker.%I', t.relname)
from pg_catalog.pg_stat_user_tables t
where t.schemaname = 'tasker' and t.n_dead_tup <= 10000 + 5 * t.n_live_tup
  and t.relname in ('ready_steps', 'leases', 'join_counts', 'task_deadlines', 'unique_live_keys', 'workers')
  and pg_total_relation_size(t.relid) > 64 * 1024 * 1024 + 5000 * t.n_live_tup
