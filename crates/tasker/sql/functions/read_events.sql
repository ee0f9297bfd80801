-- The events after a cursor, in an order that is causal within a task: whoever sees an effect has seen its cause. Ids and instants are handed
-- out before the commit, and transactions commit in another order than they began in. So a cursor is the snapshot up to which was read, and what
-- comes next, the window, is what is visible now and was not then. A cursor within a window holds both its ends and the place:
--   epoch/since            epoch/since/until/number/task/step (-1: the task itself)
-- Numbers up to the epoch's came with a restored dump: they belong to the first window, whatever their transactions' numbers.
create function tasker.read_events(after_cursor text default null, at_most int default 1000, of_task uuid default null)
returns table (cursor text, number bigint, task_id uuid, step_number int, workflow_step_id uuid, kind text, verb tasker.verb, to_state text, at timestamptz,
  attempt int, claim_id uuid, error_kind text, next_retry_at timestamptz, actor text, reason text, xid xid8)
language plpgsql stable rows 1000
set enable_seqscan = off set jit = off as $$
declare
  first_ constant text := '3:3:'; -- before any transaction
  parts text[] := string_to_array(after_cursor, '/');
  epoch_ text; floor_ bigint; since pg_snapshot := first_::pg_snapshot; until_ pg_snapshot := tasker.event_snapshot(); n int;
begin
  if at_most is null or at_most not between 1 and 100000 then
    perform tasker.refuse('bad_limit', 'at_most is a number from 1 to 100000');
  end if;
  if after_cursor !~ '^[0-9a-f]{16}/[0-9]{1,19}:[0-9]{1,19}:[0-9,]*(/[0-9]{1,19}:[0-9]{1,19}:[0-9,]*/[0-9]{1,18}/[0-9a-f-]{36}/(-1|[0-9]{1,8}))?$' then
    perform tasker.refuse('bad_cursor', 'this is no cursor over events: leave it out to read from the beginning, or begin with tasker.events_now()');
  end if;
  epoch_ := tasker.event_epoch();
  select p.after_number into floor_ from tasker.event_epochs p where p.epoch = epoch_;
  if floor_ is null then
    perform tasker.refuse('no_epoch', 'nobody has read events since this database was restored or promoted: call tasker.begin_event_epoch() first');
  end if;
  if after_cursor is not null then
    since := parts[2]::pg_snapshot;
    if parts[1] <> epoch_ or pg_snapshot_xmax(since) > pg_snapshot_xmax(until_) then
      perform tasker.refuse('cursor_gone', 'this cursor is of another history, which a restored dump or a failover has ended: begin anew');
    end if;
    until_ := coalesce(parts[3]::pg_snapshot, until_);
  end if;

  return query execute format(
    'select concat_ws(''/'', $1, $2, $3, v.number, v.task_id, coalesce(v.step_number, -1)), v.* from tasker.events v
     where %s and case when v.number <= $4 then $5
         else not pg_visible_in_snapshot(v.xid, $2) and pg_visible_in_snapshot(v.xid, $3) end
       and (v.number, v.task_id, coalesce(v.step_number, -1)) > ($6, $7, $8)
     order by v.number, v.task_id, coalesce(v.step_number, -1) limit $9',
    case when of_task is null then 'v.xid >= pg_snapshot_xmin($2)' else 'v.task_id = $10' end)
  using epoch_, since, until_, floor_, since::text = first_, coalesce(parts[4]::bigint, 0), coalesce(parts[5]::uuid, '00000000-0000-0000-0000-000000000000'), coalesce(parts[6]::int, -1),
    at_most, of_task;
  get diagnostics n = row_count;
  if n < at_most then
    return query select concat_ws('/', epoch_, until_), v.* from (select) nothing left join tasker.events v on false;
  end if;
end $$;

comment on function tasker.read_events(text, int, uuid) is 'Events after a cursor (null: from the beginning), each with the cursor behind it. A last row with only a cursor: so far everything has been read, go on there; without one, go on with the last event''s.';
