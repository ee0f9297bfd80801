create function tasker.step_number_of(workflow_step_id uuid) returns int
language sql immutable strict parallel safe
return ('x' || right(workflow_step_id::text, 6))::bit(24)::int - 1;

comment on function tasker.step_number_of(uuid) is 'The number that a step''s id names; -1 for a task''s id.';
