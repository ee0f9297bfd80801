create function tasker.step_id_text(prefix text, step_number int) returns text
language sql immutable strict parallel safe
return prefix || substr(to_hex(step_number + 16777217), 2);

comment on function tasker.step_id_text(text, int) is 'The id of a step as text: the first 30 characters of its task''s, and its number + 1 in the last 24 bits.';
