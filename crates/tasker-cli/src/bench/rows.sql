-- The rows of a diamond's run, written by somebody who knows beforehand what will happen: he reads nothing, decides nothing, delivers nothing, and
-- writes into our own tables what must be there afterwards (and the leases that are gone again). Four calls for a hundred tasks.
create function bare.write(tasks uuid[], layer int, worker uuid, of_workflow int) returns void
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare now_ timestamptz := clock_timestamp(); number_ bigint := nextval('tasker.transition_numbers');
  ends int[] := (array['{}', '{0}', '{1,2}', '{3}'])[layer + 1]; begins int[] := (array['{0}', '{1,2}', '{3}', '{}'])[layer + 1];
begin
  if layer = 0 then
    delete from tasker.ready_steps r where r.task_id = any(tasks);
  else
    with d as (
      delete from tasker.leases l where l.task_id = any(tasks) returning l.*),
    r as (
      insert into tasker.step_results select d.task_id, d.step_number, '{"order": 1}' from d)
    insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id, last_attempted_at)
    select d.task_id, d.step_number, number_, 'complete', 'settle', now_, 1, d.claim_id, worker, now_ from d;
  end if;
  if layer = 1 then
    update tasker.tasks k set state = 'in_progress' where k.task_id = any(tasks);
    insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at) select t, number_, 'in_progress', false, 'claim', now_ from unnest(tasks) t;
  elsif layer = 2 then
    insert into tasker.join_counts select t, 3, 1 from unnest(tasks) t;
    update tasker.join_counts j set satisfied = 2 where j.task_id = any(tasks);
  elsif layer = 3 then
    update tasker.tasks k set state = 'complete', open_leaves = 0, finished_at = now_ where k.task_id = any(tasks);
    insert into tasker.task_transitions (task_id, number, to_state, paused, verb, at) select t, number_, 'complete', false, 'finish', now_ from unnest(tasks) t;
  end if;
  number_ := nextval('tasker.transition_numbers');
  with l as (
    insert into tasker.leases select t, s, of_workflow, 1, gen_random_uuid(), worker, now_ + interval '30 s', '' from unnest(tasks) t, unnest(begins) s
    returning *)
  insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id, last_attempted_at)
  select l.task_id, l.step_number, number_, 'in_progress', 'claim', now_, 1, l.claim_id, worker, now_ from l;
end $$;
