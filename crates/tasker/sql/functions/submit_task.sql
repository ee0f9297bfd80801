-- The door for any language: runs in the caller's transaction, and commits with it or leaves nothing. It starts within the
-- workers' poll interval, or at once with tasker.wake() after the commit. It runs with its owner's rights: who may call it needs no
-- table, and can do nothing else to one.
create function tasker.submit_task(
  namespace text, name text, context jsonb default '{}', version text default null, idempotency_key text default null,
  unique_while_live text default null, run_at timestamptz default null, priority text default null, deadline timestamptz default null,
  tags jsonb default null, summary text default null, actor text default null) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare id uuid;
begin
  if priority not in ('high', 'normal', 'low') then
    perform tasker.refuse('bad_priority', format('priority is high, normal or low, not %s', to_json(priority)));
  end if;
  if not isfinite(run_at) or not isfinite(deadline) then
    perform tasker.refuse('bad_instant', 'run_at and deadline must be instants, not infinity');
  end if;
  if context is null then
    perform tasker.refuse('bad_context', 'the context must be JSON, not null: give {} for none');
  end if;
  if jsonb_typeof(tags) <> 'object' then
    perform tasker.refuse('bad_tags', format('tags are an object of names and values, not %s', left(tags::text, 100)));
  end if;
  perform tasker.require_storable(tags::text, 'the object of tags', 16384);
  if length(summary) > 500 or summary ~ ('[' || chr(13) || chr(10) || ']') then
    perform tasker.refuse('bad_summary', 'a summary is one line of at most 500 characters');
  end if;
  if length(idempotency_key) not between 1 and 255 or length(unique_while_live) not between 1 and 255 then
    perform tasker.refuse('bad_key', 'an idempotency key or a unique key has 1 to 255 characters');
  end if;
  if length(actor) > 255 then
    perform tasker.refuse('bad_reason', 'an actor''s name has at most 255 characters');
  end if;
  perform tasker.require_storable(context::text, 'the context');
  select s.task_id into id from tasker.submit_tasks(
    array[tasker.find_workflow(namespace, name, version)], array[context::text], array[idempotency_key], array[unique_while_live], array[run_at],
    array[case priority when 'high' then 0 when 'normal' then 1 when 'low' then 2 end::smallint], array[deadline], array[tags::text], array[summary],
    array[jsonb_build_array(version, context)::text], array[actor]) s;
  return id;
end $$;

comment on function tasker.submit_task(text, text, jsonb, text, text, text, timestamptz, text, timestamptz, jsonb, text, text)
  is 'Submits a task in the caller''s transaction and gives its id.';
