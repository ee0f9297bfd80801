-- A task's id: milliseconds and their fraction, random bits, and 24 zero bits where the ids of its steps have their number.
-- Layout: RFC 9562, version 7 (rand_a holds the fraction of the millisecond). PL/pgSQL, whose plan a session keeps: an SQL
-- function that cannot be inlined is parsed at every call.
create function tasker.uuid_v7() returns uuid
language plpgsql volatile as $$
declare us bigint := (extract(epoch from tasker.clock()) * 1000000)::bigint; random_bits text := gen_random_uuid()::text;
begin
  -- characters 20 to 23 and 25 to 30 of a version 4 id: its variant and random bits
  return (lpad(to_hex(us / 1000), 12, '0') || '7' || lpad(to_hex((us % 1000) * 4096 / 1000), 3, '0')
    || substr(random_bits, 20, 4) || substr(random_bits, 25, 6) || '000000')::uuid;
end $$;

comment on function tasker.uuid_v7() is 'A new task''s id: a UUIDv7 that ends in 24 zero bits.';
