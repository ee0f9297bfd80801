-- Leases under a worker's id that it does not know of: the reply to the call that made them was lost. Reads the live leases.
create function tasker.adopt(by_worker uuid, known_claims uuid[])
returns table (task_id uuid, step_number int, named_task_id int, attempt int, claim_id uuid, retry_limit int, generation int, timer timestamptz,
  context text, input text, results text)
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare now_ timestamptz := tasker.clock(); l_tasks uuid[]; l_steps int[];
begin
  select array_agg(l.task_id), array_agg(l.step_number) into l_tasks, l_steps
  from tasker.leases l where l.lease_expires_at > now_ and l.worker_id = by_worker and l.claim_id <> all(known_claims);
  return query select d.* from tasker.deliver(l_tasks, l_steps) d;
end $$;

comment on function tasker.adopt(uuid, uuid[]) is 'Leases under a worker''s id that it does not know of, to be started by it.';
