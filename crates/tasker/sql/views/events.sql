-- Everything that happened, to tasks and to steps.
create view tasker.events as
select
  h.number,
  h.task_id,
  null::int as step_number,
  null::uuid as workflow_step_id,
  'task.' || case h.verb when 'submit' then 'submitted' when 'pause' then 'paused' when 'resume' then 'resumed' when 'retry' then 'retried'
    when 'deadline' then 'deadline_passed' else h.to_state::text end as kind,
  h.verb,
  h.to_state::text as to_state,
  h.at,
  null::int as attempt,
  null::uuid as claim_id,
  null::text as error_kind,
  null::timestamptz as next_retry_at,
  h.actor,
  h.reason,
  h.xid
from tasker.task_transitions h
union all
select
  h.number,
  h.task_id,
  h.step_number,
  tasker.step_id(h.task_id, h.step_number),
  'step.' || case h.verb when 'retry' then 'retried' when 'change_limit' then 'limit_changed' when 'edit_input' then 'input_edited' else h.to_state::text end,
  h.verb,
  h.to_state::text,
  h.at,
  h.attempt,
  h.claim_id,
  h.error_kind,
  h.next_retry_at,
  h.actor,
  h.reason,
  h.xid
from tasker.workflow_step_transitions h;

comment on view tasker.events is 'Everything that happened to tasks and steps. Ordered by number (the task''s own row first where equal) it is causal within a task; to follow it, read_events.';
comment on column tasker.events.number is 'Its place in the order of events; what one call did at once shares one.';
comment on column tasker.events.task_id is 'The task.';
comment on column tasker.events.step_number is 'The step''s number in it; null where it happened to the task itself.';
comment on column tasker.events.workflow_step_id is 'The step''s id.';
comment on column tasker.events.kind is 'What happened, in one word: task. or step. and the state from then on, or submitted, paused, resumed, retried, deadline_passed, limit_changed, input_edited.';
comment on column tasker.events.verb is 'What moved it.';
comment on column tasker.events.to_state is 'The state from then on.';
comment on column tasker.events.at is 'When, by the database''s clock.';
comment on column tasker.events.attempt is 'How many attempts of the step count from then on.';
comment on column tasker.events.claim_id is 'The claim that it begins or ends.';
comment on column tasker.events.error_kind is 'A stable word for the failure.';
comment on column tasker.events.next_retry_at is 'The step may not start before this instant.';
comment on column tasker.events.actor is 'Who, where a person or a program said so.';
comment on column tasker.events.reason is 'Why, where a person said so.';
comment on column tasker.events.xid is 'The transaction that wrote it.';
