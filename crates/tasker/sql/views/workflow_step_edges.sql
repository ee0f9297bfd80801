-- A task's edges: those of its workflow's version. (The list of one: see workflow_steps.)
create view tasker.workflow_step_edges as
select
  k.task_id,
  tasker.step_id(k.task_id, e.from_step) as from_step_id,
  tasker.step_id(k.task_id, e.to_step) as to_step_id,
  e.from_step,
  e.to_step
from tasker.tasks k
join tasker.named_task_edges e on e.named_task_id = any(array[k.named_task_id]);

comment on view tasker.workflow_step_edges is 'The edges of tasks: from_step must be satisfied before to_step may run.';
comment on column tasker.workflow_step_edges.task_id is 'The task.';
comment on column tasker.workflow_step_edges.from_step_id is 'The parent''s id.';
comment on column tasker.workflow_step_edges.to_step_id is 'The child''s id.';
comment on column tasker.workflow_step_edges.from_step is 'The parent''s step number.';
comment on column tasker.workflow_step_edges.to_step is 'The child''s step number.';
