-- The claim is the deletion of ready rows, which the caller has locked with skip locked, so that their places (ctid) stand
-- still; a lease and a transition each follow from it. A lease that is there already is a divergence: the ready row is gone, and the batch goes on.
create function tasker.take(by_worker uuid, places tid[], lease interval,
  out l_tasks uuid[], out l_steps int[], out l_named int[], out l_claims uuid[])
language plpgsql as $$
declare now_ timestamptz := tasker.clock(); number_ bigint := nextval('tasker.transition_numbers');
begin
  with taken as (
    delete from tasker.ready_steps r where r.ctid = any(places) returning r.*),
  leased as materialized (
    insert into tasker.leases (task_id, step_number, named_task_id, attempt, claim_id, worker_id, lease_expires_at, limit_key)
    select t.task_id, t.step_number, t.named_task_id, t.attempt, gen_random_uuid(), by_worker, now_ + lease, t.limit_key from taken t
    on conflict (task_id, step_number) do nothing
    returning task_id, step_number, named_task_id, attempt, claim_id),
  moved as (
    insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id,
      retry_limit, attempts_before, generation, timer, last_failure_at, last_attempted_at)
    select l.task_id, l.step_number, number_, 'in_progress', 'claim', now_, l.attempt, l.claim_id, by_worker,
      h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, now_
    from leased l
    left join lateral (
      select h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at from tasker.workflow_step_transitions h
      where h.task_id = l.task_id and h.step_number = l.step_number order by h.number desc limit 1) h on true)
  select array_agg(l.task_id), array_agg(l.step_number), array_agg(l.named_task_id), array_agg(l.claim_id)
  into l_tasks, l_steps, l_named, l_claims from leased l;
  if cardinality(places) > coalesce(cardinality(l_tasks), 0) then
    raise warning 'claimed % ready rows and leased %: a step had a lease already (see tasker.step_readiness_divergences)',
      cardinality(places), coalesce(cardinality(l_tasks), 0);
  end if;
end $$;

comment on function tasker.take(uuid, tid[], interval) is 'Turns locked ready rows into leases.';
