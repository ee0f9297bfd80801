-- The claim never writes the task. Whoever holds its lock next, and still finds the claim's lease, records that it began.
create function tasker.record_start(of_tasks uuid[]) returns void
language plpgsql as $$
declare number_ bigint := nextval('tasker.transition_numbers');
begin
  with k as (
    update tasker.tasks k set state = 'in_progress'
    where k.task_id = any(of_tasks) and k.state = 'pending' and exists (select from tasker.leases l where l.task_id = k.task_id offset 0)
    returning k.task_id, k.paused)
  insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at)
  select k.task_id, number_, 'in_progress', k.paused, 'claim', tasker.clock() from k;
end $$;

comment on function tasker.record_start(uuid[]) is 'Moves locked pending tasks with a lease to in_progress.';
