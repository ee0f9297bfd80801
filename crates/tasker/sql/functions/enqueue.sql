-- Puts steps of locked tasks to the view: what only time or room holds back, or nothing, gets a ready row.
create function tasker.enqueue(c_tasks uuid[], c_steps int[]) returns void
language sql as $$
  insert into tasker.ready_steps (handler_id, lane, limit_key, queue_at, task_id, step_number, attempt, named_task_id)
  select v.handler_id, v.lane, v.limit_key, greatest(tasker.clock(), v.next_retry_at), v.task_id, v.step_number, v.attempts + 1, v.named_task_id
  from unnest(c_tasks, c_steps) c(task_id, step_number)
  cross join lateral (
    select * from tasker.step_readiness_statuses v where v.task_id = c.task_id and v.step_number = c.step_number offset 0) v
  where coalesce(v.blocking_reason in ('waiting_for_retry', 'scheduled_for_later', 'concurrency_limit_reached'), true)
  on conflict (task_id, step_number) do nothing
$$;

comment on function tasker.enqueue(uuid[], int[]) is 'Gives a ready row to those of the steps that only time or room holds back.';
