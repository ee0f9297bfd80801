create function tasker.step_id_after(prefix text, step_number int) returns uuid
language sql immutable strict parallel safe
return (prefix || substr(to_hex(step_number + 16777217), 2))::uuid;

comment on function tasker.step_id_after(text, int) is 'The id of a step: the first 30 characters of its task''s, and its number + 1 in the last 24 bits.';
