create function tasker.step_id(task_id uuid, step_number int) returns uuid
language sql immutable strict parallel safe
return overlay(task_id::text placing right('00000' || to_hex(step_number + 1), 6) from 31)::uuid;

comment on function tasker.step_id(uuid, int) is 'The id of a task''s step: its task''s, with the step''s number + 1 in the last 24 bits.';
