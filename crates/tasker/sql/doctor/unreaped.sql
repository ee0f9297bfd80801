-- Leases and deadlines that are over, and on which nobody acts.
select true as wrong,
  format('%s leases expired, the first at %s, and nobody reaps them', count(*), date_trunc('second', min(l.lease_expires_at))) as problem,
  'start a worker, every one reaps: tasker worker' as remedy
from tasker.leases l where l.lease_expires_at < tasker.now() - interval '10 seconds'
having count(*) > 0
union all
select true,
  format('%s deadlines passed, the first at %s, and nobody acts on them', count(*), date_trunc('second', min(d.deadline))),
  'start a worker, every one does: tasker worker'
from tasker.task_deadlines d where d.deadline < tasker.now() - interval '10 seconds'
having count(*) > 0
