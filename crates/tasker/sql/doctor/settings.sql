-- Settings under which promises are broken (wrong), or that cost more than they give.
select s.wrong, s.problem, s.remedy
from (values
  (current_setting('server_version_num')::int < 140000, true,
    'the server is PostgreSQL ' || current_setting('server_version'), 'use PostgreSQL 14 or later'),
  (pg_is_in_recovery(), true,
    'the server is a standby', 'connect to the primary'),
  (current_setting('fsync') = 'off', true,
    'fsync is off: a power cut may destroy the database', 'alter system set fsync = on; select pg_reload_conf()'),
  (current_setting('full_page_writes') = 'off', true,
    'full_page_writes is off: a power cut may destroy the database', 'alter system set full_page_writes = on; select pg_reload_conf()'),
  (current_setting('synchronous_commit') = 'off', true,
    'synchronous_commit is off: a crash loses what was settled last, and those steps run again',
    'alter system set synchronous_commit = on; select pg_reload_conf() (or alter role, alter database, where it was set there)'),
  (current_setting('autovacuum') = 'off' or current_setting('track_counts') = 'off', true,
    'autovacuum does not run: the hot tables grow without end', 'alter system set autovacuum = on; alter system set track_counts = on; select pg_reload_conf()'),
  (current_setting('default_transaction_isolation') not in ('read committed', 'read uncommitted'), true,
    'transactions begin as ' || current_setting('default_transaction_isolation') || ': verbs refuse that',
    format('alter role %I set default_transaction_isolation = ''read committed''', current_user)),
  (current_setting('default_transaction_read_only') = 'on', true,
    'transactions begin read only', format('alter role %I set default_transaction_read_only = off', current_user)),
  ((select s.setting::int between 1 and 4999 from pg_catalog.pg_settings s where s.name = 'statement_timeout'), true,
    'statement_timeout is ' || current_setting('statement_timeout') || ': large tasks cannot be submitted or looked at',
    format('alter role %I set statement_timeout = ''30s''', current_user)),
  -- (Tasker's own sessions set it off)
  ((select s.reset_val = 'on' from pg_catalog.pg_settings s where s.name = 'jit'), false,
    'jit is on: compiling costs more than it gives where a view of a large task is read', format('alter role %I set jit = off', current_user))
) s(holds, wrong, problem, remedy)
where s.holds
