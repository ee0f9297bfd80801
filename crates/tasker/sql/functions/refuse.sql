-- Every refusal of a verb: SQLSTATE TA001, a sentence as the message, and a stable word as the detail.
create function tasker.refuse(code text, sentence text) returns void
language plpgsql as $$
begin
  raise exception using errcode = 'TA001', message = sentence, detail = code;
end $$;

comment on function tasker.refuse(text, text) is 'Raises SQLSTATE TA001 with a sentence, and a stable word as the detail.';
