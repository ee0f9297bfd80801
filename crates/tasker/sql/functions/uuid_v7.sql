-- A task's id: milliseconds and their fraction, random bits, and 24 zero bits where the ids of its steps have their number.
-- Layout: RFC 9562, version 7 (rand_a holds the fraction of the millisecond).
create function tasker.uuid_v7() returns uuid
language sql volatile
as $$
  select (lpad(to_hex(t.us / 1000), 12, '0') || '7' || lpad(to_hex((t.us % 1000) * 4096 / 1000), 3, '0')
    || substr(r.hex, 17, 10) || '000000')::uuid
  from (select (extract(epoch from tasker.clock()) * 1000000)::bigint as us) t,
       (select replace(gen_random_uuid()::text, '-', '') as hex) r
$$;

comment on function tasker.uuid_v7() is 'A new task''s id: a UUIDv7 that ends in 24 zero bits.';
