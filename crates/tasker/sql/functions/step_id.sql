create function tasker.step_id(task_id uuid, step_number int) returns uuid
language sql immutable strict parallel safe
return tasker.step_id_after(left(task_id::text, 30), step_number);

comment on function tasker.step_id(uuid, int) is 'The id of a task''s step: its task''s, with the step''s number + 1 in the last 24 bits.';
