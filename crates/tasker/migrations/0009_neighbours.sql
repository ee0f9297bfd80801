-- Who stands before and behind a step stands with it, too: what asks for all edges of a step reads one row, and not one of each edge.
alter table tasker.named_tasks_named_steps add column parents int[], add column children int[];
comment on column tasker.named_tasks_named_steps.parents is 'The numbers of its parents, ascending.';
comment on column tasker.named_tasks_named_steps.children is 'The numbers of its children, ascending.';
update tasker.named_tasks_named_steps n set
  parents = array(select e.from_step from tasker.named_task_edges e where e.named_task_id = n.named_task_id and e.to_step = n.step_number order by 1),
  children = array(select e.to_step from tasker.named_task_edges e where e.named_task_id = n.named_task_id and e.from_step = n.step_number order by 1);
alter table tasker.named_tasks_named_steps
  add constraint neighbours_are_counted check (cardinality(parents) = parent_count and cardinality(children) = child_count),
  alter column parents set not null, alter column children set not null;
