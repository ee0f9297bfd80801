-- The rules of a task's row and of a step's transition, each in one function. PostgreSQL reads a table's CHECKs anew from their
-- text in every statement that writes to it, 1 to 2 us each: eleven of them were a sixth of what an exchange of one step costs.
-- A function is read once a session. (It belongs to its table, and so to the tables' history.)

create function tasker.is_possible_task(
  task_id uuid, state tasker.task_state, open_leaves int, finished_at timestamptz, lane smallint, run_at timestamptz, deadline timestamptz)
returns boolean
language plpgsql immutable parallel safe as $$
declare broken text := case
  when right(task_id::text, 6) <> '000000' then 'id_ends_in_24_zero_bits'
  when open_leaves < 0 or (state = 'complete' and open_leaves > 0) then 'complete_means_no_open_leaf'
  when (state in ('pending', 'in_progress')) <> (finished_at is null) then 'ended_has_an_instant'
  when lane not between 0 and 2 then 'lane_is_known'
  when not isfinite(run_at) or not isfinite(deadline) then 'instants_are_finite'
end;
begin
  if broken is null then
    return true;
  end if;
  raise exception 'an impossible task (%): %', broken, task_id
    using errcode = 'check_violation', schema = 'tasker', table = 'tasks', constraint = broken;
end $$;
comment on function tasker.is_possible_task(uuid, tasker.task_state, int, timestamptz, smallint, timestamptz, timestamptz)
  is 'Whether a task may have such a row; an error that names the rule where not.';

create function tasker.is_possible_transition(
  task_id uuid, step_number int, to_state tasker.step_state, verb tasker.verb, claim_id uuid, attempt int, attempts_before int,
  retry_limit int, generation int, next_retry_at timestamptz)
returns boolean
language plpgsql immutable parallel safe as $$
declare broken text := case
  when to_state = 'in_progress' and claim_id is null and verb <> 'change_limit' then 'running_has_a_claim'
  when claim_id is not null and verb in ('change_limit', 'edit_input') then 'values_only_has_no_claim'
  when attempt < 0 or attempts_before not between 0 and attempt then 'attempts_are_counted'
  when retry_limit < greatest(attempt, 1) then 'limit_covers_the_attempts'
  when generation < 1 then 'generation_counts_retries'
  when next_retry_at is not null and to_state not in ('pending', 'failed') then 'only_waiting_has_an_instant'
end;
begin
  if broken is null then
    return true;
  end if;
  raise exception 'an impossible transition (%): step % of task %', broken, step_number, task_id
    using errcode = 'check_violation', schema = 'tasker', table = 'workflow_step_transitions', constraint = broken;
end $$;
comment on function tasker.is_possible_transition(uuid, int, tasker.step_state, tasker.verb, uuid, int, int, int, int, timestamptz)
  is 'Whether a step may have such a transition; an error that names the rule where not.';

-- "not valid": the rows that are there have been checked by the same rules, and are not read again.
alter table tasker.tasks
  drop constraint id_ends_in_24_zero_bits, drop constraint complete_means_no_open_leaf, drop constraint ended_has_an_instant,
  drop constraint lane_is_known, drop constraint instants_are_finite,
  add constraint task_is_possible check (tasker.is_possible_task(task_id, state, open_leaves, finished_at, lane, run_at, deadline)) not valid;

alter table tasker.workflow_step_transitions
  drop constraint running_has_a_claim, drop constraint attempts_are_counted, drop constraint limit_covers_the_attempts,
  drop constraint values_only_has_no_claim, drop constraint only_waiting_has_an_instant, drop constraint generation_counts_retries,
  add constraint transition_is_possible check (tasker.is_possible_transition(
    task_id, step_number, to_state, verb, claim_id, attempt, attempts_before, retry_limit, generation, next_retry_at)) not valid;
