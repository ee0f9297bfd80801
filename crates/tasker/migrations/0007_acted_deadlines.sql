-- That a deadline was acted on stands in the history from now on; of live tasks whose deadline was acted on before, only its missing row said so.
insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at)
select k.task_id, nextval('tasker.transition_numbers'), k.state, k.paused, 'deadline', greatest(k.deadline, clock_timestamp())
from tasker.tasks k
where k.state in ('pending', 'in_progress') and k.deadline is not null
  and not exists (select from tasker.task_deadlines d where d.task_id = k.task_id);
