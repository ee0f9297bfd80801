-- What the views and functions of the schema are, in one word; those that say the time aside, which test databases replace.
create function tasker.catalogue_hash() returns text
language sql stable
set search_path = ''
as $$
  select md5(string_agg(d.definition, '' order by d.definition collate "C")) from (
    select pg_get_functiondef(p.oid) as definition from pg_proc p
    where p.pronamespace = 'tasker'::regnamespace and p.proname not in ('now', 'clock')
    union all
    select c.relname || pg_get_viewdef(c.oid) from pg_class c where c.relnamespace = 'tasker'::regnamespace and c.relkind = 'v') d
$$;

comment on function tasker.catalogue_hash() is 'What the views and functions of the schema are, in one word: another one after each change by hand.';
