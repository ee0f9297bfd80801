-- Keys under which more steps run than any version has ever allowed.
select true as wrong, format('step %s of %s: %s run under the key %s, and at most %s may', s.name, s.task_name, l.running, l.limit_key, m.most) as problem,
  'this is a defect, or a change past the verbs: keep a dump for a report' as remedy
from (select l.limit_key, count(*) as running from tasker.leases l where l.limit_key <> '' group by 1) l
join tasker.named_steps s on s.named_step_id = substring(l.limit_key from '^[0-9]+')::int
cross join lateral (
  select max(n.concurrency_limit) as most from tasker.named_tasks t
  join tasker.named_tasks_named_steps n on n.named_task_id = t.named_task_id and n.named_step_id = s.named_step_id
  where t.task_namespace_id = s.task_namespace_id and t.name = s.task_name) m
where l.running > m.most
order by l.limit_key
