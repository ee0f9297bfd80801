-- Waits for one of so many turns, where the session's own is taken: any that is free, or else the session's own.
create function tasker.wait_for_turn(turns int) returns void
language plpgsql as $$
declare of_locks text := current_setting('lock_timeout');
begin
  for n in 1 .. turns - 1 loop
    if pg_try_advisory_xact_lock(7463, (pg_backend_pid() + n) % turns) then
      return;
    end if;
  end loop;
  perform set_config('lock_timeout', '10s', true);
  perform pg_advisory_xact_lock(7463, pg_backend_pid() % turns);
  perform set_config('lock_timeout', of_locks, true);
end $$;

comment on function tasker.wait_for_turn(int) is 'Waits until fewer exchanges than that look for work.';
