-- What such an engine's database does without ours: a row for each step and edge of each task, a step's state found in its newest
-- transition, and readiness asked of aggregates. Only for comparison: `tasker bench --long`.
create schema before;
create table before.workflow_steps (
  workflow_step_id bigint primary key, task_id bigint not null, name text not null, attempts int not null, retry_limit int not null);
create index on before.workflow_steps (task_id);
create table before.workflow_step_edges (from_step bigint not null, to_step bigint not null, primary key (to_step, from_step));
create index on before.workflow_step_edges (from_step);
create table before.workflow_step_transitions (
  id bigint generated always as identity primary key, workflow_step_id bigint not null, to_state text not null, created_at timestamptz not null);
create index on before.workflow_step_transitions (workflow_step_id, created_at desc);

-- The newest transition of each step, parents counted by group, the last failure's backoff. (Roots count as satisfied, equal
-- instants are told apart, and the backoff has a limit: the answers are right, and only the plan is what it was.)
create view before.step_readiness_statuses as
select
  s.workflow_step_id, s.task_id, s.name,
  coalesce(c.to_state, 'pending') as current_state,
  coalesce(d.completed = d.total, true) as dependencies_satisfied,
  s.attempts < s.retry_limit and coalesce(f.created_at + least(power(2, least(s.attempts, 20)), 86400) * interval '1 second' <= now(), true) as retry_eligible,
  coalesce(c.to_state, 'pending') in ('pending', 'failed') and coalesce(d.completed = d.total, true) and s.attempts < s.retry_limit
    and coalesce(f.created_at + least(power(2, least(s.attempts, 20)), 86400) * interval '1 second' <= now(), true) as ready_for_execution,
  coalesce(d.total, 0) as total_parents,
  coalesce(d.completed, 0) as completed_parents
from before.workflow_steps s
left join (
  select distinct on (t.workflow_step_id) t.workflow_step_id, t.to_state
  from before.workflow_step_transitions t order by t.workflow_step_id, t.created_at desc, t.id desc) c on c.workflow_step_id = s.workflow_step_id
left join (
  select e.to_step, count(*) as total, count(*) filter (where p.to_state in ('complete', 'resolved_manually')) as completed
  from before.workflow_step_edges e
  left join (
    select distinct on (t.workflow_step_id) t.workflow_step_id, t.to_state
    from before.workflow_step_transitions t order by t.workflow_step_id, t.created_at desc, t.id desc) p on p.workflow_step_id = e.from_step
  group by e.to_step) d on d.to_step = s.workflow_step_id
left join (
  select distinct on (t.workflow_step_id) t.workflow_step_id, t.created_at
  from before.workflow_step_transitions t where t.to_state = 'failed'
  order by t.workflow_step_id, t.created_at desc, t.id desc) f on f.workflow_step_id = s.workflow_step_id;
