-- A hint for sleeping workers, after the commit of what they are to find: NOTIFY inside the changing transaction would
-- take a lock that all of the cluster's commits wait for.
create function tasker.wake() returns void
language sql as $$ select pg_notify('tasker_wake', '') $$;

comment on function tasker.wake() is 'Tells sleeping workers to look for work now; call it after the commit.';
