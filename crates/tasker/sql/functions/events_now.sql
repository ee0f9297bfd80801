-- The cursor of whoever wants only what happens from now on.
create function tasker.events_now() returns text
language sql stable as $$ select tasker.event_epoch() || '/' || tasker.event_snapshot() $$;

comment on function tasker.events_now() is 'A cursor for read_events, behind everything that has happened.';
