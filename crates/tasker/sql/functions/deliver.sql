-- What a worker needs to run the steps that it holds: the attempt, the task's context, and the results that the node names,
-- each of the two up to a step's share of 4 MiB; what is larger is null, and the worker fetches it. (Five results or more are looked at
-- by their stored size first: put together, a thousand large ones are more than a value can hold, and nobody could claim the step.)
create function tasker.deliver(l_tasks uuid[], l_steps int[], l_named int[], l_claims uuid[])
returns table (task_id uuid, step_number int, named_task_id int, attempt int, claim_id uuid, retry_limit int, generation int, timer timestamptz,
  context text, input text, results text)
language sql stable as $$
  select l.task_id, l.step_number, l.named_task_id, h.attempt, l.claim_id, coalesce(h.retry_limit, n.retry_limit), coalesce(h.generation, 0), h.timer,
    case when octet_length(p.context) <= 4194304 / cardinality(l_tasks) then p.context end, (select i.input::text from tasker.step_inputs i where i.task_id = l.task_id and i.step_number = l.step_number),
    case when octet_length(r.results) <= 4194304 / cardinality(l_tasks) then r.results end
  from unnest(l_tasks, l_steps, l_named, l_claims) l(task_id, step_number, named_task_id, claim_id)
  cross join lateral (
    select h.to_state, h.attempt, h.claim_id, h.retry_limit, h.generation, h.timer from tasker.workflow_step_transitions h
    where h.task_id = l.task_id and h.step_number = l.step_number order by h.number desc limit 1) h
  cross join lateral (
    select n.retry_limit, n.needs from tasker.named_tasks_named_steps n
    where n.named_task_id = l.named_task_id and n.step_number = l.step_number offset 0) n
  cross join lateral (select p.context::text as context from tasker.task_payloads p where p.task_id = l.task_id offset 0) p
  -- offset 0: one probe of the index a result; with "= any(n.needs)" a planner that knows small tasks reads all results of a large one
  cross join lateral (
    select case when n.needs = '{}' then '{}'
      when cardinality(n.needs) > 4 and tasker.stored_size(l.task_id, n.needs) > 4194304 then null
      else (
        select coalesce(json_object_agg(need, r.result), '{}')::text from unnest(n.needs) need cross join lateral (
          select r.result from tasker.step_results r where r.task_id = l.task_id and r.step_number = need offset 0) r) end as results offset 0) r
  -- where a divergent lease stood in the way of this one, the step was not taken
  where h.to_state = 'in_progress' and coalesce(h.claim_id, l.claim_id) = l.claim_id
$$;

comment on function tasker.deliver(uuid[], int[], int[], uuid[]) is 'What a worker needs to run the steps that it holds.';
