-- Of all versions that say a limit the one that was registered last. A function of its own, so that who asks for a step without a limit does not pay for the plan of the probe.
create function tasker.limit_of(named_step_id int) returns int
language plpgsql stable parallel safe
set enable_seqscan = off
as $$
begin
  return (
    select n.concurrency_limit from tasker.named_tasks_named_steps n
    where n.named_step_id = limit_of.named_step_id and n.concurrency_limit is not null order by n.named_task_id desc limit 1);
end $$;

comment on function tasker.limit_of(int) is 'How many steps of a name may run at once for each key; null: no limit.';
