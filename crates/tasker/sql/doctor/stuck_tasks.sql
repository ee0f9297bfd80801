-- Live tasks without a ready step, a leased step, an instant or a named cause for which they wait.
select true as wrong,
  format('task %s is %s and %s: nothing will move it', c.task_id, c.status, c.execution_status) as problem,
  format('this is a defect: keep a dump for a report; `tasker explain %s` says what its steps wait for; retry, resolve or cancel it by hand', c.task_id) as remedy
from tasker.tasks k
cross join lateral (select * from tasker.task_execution_contexts c where c.task_id = k.task_id) c
where k.state in ('pending', 'in_progress')
  and case
    when c.execution_status in ('waiting_for_retry', 'scheduled') then c.next_retry_at is null
    -- a failure that does not end a paused task waits for its resumption
    when c.execution_status = 'blocked_by_failures' then not k.paused
    else c.execution_status not in ('has_ready_steps', 'processing', 'paused', 'waiting_for_capacity')
  end
order by c.task_id
