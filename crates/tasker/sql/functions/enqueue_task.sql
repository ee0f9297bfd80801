-- Every step of a locked task that only time or room holds back gets a ready row: after a resumption.
create function tasker.enqueue_task(of_task uuid) returns void
language plpgsql as $$
declare c_tasks uuid[]; c_steps int[];
begin
  select array_agg(s.task_id), array_agg(s.step_number) into c_tasks, c_steps
  from tasker.workflow_steps s where s.task_id = of_task and s.state in ('pending', 'failed');
  perform tasker.enqueue(c_tasks, c_steps);
end $$;

comment on function tasker.enqueue_task(uuid) is 'Gives a ready row to every step of a locked task that only time or room holds back.';
