-- How every verb that moves one task begins: the lock in a statement of its own, what happened before it in later ones.
create function tasker.lock_task(of_task uuid, reason text default null, actor text default null) returns tasker.tasks
language plpgsql as $$
declare k tasker.tasks;
begin
  perform tasker.require_read_committed();
  if length(reason) > 2000 or length(actor) > 255 then
    perform tasker.refuse('bad_reason', 'a reason has at most 2,000 characters, and an actor''s name 255');
  end if;
  perform from tasker.tasks t where t.task_id = of_task for no key update;
  if not found then
    perform tasker.refuse('unknown_task', format('there is no task %s', of_task));
  end if;
  perform tasker.record_start(array[of_task]);
  select t.* into k from tasker.tasks t where t.task_id = of_task;
  return k;
end $$;

comment on function tasker.lock_task(uuid, text, text) is 'Locks a task and gives its row as it is then; refuses an unknown one, and words of any length.';
