-- What the SQL doors ask of JSON that comes in: a size, and nothing that jsonb cannot hold (its own error says what).
create function tasker.require_storable(value text, what text, at_most int default 1048576) returns void
language plpgsql immutable as $$
begin
  if octet_length(value) > at_most then
    perform tasker.refuse('too_large', format('%s has %s bytes, and %s are allowed', what, octet_length(value), at_most));
  end if;
  perform value::jsonb;
end $$;

comment on function tasker.require_storable(text, text, int) is 'Refuses JSON that is too large, or that jsonb cannot hold.';
