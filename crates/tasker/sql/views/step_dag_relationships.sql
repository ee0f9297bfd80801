-- Where a step stands in its graph. Depths were computed once, when the workflow was registered. (The list of one: see workflow_steps.)
-- An id is made of text, which takes longer than all else here: up to two hundred steps, each is made once and not at both ends of every edge.
-- (A larger task's are made where they stand: one step never pays for more than two hundred. An unnest among the columns streams, as a table it is stored first.)
create view tasker.step_dag_relationships as
select
  coalesce(a.ids[n.step_number + 1], tasker.step_id_after(i.prefix, n.step_number)) as workflow_step_id,
  k.task_id,
  n.step_number,
  n.named_step_id,
  n.name,
  array(select coalesce(a.ids[p + 1], tasker.step_id_after(i.prefix, p)) from (select unnest(n.parents) as p) p) as parent_step_ids,
  array(select coalesce(a.ids[c + 1], tasker.step_id_after(i.prefix, c)) from (select unnest(n.children) as c) c) as child_step_ids,
  n.parent_count,
  n.child_count,
  n.parent_count = 0 as is_root_step,
  n.child_count = 0 as is_leaf_step,
  n.min_depth_from_root,
  n.max_depth_from_root,
  n.max_depth_to_leaf
-- what the ids of a task's steps share is worked out once (offset 0)
from tasker.tasks k
cross join lateral (select left(k.task_id::text, 30) as prefix offset 0) i
cross join lateral (select array(
    select tasker.step_id_after(i.prefix, s) from tasker.named_tasks w, generate_series(0, w.total_steps - 1) s
    where w.named_task_id = k.named_task_id and w.total_steps <= 200 order by s) as ids offset 0) a
join tasker.named_tasks_named_steps n on n.named_task_id = any(array[k.named_task_id]);

comment on view tasker.step_dag_relationships is 'Where a step stands in its graph.';
comment on column tasker.step_dag_relationships.workflow_step_id is 'The step''s id.';
comment on column tasker.step_dag_relationships.task_id is 'The task.';
comment on column tasker.step_dag_relationships.step_number is 'The step''s number in it, from 0.';
comment on column tasker.step_dag_relationships.named_step_id is 'The named step.';
comment on column tasker.step_dag_relationships.name is 'Its name.';
comment on column tasker.step_dag_relationships.parent_step_ids is 'Ids of its parents, by step number.';
comment on column tasker.step_dag_relationships.child_step_ids is 'Ids of its children, by step number.';
comment on column tasker.step_dag_relationships.parent_count is 'How many parents it has.';
comment on column tasker.step_dag_relationships.child_count is 'How many children it has.';
comment on column tasker.step_dag_relationships.is_root_step is 'Whether it has no parent.';
comment on column tasker.step_dag_relationships.is_leaf_step is 'Whether it has no child.';
comment on column tasker.step_dag_relationships.min_depth_from_root is 'Edges on the shortest path from a root.';
comment on column tasker.step_dag_relationships.max_depth_from_root is 'Edges on the longest path from a root: its level.';
comment on column tasker.step_dag_relationships.max_depth_to_leaf is 'Edges on the longest path to a leaf: its height.';
