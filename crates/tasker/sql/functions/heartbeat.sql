-- Extends a worker's leases, skipping rows that somebody has locked. Answers: renewed, lease_lost, cancelled, unknown (the row
-- was locked: ask again).
create function tasker.heartbeat(by_worker uuid, s_tasks uuid[], s_steps int[], s_claims uuid[], lease interval) returns text[]
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare renewed int[]; result text[];
begin
  perform tasker.require_read_committed();
  update tasker.workers w set last_seen_at = tasker.clock() where w.worker_id = (
    select x.worker_id from tasker.workers x where x.worker_id = by_worker for update skip locked);
  if cardinality(s_tasks) = 0 then
    return '{}';
  end if;
  with locked as materialized (
    select l.task_id, l.step_number, l.claim_id, u.ord
    from unnest(s_tasks, s_steps, s_claims) with ordinality u(task_id, step_number, claim_id, ord)
    join tasker.leases l on l.task_id = u.task_id and l.step_number = u.step_number and l.claim_id = u.claim_id
    for update of l skip locked),
  extended as (
    update tasker.leases l set lease_expires_at = tasker.clock() + lease
    from (select distinct task_id, step_number, claim_id from locked) k
    where l.task_id = k.task_id and l.step_number = k.step_number and l.claim_id = k.claim_id)
  select array_agg(k.ord::int) into renewed from locked k;
  select array_agg(case
      when u.ord = any(renewed) then 'renewed'
      when exists (select from tasker.leases l where l.task_id = u.task_id and l.step_number = u.step_number and l.claim_id = u.claim_id) then 'unknown'
      when u.answer = 'cancelled' then 'cancelled' else 'lease_lost'
    end order by u.ord) into result
  from unnest(s_tasks, s_steps, s_claims, tasker.answers(s_tasks, s_steps, s_claims)) with ordinality u(task_id, step_number, claim_id, answer, ord);
  return result;
end $$;

comment on function tasker.heartbeat(uuid, uuid[], int[], uuid[], interval) is 'Extends leases; the answers are renewed, lease_lost, cancelled or unknown, in their order.';
