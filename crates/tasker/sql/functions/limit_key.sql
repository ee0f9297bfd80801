-- The named step with the value at the key's path: text, so that it can be a part of the queue's key. A long value
-- is kept as its digest, marked so that no short value can equal it.
create function tasker.limit_key(named_step_id int, context jsonb, path text[]) returns text
language sql immutable parallel safe
as $$
  select named_step_id || case when length(v.value) > 200 then '#' || md5(v.value) else ':' || v.value end
  from (select case when path = '{}' then '' else coalesce(context #>> path, '') end as value) v
$$;

comment on function tasker.limit_key(int, jsonb, text[]) is 'The concurrency key of a named step for a task''s context; absent and null count as the empty value.';
