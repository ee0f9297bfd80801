-- Takes one of so many turns, or waits for one: the session's own was tried by the exchange. Turns only save work, so whoever has waited for
-- three seconds goes on without: fewer than any worker gives its call.
create function tasker.wait_for_turn(turns int) returns void
language plpgsql set lock_timeout = '3s' as $$
begin
  for n in 1 .. turns - 1 loop
    if pg_try_advisory_xact_lock(7463, (pg_backend_pid() + n) % turns) then
      return;
    end if;
  end loop;
  begin
    perform pg_advisory_xact_lock(7463, pg_backend_pid() % turns);
  exception when lock_not_available then null;
  end;
end $$;

comment on function tasker.wait_for_turn(int) is 'Takes a turn, or waits for one.';
