-- A step with one parent asks that one: its number stands with the node, so that readiness need not look for the edge.
alter table tasker.named_tasks_named_steps add column only_parent int;
comment on column tasker.named_tasks_named_steps.only_parent is 'The number of its parent, where it has one only.';
update tasker.named_tasks_named_steps n set only_parent = e.from_step
from tasker.named_task_edges e where n.parent_count = 1 and e.named_task_id = n.named_task_id and e.to_step = n.step_number;
alter table tasker.named_tasks_named_steps add constraint only_parent_is_known check ((parent_count = 1) = (only_parent is not null));
