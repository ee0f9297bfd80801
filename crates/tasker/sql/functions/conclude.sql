-- Fails the locked live tasks that have neither a ready step nor a lease left. Asked in one statement over both tables:
-- between two, a claim would be in neither. "but" are tasks that are known to have one. Called after all releasing and enqueueing.
-- offset 0: one probe of an index a task; a join, planned while a table is empty, would read all of its dead rows.
create function tasker.conclude(of_tasks uuid[], but uuid[] default '{}') returns void
language plpgsql as $$
declare dead uuid[];
begin
  select array_agg(k.task_id) into dead from tasker.tasks k
  where k.task_id = any(of_tasks) and k.task_id <> all(but) and k.state in ('pending', 'in_progress') and not k.paused
    and not exists (select from tasker.ready_steps r where r.task_id = k.task_id offset 0)
    and not exists (select from tasker.leases l where l.task_id = k.task_id offset 0);
  if dead is not null then
    perform tasker.end_tasks(dead, 'failed', 'finish');
  end if;
end $$;

comment on function tasker.conclude(uuid[], uuid[]) is 'Fails the locked live tasks, but for some, that have neither a ready step nor a lease left.';
