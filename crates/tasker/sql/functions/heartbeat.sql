-- Extends a worker's leases, skipping rows that somebody has locked. Answers: renewed, lease_lost, cancelled, unknown (the row
-- was locked: ask again).
create function tasker.heartbeat(by_worker uuid, s_tasks uuid[], s_steps int[], s_claims uuid[], lease interval) returns text[]
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare places tid[]; renewed uuid[]; result text[];
begin
  perform tasker.require_read_committed();
  update tasker.workers w set last_seen_at = tasker.clock() where w.worker_id = (
    select x.worker_id from tasker.workers x where x.worker_id = by_worker for update skip locked);
  if cardinality(s_tasks) = 0 then
    return '{}';
  end if;
  -- one probe of the index a claim: a join, planned while the table is empty, would read all of its dead rows. What is
  -- locked stands still, so that its place (ctid) finds it again.
  select array_agg(l.place) into places
  from unnest(s_tasks, s_steps, s_claims) u(task_id, step_number, claim_id)
  cross join lateral (
    select l.ctid as place from tasker.leases l
    where l.task_id = u.task_id and l.step_number = u.step_number and l.claim_id = u.claim_id for update skip locked) l;
  with extended as (
    update tasker.leases l set lease_expires_at = tasker.clock() + lease where l.ctid = any(places) returning l.claim_id)
  select array_agg(e.claim_id) into renewed from extended e;
  select array_agg(case
      when u.claim_id = any(renewed) then 'renewed'
      when exists (select from tasker.leases l where l.task_id = u.task_id and l.step_number = u.step_number and l.claim_id = u.claim_id offset 0) then 'unknown'
      when u.answer = 'cancelled' then 'cancelled' else 'lease_lost'
    end order by u.ord) into result
  from unnest(s_tasks, s_steps, s_claims, tasker.answers(s_tasks, s_steps, s_claims)) with ordinality u(task_id, step_number, claim_id, answer, ord);
  return result;
end $$;

comment on function tasker.heartbeat(uuid, uuid[], int[], uuid[], interval) is 'Extends leases; the answers are renewed, lease_lost, cancelled or unknown, in their order.';
