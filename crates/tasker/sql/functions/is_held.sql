-- Whether somebody holds a row of a locked task that whoever ends its steps would wait for.
create function tasker.is_held(of_task uuid) returns boolean
language plpgsql
set enable_seqscan = off
as $$
begin
  return (select count(*) from (select from tasker.ready_steps r where r.task_id = of_task for update skip locked) r)
      < (select count(*) from tasker.ready_steps r where r.task_id = of_task)
    or (select count(*) from (select from tasker.leases l where l.task_id = of_task for update skip locked) l)
      < (select count(*) from tasker.leases l where l.task_id = of_task);
end $$;

comment on function tasker.is_held(uuid) is 'Whether somebody holds a ready row or a lease of a locked task; else the caller does from then on.';
