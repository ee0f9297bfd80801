create function tasker.step_id_after(prefix text, step_number int) returns uuid
language sql immutable strict parallel safe
return tasker.step_id_text(prefix, step_number)::uuid;

comment on function tasker.step_id_after(text, int) is 'The id of a step, made of the first 30 characters of its task''s and its number.';
