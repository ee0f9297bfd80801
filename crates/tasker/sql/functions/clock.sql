-- The time in verbs, read after their locks. Test databases replace the body, and so hold the clock.
create function tasker.clock() returns timestamptz
language sql volatile
return clock_timestamp();

comment on function tasker.clock() is 'The time in verbs, read after their locks were granted.';
