create function tasker.find_workflow(namespace text, of_name text, of_version text default null) returns int
language plpgsql stable as $$
declare id int;
begin
  select t.named_task_id into id from tasker.named_tasks t
  join tasker.task_namespaces n on n.task_namespace_id = t.task_namespace_id
  where n.name = namespace and t.name = of_name
    and (t.version = of_version or (of_version is null and t.release is not null))
  order by t.release desc nulls last limit 1;
  if id is null then
    perform tasker.refuse('unknown_workflow', format('there is no workflow %s.%s%s; register it first', coalesce(namespace, '(null)'), coalesce(of_name, '(null)'),
      case when of_version is null then ' with a release' else ' with version ' || of_version end));
  end if;
  return id;
end $$;

comment on function tasker.find_workflow(text, text, text) is 'The named_task_id of a version, or of the highest release where none is named.';
