-- What became of claims that a settlement, heartbeat or release no longer found: the same settlement sent again after a
-- lost reply gets its first answer.
create function tasker.answers(s_tasks uuid[], s_steps int[], s_claims uuid[]) returns text[]
language sql stable as $$
  select array_agg(coalesce((
    select case when h.verb = 'settle' then 'settled' when h.to_state = 'cancelled' then 'cancelled' else 'lease_lost' end
    from tasker.workflow_step_transitions h
    where h.task_id = u.task_id and h.step_number = u.step_number and h.claim_id = u.claim_id and h.verb <> 'claim'
    order by h.number desc limit 1), 'lease_lost') order by u.ord)
  from unnest(s_tasks, s_steps, s_claims) with ordinality u(task_id, step_number, claim_id, ord)
$$;

comment on function tasker.answers(uuid[], int[], uuid[]) is 'What became of claims that are gone: settled, cancelled or lease_lost, in their order.';
