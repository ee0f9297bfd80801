-- A function of its own, so that who asks for a step without a limit does not pay for the plan of the count. The setting: planned by
-- itself, a table of few live rows would be read as a whole, with all of its dead ones.
create function tasker.leases_under(limit_key text) returns bigint
language plpgsql stable parallel safe
set enable_seqscan = off
as $$
begin
  return (select count(*) from tasker.leases l where l.limit_key = leases_under.limit_key and l.limit_key <> '');
end $$;

comment on function tasker.leases_under(text) is 'How many steps with a concurrency key are running.';
