-- The time in views: one instant a query. Test databases replace the body, and so hold the clock.
create function tasker.now() returns timestamptz
language sql stable parallel safe
return statement_timestamp();

comment on function tasker.now() is 'The time in views: one instant a query.';
