-- A key has one limit, that of its named step, and not one of each version: what a claim counts is then what the view says.
alter table tasker.named_steps add column concurrency_limit int;
comment on column tasker.named_steps.concurrency_limit is 'How many steps of this name may run at once for each key, as it was registered last; null: no version has had a limit.';
update tasker.named_steps s set concurrency_limit = n.concurrency_limit
from (
  select distinct on (n.named_step_id) n.named_step_id, n.concurrency_limit from tasker.named_tasks_named_steps n
  where n.concurrency_limit is not null order by n.named_step_id, n.named_task_id desc) n
where n.named_step_id = s.named_step_id;
