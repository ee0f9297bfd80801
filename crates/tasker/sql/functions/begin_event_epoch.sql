-- Called before the first reading. What a dump has brought along carries the transactions of another server: those that are not past here yet would
-- come to pass one day, and look new. They are known by their numbers, which all that happens from now on surpasses.
create function tasker.begin_event_epoch() returns text
language plpgsql set enable_seqscan = off as $$
declare epoch_ text := tasker.event_epoch();
begin
  if not exists (select from tasker.event_epochs p where p.epoch = epoch_) then
    insert into tasker.event_epochs (epoch, after_number, began_at)
    select epoch_, coalesce(max(e.number), 0), tasker.clock() from tasker.events e
    where e.xid >= pg_snapshot_xmin(pg_current_snapshot()) and not pg_visible_in_snapshot(e.xid, pg_current_snapshot())
    on conflict do nothing;
  end if;
  return epoch_;
end $$;

comment on function tasker.begin_event_epoch() is 'Makes events readable in this history, once; gives its name.';
