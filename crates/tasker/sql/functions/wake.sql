-- A hint for sleeping workers, after the commit of what they are to find: NOTIFY inside the changing transaction would
-- take a lock that all of the cluster's commits wait for. A sender that listens too knows its own word.
create function tasker.wake(sender text default '') returns void
language sql as $$ select pg_notify('tasker_wake', sender) $$;

comment on function tasker.wake(text) is 'Tells sleeping workers to look for work now; call it after the commit.';
