-- A worker that drains gives its claims back: fenced; the attempt is given back, the step is pending and due now.
create function tasker.release_steps(s_tasks uuid[], s_steps int[], s_claims uuid[]) returns text[]
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan set lock_timeout = '1s'
as $$
declare x record; n int := cardinality(s_tasks); gone text[];
begin
  perform tasker.require_read_committed();
  perform from tasker.tasks k where k.task_id = any(s_tasks) order by k.task_id for no key update;
  perform tasker.record_start(s_tasks);
  select * into x from tasker.settle('release', tasker.clock(), s_tasks, s_steps, s_claims, array_fill('release'::text, array[n]),
    array_fill(null::text, array[n]), array_fill(null::text, array[n]), array_fill(null::boolean, array[n]),
    array_fill(null::double precision, array[n]), array_fill(null::timestamptz, array[n]), null);
  perform tasker.enqueue(x.c_tasks, x.c_steps);
  perform tasker.conclude(s_tasks);
  -- a release is no settlement: its own transitions say released
  select array_agg(coalesce((
    select case when h.verb = 'release' then 'released' when h.verb = 'settle' then 'settled' when h.to_state = 'cancelled' then 'cancelled' else 'lease_lost' end
    from tasker.workflow_step_transitions h
    where h.task_id = u.task_id and h.step_number = u.step_number and h.claim_id = u.claim_id and h.verb <> 'claim'
    order by h.number desc limit 1), 'lease_lost') order by u.ord) into gone
  from unnest(s_tasks, s_steps, s_claims) with ordinality u(task_id, step_number, claim_id, ord);
  return gone;
end $$;

comment on function tasker.release_steps(uuid[], int[], uuid[]) is 'Gives claims back; the answers are released, settled, cancelled or lease_lost, in their order.';
