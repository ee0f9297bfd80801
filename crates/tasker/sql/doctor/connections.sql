-- A server that is nearly out of connections.
select true as wrong,
  format('%s of %s connections are taken', c.taken, c.available) as problem,
  'run fewer or smaller pools, or raise max_connections (a restart), or put a pooler between' as remedy
from (
  select (select count(*) from pg_catalog.pg_stat_activity a where a.backend_type = 'client backend') as taken,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as available) c
where c.taken > 0.9 * c.available
