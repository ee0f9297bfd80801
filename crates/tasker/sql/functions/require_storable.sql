-- What the SQL doors ask of JSON that comes in: 1 MiB at most, and nothing that jsonb cannot hold (its own error says what).
create function tasker.require_storable(value text, what text) returns void
language plpgsql immutable as $$
begin
  if octet_length(value) > 1048576 then
    perform tasker.refuse('too_large', format('%s has %s bytes, and 1,048,576 are allowed', what, octet_length(value)));
  end if;
  perform value::jsonb;
end $$;

comment on function tasker.require_storable(text, text) is 'Refuses JSON that is too large, or that jsonb cannot hold.';
