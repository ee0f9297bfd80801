-- Indexes that an interrupted build has left: written to, and never read.
select true as wrong,
  format('the index %s is not valid', i.indexrelid::regclass) as problem,
  format('reindex index concurrently %s', i.indexrelid::regclass) as remedy
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indrelid
where c.relnamespace = to_regnamespace('tasker') and not (i.indisvalid and i.indisready)
