-- A step's attempts: each claim, paired by its claim id with what ended it.
create view tasker.workflow_step_attempts as
select
  tasker.step_id(c.task_id, c.step_number) as workflow_step_id,
  c.task_id,
  c.step_number,
  c.attempt,
  c.claim_id,
  c.worker_id,
  c.at as started_at,
  e.at as ended_at,
  case when e.verb is null then 'in_progress' when e.verb = 'release' and e.to_state = 'pending' then 'released'
    when e.to_state = 'pending' then 'waits' else e.to_state::text end as outcome,
  e.error_kind,
  x.error,
  c.number
from tasker.workflow_step_transitions c
left join lateral (
  select h.number, h.at, h.verb, h.to_state, h.error_kind from tasker.workflow_step_transitions h
  where h.task_id = c.task_id and h.step_number = c.step_number and h.number > c.number and h.claim_id = c.claim_id
  order by h.number limit 1) e on true
left join tasker.step_errors x on x.task_id = c.task_id and x.step_number = c.step_number and x.number = e.number
where c.verb = 'claim';

comment on view tasker.workflow_step_attempts is 'Attempts of steps: who ran them, when, and how they ended.';
comment on column tasker.workflow_step_attempts.workflow_step_id is 'The step''s id.';
comment on column tasker.workflow_step_attempts.task_id is 'The task.';
comment on column tasker.workflow_step_attempts.step_number is 'The step''s number in it.';
comment on column tasker.workflow_step_attempts.attempt is 'The attempt''s number; a number given back is used again.';
comment on column tasker.workflow_step_attempts.claim_id is 'The claim.';
comment on column tasker.workflow_step_attempts.worker_id is 'Who ran it.';
comment on column tasker.workflow_step_attempts.started_at is 'When it was claimed.';
comment on column tasker.workflow_step_attempts.ended_at is 'When the claim ended; null while it runs.';
comment on column tasker.workflow_step_attempts.outcome is 'in_progress, complete, skipped, failed, cancelled, waits (until an instant) or released.';
comment on column tasker.workflow_step_attempts.error_kind is 'A stable word for the failure.';
comment on column tasker.workflow_step_attempts.error is 'The message of the failure.';
comment on column tasker.workflow_step_attempts.number is 'The claim''s place in the order of events.';
