-- Live tasks without a ready step, a leased step, an instant or a named cause for which they wait.
select true as wrong,
  format('task %s is %s and %s: nothing will move it', c.task_id, c.status, c.execution_status) as problem,
  format('this is a defect: keep a dump for a report; `tasker explain %s` says what its steps wait for; retry, resolve or cancel it by hand', c.task_id) as remedy
from tasker.tasks k
cross join lateral (select * from tasker.task_execution_contexts c where c.task_id = k.task_id) c
where k.state in ('pending', 'in_progress')
  and (c.recommended_action in ('wait_for_dependencies', 'finalize_task') or (c.recommended_action = 'handle_failures' and not c.paused))
order by c.task_id
