-- What settle, satisfy, lease_or_enqueue and deliver do, for one claim that ends as complete and one child, in statements of one row each:
-- for a single step, what costs is the start of large plans, not their work. A child without a history, which this worker serves, is leased
-- to it and delivered; any other that may have become ready is a candidate to put to the view.
create function tasker.complete_step(by_worker uuid, of_task uuid, of_step int, of_claim uuid, payload text, handlers int[], capacity int, lease interval,
  out now_ timestamptz, out settled int, out c_tasks uuid[], out c_steps int[],
  out l_step int, out l_named int, out l_claim uuid, out retry_limit int, out context text, out results text)
language plpgsql as $$
declare
  settle_number bigint; finish_number bigint; task_state tasker.task_state; named int; attempt_ int; settler uuid;
  children int; child int; child_parents int; limit_ int; before_ int; generation_ int; timer_ timestamptz; failed_at timestamptz; attempted_at timestamptz;
  satisfied_ int := 1; leasable boolean; needs_ int[]; x record;
begin
  select k.state into task_state from tasker.tasks k where k.task_id = of_task for no key update;
  if task_state = 'pending' then
    perform tasker.record_start(array[of_task]);
  end if;
  now_ := tasker.clock();
  settle_number := nextval('tasker.transition_numbers'); finish_number := nextval('tasker.transition_numbers');
  settled := 0;
  delete from tasker.leases l where l.task_id = of_task and l.step_number = of_step and l.claim_id = of_claim
  returning l.named_task_id, l.attempt, l.worker_id into named, attempt_, settler;
  if not found then
    return;
  end if;
  select n.child_count, n.only_child, c.parent_count, h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at
  into children, child, child_parents, limit_, before_, generation_, timer_, failed_at, attempted_at
  from (
    -- of many children none is looked at here, and their list stays where it is
    select n.child_count, case when n.child_count = 1 then n.children[1] end as only_child from tasker.named_tasks_named_steps n
    where n.named_task_id = named and n.step_number = of_step offset 0) n
  cross join lateral (
    select h.retry_limit, h.attempts_before, h.generation, h.timer, h.last_failure_at, h.last_attempted_at from tasker.workflow_step_transitions h
    where h.task_id = of_task and h.step_number = of_step order by h.number desc limit 1) h
  left join lateral (
    select c.parent_count from tasker.named_tasks_named_steps c
    where c.named_task_id = named and c.step_number = n.only_child offset 0) c on true;
  if not found then
    return;
  end if;
  settled := 1;
  insert into tasker.step_results (task_id, step_number, result) values (of_task, of_step, payload::json);
  insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id,
    retry_limit, attempts_before, generation, timer, last_failure_at, last_attempted_at)
  values (of_task, of_step, settle_number, 'complete', 'settle', now_, attempt_, of_claim, settler,
    limit_, before_, generation_, timer_, failed_at, attempted_at);
  if children <> 1 then
    if children = 0 then
      x := tasker.satisfy(array[of_task], null, null, null, now_, finish_number);
    else
      x := tasker.satisfy(null, array[of_task], array[of_step], array[named], now_, finish_number);
    end if;
    c_tasks := x.c_tasks; c_steps := x.c_steps;
    return;
  end if;
  if child_parents > 1 then
    insert into tasker.join_counts as j (task_id, step_number, satisfied) values (of_task, child, 1)
    on conflict (task_id, step_number) do update set satisfied = j.satisfied + 1
    returning j.satisfied into satisfied_;
  end if;
  if satisfied_ < child_parents then
    return;
  end if;
  if capacity > 0 then
    select v.ready_for_execution and v.limit_key = '' and v.handler_id = any(handlers) and v.last_transition_number is null, v.retry_limit, n.needs,
      case when octet_length(p.context) <= 4194304 then p.context end
    into leasable, retry_limit, needs_, context
    from tasker.step_readiness_statuses v
    cross join lateral (
      select n.needs from tasker.named_tasks_named_steps n where n.named_task_id = v.named_task_id and n.step_number = v.step_number offset 0) n
    cross join lateral (select p.context::text as context from tasker.task_payloads p where p.task_id = v.task_id offset 0) p
    where v.task_id = of_task and v.step_number = child;
    if leasable then
      l_claim := gen_random_uuid();
      insert into tasker.leases (task_id, step_number, named_task_id, attempt, claim_id, worker_id, lease_expires_at, limit_key)
      values (of_task, child, named, 1, l_claim, by_worker, now_ + lease, '')
      on conflict (task_id, step_number) do nothing;
      if found then
        insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id, last_attempted_at)
        values (of_task, child, nextval('tasker.transition_numbers'), 'in_progress', 'claim', now_, 1, l_claim, by_worker, now_);
        l_step := child; l_named := named;
        results := '{}';
        if needs_ <> '{}' then
          results := (select d.results from tasker.deliver(array[of_task], array[child], array[named], array[l_claim]) d);
        end if;
        return;
      end if;
    end if;
  end if;
  c_tasks := array[of_task]; c_steps := array[child];
end $$;

comment on function tasker.complete_step(uuid, uuid, int, uuid, text, int[], int, interval)
  is 'Records the end of one claim as complete, and leases its only child where it may start; gives the others that may have become ready.';
