-- A function of its own, so that who asks for a step without a limit does not pay for the plan of the probe.
create function tasker.limit_of(named_step_id int) returns int
language plpgsql stable parallel safe
set enable_seqscan = off
as $$
begin
  return (select s.concurrency_limit from tasker.named_steps s where s.named_step_id = limit_of.named_step_id);
end $$;

comment on function tasker.limit_of(int) is 'How many steps of a name may run at once for each key; null: no limit.';
