-- Leases under a worker's id that it does not know of: the reply to the call that made them was lost. Reads the live leases,
-- extends what it gives, and skips rows that somebody has locked: they are found when it asks again.
create function tasker.adopt(by_worker uuid, known_claims uuid[], lease interval)
returns table (task_id uuid, step_number int, named_task_id int, attempt int, claim_id uuid, retry_limit int, generation int, timer timestamptz,
  context text, input text, results text)
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare now_ timestamptz := tasker.clock(); places tid[]; l_tasks uuid[]; l_steps int[]; l_named int[]; l_claims uuid[];
begin
  perform tasker.require_read_committed();
  select array_agg(o.place) into places from (
    select l.ctid as place from tasker.leases l
    where l.lease_expires_at > now_ and l.worker_id = by_worker and l.claim_id <> all(known_claims)
    for update skip locked) o;
  with extended as (
    update tasker.leases l set lease_expires_at = now_ + lease where l.ctid = any(places) returning l.*)
  select array_agg(e.task_id), array_agg(e.step_number), array_agg(e.named_task_id), array_agg(e.claim_id)
  into l_tasks, l_steps, l_named, l_claims from extended e;
  return query select d.* from tasker.deliver(l_tasks, l_steps, l_named, l_claims) d;
end $$;

comment on function tasker.adopt(uuid, uuid[], interval) is 'Leases under a worker''s id that it does not know of, extended, to be started by it.';
