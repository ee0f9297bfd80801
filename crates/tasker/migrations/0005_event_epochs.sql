-- Within which history a cursor over events means something: a restored dump, a failover, another database begin another.
create table tasker.event_epochs (
  epoch text primary key,
  after_number bigint not null,
  began_at timestamptz not null
);
comment on table tasker.event_epochs is 'Histories over which cursors of events can be read: one for each server, timeline and database that this data has lived in.';
comment on column tasker.event_epochs.epoch is 'What tasker.event_epoch() gives there.';
comment on column tasker.event_epochs.after_number is 'Events up to this number came with a restored dump, under the numbers of another server''s transactions: they are no new ones.';
comment on column tasker.event_epochs.began_at is 'When the first reader came.';
