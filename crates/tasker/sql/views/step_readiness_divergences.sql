-- What is remembered against a recount from the graph, the task as submitted and the transitions alone: always empty.
create view tasker.step_readiness_divergences as
with recount as (
  select s.*, x.satisfied,
    s.task_is_live and not s.task_is_paused and s.state in ('pending', 'failed') and s.retryable and s.attempts < s.retry_limit
      and x.satisfied = s.parent_count as belongs_in_queue
  from tasker.workflow_steps s
  cross join lateral (
    select count(*)::int as satisfied from tasker.named_task_edges e
    where e.named_task_id = s.named_task_id and e.to_step = s.step_number
      and (select h.to_state from tasker.workflow_step_transitions h
           where h.task_id = s.task_id and h.step_number = e.from_step
           order by h.number desc limit 1) in ('complete', 'resolved_manually', 'skipped')) x)
select s.task_id, s.workflow_step_id, d.what
from recount s
left join tasker.ready_steps r on r.task_id = s.task_id and r.step_number = s.step_number
left join tasker.leases l on l.task_id = s.task_id and l.step_number = s.step_number
left join tasker.join_counts j on j.task_id = s.task_id and j.step_number = s.step_number
left join tasker.step_readiness_statuses v on v.task_id = s.task_id and v.step_number = s.step_number
cross join lateral (values
  (case when s.belongs_in_queue and r.task_id is null then 'an open step has no ready row' end),
  (case when not s.belongs_in_queue and r.task_id is not null then 'a ready row for a step that cannot run' end),
  (case when r.attempt <> s.attempts + 1 then 'the ready row''s attempt' end),
  (case when l.task_id is not null and not s.task_is_live then 'a lease of a task that is not live' end),
  (case when r.named_task_id <> s.named_task_id then 'the ready row''s workflow' end),
  (case when r.handler_id <> s.handler_id or r.lane <> s.lane or r.limit_key <> s.limit_key then 'the ready row''s handler, lane or limit key' end),
  -- never before its writer's clock, which the history remembers where the clock has been set back since
  (case when r.queue_at < s.next_retry_at or r.queue_at > greatest(s.next_retry_at, tasker.now()) and r.queue_at > (
     select max(h.at) + interval '1 minute' from (
       select h.at from tasker.workflow_step_transitions h where h.task_id = s.task_id
       union all select h.at from tasker.task_transitions h where h.task_id = s.task_id) h)
   then 'the ready row''s instant' end),
  (case when (s.state = 'in_progress') <> (l.task_id is not null) then 'lease without a running step, or the reverse' end),
  (case when l.attempt <> s.attempts or l.limit_key <> s.limit_key or l.named_task_id <> s.named_task_id then 'the lease''s attempt, limit key or workflow' end),
  (case when l.claim_id <> (
     select h.claim_id from tasker.workflow_step_transitions h
     where h.task_id = s.task_id and h.step_number = s.step_number and h.verb = 'claim' order by h.number desc limit 1)
   then 'the lease''s claim' end),
  (case when s.parent_count > 1 and coalesce(j.satisfied, 0) <> s.satisfied then 'the count of satisfied parents' end),
  (case when v.completed_parents <> s.satisfied then 'the view''s satisfied parents' end)
) d(what)
where d.what is not null
union all
select k.task_id, null, d.what
from tasker.tasks k
left join lateral (
  select h.* from tasker.task_transitions h where h.task_id = k.task_id order by h.number desc limit 1) h on true
cross join lateral (
  select count(*) as open from tasker.workflow_steps s
  where s.task_id = k.task_id and s.child_count = 0 and s.state not in ('complete', 'resolved_manually', 'skipped')) x
cross join lateral (values
  (case when k.open_leaves <> x.open then 'the count of open leaves' end),
  (case when h.to_state is distinct from k.state or h.paused is distinct from k.paused then 'the task''s state against its last transition' end),
  (case when (k.state in ('pending', 'in_progress') and k.unique_key is not null)
     <> exists (select from tasker.unique_live_keys u where u.task_id = k.task_id) then 'the unique key of a live task' end),
  -- once a deadline has been acted on its row is gone
  (case when exists (select from tasker.task_deadlines t where t.task_id = k.task_id
       and (k.state not in ('pending', 'in_progress') or t.deadline is distinct from k.deadline))
     or (k.state in ('pending', 'in_progress') and k.deadline is not null
       and not exists (select from tasker.task_deadlines t where t.task_id = k.task_id)
       and not exists (select from tasker.task_transitions a where a.task_id = k.task_id and a.verb = 'deadline' and a.at >= k.deadline)) then 'the deadline of a live task' end)
) d(what)
where d.what is not null
union all
select r.task_id, tasker.step_id(r.task_id, r.step_number), 'a ready row without a step'
from tasker.ready_steps r where not exists (
  select from tasker.workflow_steps s where s.task_id = r.task_id and s.step_number = r.step_number)
union all
select l.task_id, tasker.step_id(l.task_id, l.step_number), 'a lease without a step'
from tasker.leases l where not exists (
  select from tasker.workflow_steps s where s.task_id = l.task_id and s.step_number = l.step_number);

comment on view tasker.step_readiness_divergences is 'What is remembered against a recount from the graph and the transitions alone: always empty.';
comment on column tasker.step_readiness_divergences.task_id is 'The task.';
comment on column tasker.step_readiness_divergences.workflow_step_id is 'The step; null where the task''s row differs.';
comment on column tasker.step_readiness_divergences.what is 'What differs.';
