-- What the tables say twice, of the tasks that are live, have failed or are in the hot set; of all tasks where $1 says so.
select true as wrong, format('task %s: %s', u.task_id, b.problem) as problem,
  'this is a defect, or a change past the verbs: keep a dump for a report' as remedy
from (
  select k.task_id from tasker.tasks k where $1 or k.state in ('pending', 'in_progress', 'failed')
  union select r.task_id from tasker.ready_steps r
  union select l.task_id from tasker.leases l
  union select d.task_id from tasker.task_deadlines d
  union select h.task_id from tasker.unique_live_keys h
  union select i.task_id from tasker.idempotency_keys i where $1
) u
cross join lateral (
  select 'there is no such task, and a ready step, a lease, a deadline or a key names it' as problem
  where not exists (select from tasker.tasks k where k.task_id = u.task_id)
  union all
  select format('its steps by state are not %s in all: %s pending, %s in_progress, %s complete, %s failed, %s cancelled, %s resolved_manually, %s skipped',
    c.total_steps, c.pending_steps, c.in_progress_steps, c.completed_steps, c.failed_steps, c.cancelled_steps, c.resolved_manually_steps,
    c.skipped_steps) as problem
  from tasker.task_execution_contexts c
  where c.task_id = u.task_id
    and c.total_steps <> c.pending_steps + c.in_progress_steps + c.completed_steps + c.failed_steps + c.cancelled_steps + c.resolved_manually_steps
      + c.skipped_steps
  union all
  select format('it is %s, and has steps to run, a deadline or a unique key', k.state)
  from tasker.tasks k
  where k.task_id = u.task_id and k.state not in ('pending', 'in_progress')
    and (exists (select from tasker.ready_steps r where r.task_id = k.task_id)
      or exists (select from tasker.leases l where l.task_id = k.task_id)
      or exists (select from tasker.task_deadlines d where d.task_id = k.task_id)
      or exists (select from tasker.unique_live_keys h where h.task_id = k.task_id))
  union all
  select format('it is live, and does not hold its unique key %s', k.unique_key)
  from tasker.tasks k
  where k.task_id = u.task_id and k.state in ('pending', 'in_progress') and k.unique_key is not null
    and not exists (select from tasker.unique_live_keys h where h.task_id = k.task_id and h.unique_key = k.unique_key)
  union all
  select format('step %s is %s, was satisfied %s times and has %s results', s.workflow_step_id, s.state, h.times, r.results)
  from tasker.workflow_steps s
  cross join lateral (
    select count(*) as times from tasker.workflow_step_transitions h
    where h.task_id = s.task_id and h.step_number = s.step_number and h.to_state in ('complete', 'skipped', 'resolved_manually')) h
  cross join lateral (
    select count(*) as results from tasker.step_results r where r.task_id = s.task_id and r.step_number = s.step_number) r
  where s.task_id = u.task_id
    and (h.times > 1 or h.times <> r.results or (h.times = 1) <> (s.state in ('complete', 'skipped', 'resolved_manually')))
) b
order by u.task_id
