-- So many tasks ($2) of a workflow ($1) that have ended well, written in bulk as the engine would have left them.
with ids as materialized (
  select tasker.uuid_v7() as id, tasker.clock() as at, array[nextval('tasker.transition_numbers'), nextval('tasker.transition_numbers'),
    nextval('tasker.transition_numbers'), nextval('tasker.transition_numbers')] as numbers
  from generate_series(1, $2)),
k as (
  insert into tasker.tasks (task_id, named_task_id, state, open_leaves, run_at, created_at, finished_at) select i.id, $1, 'complete', 0, i.at, i.at, i.at from ids i),
p as (
  insert into tasker.task_payloads (task_id, context) select i.id, '{"order": 17, "customer": "c-1"}' from ids i),
h as (
  insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at)
  select i.id, i.numbers[m.place], m.to_state::tasker.task_state, false, m.verb::tasker.verb, i.at
  from ids i cross join (values (1, 'pending', 'submit'), (2, 'in_progress', 'claim'), (4, 'complete', 'finish')) m(place, to_state, verb)),
n as materialized (
  select n.* from tasker.named_tasks_named_steps n where n.named_task_id = $1),
j as (
  insert into tasker.join_counts (task_id, step_number, satisfied) select i.id, n.step_number, n.parent_count from ids i cross join n where n.parent_count > 1),
r as (
  insert into tasker.step_results (task_id, step_number, result) select i.id, n.step_number, 'true' from ids i cross join n)
insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id, last_attempted_at)
select i.id, n.step_number, i.numbers[m.place], m.to_state::tasker.step_state, m.verb::tasker.verb, i.at, 1, i.id, i.id, i.at
from ids i cross join n cross join (values (2, 'in_progress', 'claim'), (3, 'complete', 'settle')) m(place, to_state, verb)
