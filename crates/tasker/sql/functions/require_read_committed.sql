-- A lock alone raises no serialisation error: above READ COMMITTED a verb would go on with what it saw before the lock,
-- and a join would be lost.
create function tasker.require_read_committed() returns void
language plpgsql as $$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    perform tasker.refuse('isolation_too_high', format('this verb needs the isolation level READ COMMITTED, and the transaction runs at %s; '
      'call it in a transaction of its own, or begin with "begin isolation level read committed"', upper(current_setting('transaction_isolation'))));
  end if;
end $$;

comment on function tasker.require_read_committed() is 'Refuses an isolation level above READ COMMITTED.';
