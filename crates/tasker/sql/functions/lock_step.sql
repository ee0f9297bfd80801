-- Locks a step's task and takes the step out of the queue, in a statement of its own that waits for a claimer: who gets
-- the row after that sees the last transition.
create function tasker.lock_step(of_step uuid, reason text default null, actor text default null) returns tasker.workflow_steps
language plpgsql as $$
declare s tasker.workflow_steps;
begin
  perform tasker.lock_task(tasker.task_of(of_step), reason, actor);
  delete from tasker.ready_steps r where r.task_id = tasker.task_of(of_step) and r.step_number = tasker.step_number_of(of_step);
  perform tasker.record_start(array[tasker.task_of(of_step)]);
  select v.* into s from tasker.workflow_steps v
  where v.task_id = tasker.task_of(of_step) and v.step_number = tasker.step_number_of(of_step);
  if not found then
    perform tasker.refuse('unknown_step', format('task %s has no step %s', tasker.task_of(of_step), of_step));
  end if;
  return s;
end $$;

comment on function tasker.lock_step(uuid, text, text) is 'Locks a step''s task, takes the step out of the queue, and gives its row as it is then.';
