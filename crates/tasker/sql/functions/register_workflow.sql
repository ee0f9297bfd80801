-- Writes a validated definition: immutable from then on. The same content again gives the same id; another content
-- under the same version is refused. The arrays have one element a node, by step number; needs, parents and children are texts of
-- arrays of step numbers, ascending.
create function tasker.register_workflow(
  namespace text, of_name text, of_version text, of_definition text, of_content_hash text,
  names text[], handler_names text[], retry_limits int[], retryables boolean[], base_delays double precision[], max_delays double precision[],
  timeouts double precision[], lanes smallint[], limits int[], limit_keys json, needs text[],
  parents text[], children text[], min_depths int[], max_depths int[], heights int[]) returns int
language plpgsql as $$
declare namespace_id int; id int; hash_ text; total int := cardinality(names);
begin
  perform tasker.require_read_committed();
  insert into tasker.task_namespaces (name) values (namespace) on conflict (name) do nothing;
  select n.task_namespace_id into namespace_id from tasker.task_namespaces n where n.name = namespace;
  -- two that register the same workflow at once wait for each other here
  perform pg_advisory_xact_lock(hashtextextended(namespace || '/' || of_name, 7462));
  select t.named_task_id, t.content_hash into id, hash_ from tasker.named_tasks t
  where t.task_namespace_id = namespace_id and t.name = of_name and t.version = of_version;
  if id is not null then
    if hash_ <> of_content_hash then
      perform tasker.refuse('version_taken', format('workflow %s.%s has a version %s already, with another content: give the changed one a new version', namespace, of_name, of_version));
    end if;
    return id;
  end if;
  insert into tasker.named_tasks (task_namespace_id, name, version, release, definition, content_hash, total_steps, leaf_count, created_at)
  values (namespace_id, of_name, of_version,
    case when of_version ~ '^[0-9]{1,9}[.][0-9]{1,9}[.][0-9]{1,9}$' then string_to_array(of_version, '.')::int[] end,
    of_definition::json, of_content_hash, total, (select count(*) from unnest(children) c where c = '{}'), tasker.clock())
  returning named_task_id into id;
  insert into tasker.named_steps (task_namespace_id, task_name, name)
  select namespace_id, of_name, n from unnest(names) n order by n on conflict do nothing;
  insert into tasker.handlers (name) select distinct h from unnest(handler_names) h order by h on conflict (name) do nothing;
  perform from tasker.handlers h where h.name = any(handler_names) order by h.handler_id for no key update;
  update tasker.handlers h set limited = true
  where not h.limited and h.name in (select u.handler from unnest(handler_names, limits) u(handler, concurrency_limit) where u.concurrency_limit is not null);
  insert into tasker.named_task_edges (named_task_id, from_step, to_step)
  select id, p, u.ord - 1 from unnest(parents) with ordinality u(parents, ord) cross join unnest(u.parents::int[]) p;
  insert into tasker.named_tasks_named_steps (named_task_id, step_number, named_step_id, name, handler_id, retry_limit, retryable, base_retry_delay,
    max_retry_delay, timeout, lane, concurrency_limit, concurrency_key, needs, parent_count, only_parent, parents, child_count, children,
    min_depth_from_root, max_depth_from_root, max_depth_to_leaf)
  -- no join: one probe of an index a step, also in a database that knows nothing yet of what is in its tables
  select id, u.ord - 1, s.named_step_id, u.name, h.handler_id, u.retry_limit, u.retryable, u.base_delay, u.max_delay, u.timeout, u.lane, u.concurrency_limit,
    case when u.concurrency_limit is not null then array(select json_array_elements_text(u.limit_key)) end,
    u.needs::int[], cardinality(e.parents), case when cardinality(e.parents) = 1 then e.parents[1] end, e.parents, cardinality(e.children), e.children,
    u.min_depth, u.max_depth, u.height
  from unnest(names, handler_names, retry_limits, retryables, base_delays, max_delays, timeouts, lanes, limits, needs, parents, children, min_depths, max_depths, heights,
      array(select json_array_elements(limit_keys)))
    with ordinality u(name, handler, retry_limit, retryable, base_delay, max_delay, timeout, lane, concurrency_limit, needs, parents, children, min_depth, max_depth, height, limit_key, ord)
  cross join lateral (
    select s.named_step_id from tasker.named_steps s
    where s.task_namespace_id = namespace_id and s.task_name = of_name and s.name = u.name offset 0) s
  cross join lateral (select h.handler_id from tasker.handlers h where h.name = u.handler offset 0) h
  cross join lateral (select u.parents::int[] as parents, u.children::int[] as children offset 0) e;
  return id;
end $$;

comment on function tasker.register_workflow(text, text, text, text, text, text[], text[], int[], boolean[], double precision[], double precision[], double precision[], smallint[], int[], json, text[], text[], text[], int[], int[], int[])
  is 'Registers a validated workflow; gives its named_task_id.';
