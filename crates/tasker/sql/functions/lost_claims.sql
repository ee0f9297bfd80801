-- Which of a worker's claims have no lease any more: what a heartbeat would say of them, without renewing the others.
create function tasker.lost_claims(s_tasks uuid[], s_steps int[], s_claims uuid[]) returns uuid[]
language plpgsql stable
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
begin
  return array(
    select u.claim_id from unnest(s_tasks, s_steps, s_claims) u(task_id, step_number, claim_id)
    where not exists (
      select from tasker.leases l where l.task_id = u.task_id and l.step_number = u.step_number and l.claim_id = u.claim_id offset 0));
end $$;

comment on function tasker.lost_claims(uuid[], int[], uuid[]) is 'Which of these claims have no lease any more.';
