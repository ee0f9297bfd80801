create function tasker.task_of(workflow_step_id uuid) returns uuid
language sql immutable strict parallel safe
return overlay(workflow_step_id::text placing '000000' from 31)::uuid;

comment on function tasker.task_of(uuid) is 'The task that a step''s id names.';
