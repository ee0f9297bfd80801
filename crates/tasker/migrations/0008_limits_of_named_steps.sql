-- A key has one limit, that of its named step, and not one of each version: what a claim counts is then what the view says. It is the one that was
-- registered last.
create index on tasker.named_tasks_named_steps (named_step_id, named_task_id desc) where concurrency_limit is not null;
comment on column tasker.named_tasks_named_steps.concurrency_limit is 'How many may run at once for each key, as this version says: the one that was registered last counts; null: no limit.';
