-- What is remembered against a recount, of the tasks that are live, have failed or are in the hot set; of all tasks where $1 says so.
select true as wrong,
  coalesce('step ' || d.workflow_step_id, 'task ' || d.task_id) || ': ' || d.what as problem,
  'this is a defect, or a change past the verbs: keep a dump for a report' || case
    when k.state in ('pending', 'in_progress') then ', then cancel the task: tasker task cancel ' || d.task_id
    when k.state = 'failed' then ', then do not revive the task: submit it anew'
    when exists (select from tasker.ready_steps r where r.task_id = u.task_id) or exists (select from tasker.leases l where l.task_id = u.task_id)
      then format(', then: delete from tasker.ready_steps where task_id = ''%1$s''; delete from tasker.leases where task_id = ''%1$s''', u.task_id)
    else '; the task has ended, and nothing acts on it'
  end as remedy
from (
  select k.task_id from tasker.tasks k where $1 or k.state in ('pending', 'in_progress', 'failed')
  union select r.task_id from tasker.ready_steps r
  union select l.task_id from tasker.leases l
) u
left join lateral (select k.state from tasker.tasks k where k.task_id = u.task_id) k on true
-- offset 0: one task after the other, and not all of history beside them
cross join lateral (select * from tasker.step_readiness_divergences d where d.task_id = u.task_id offset 0) d
order by d.task_id, d.workflow_step_id
