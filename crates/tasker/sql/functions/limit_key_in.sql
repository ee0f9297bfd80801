-- A function of its own, so that who asks for a step without a limit does not pay for the plan of the subquery. The setting: planned by
-- itself, it would read a small table as a whole, and go on to when it is large.
create function tasker.limit_key_in(task_id uuid, named_step_id int, path text[]) returns text
language plpgsql stable parallel safe
set enable_seqscan = off
as $$
begin
  return tasker.limit_key(named_step_id, (select p.context from tasker.task_payloads p where p.task_id = limit_key_in.task_id), path);
end $$;

comment on function tasker.limit_key_in(uuid, int, text[]) is 'The concurrency key of a named step in a task.';
