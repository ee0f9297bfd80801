-- Whether each history is one that the verbs can write, of the tasks that are live, have failed or are in the hot set; of all tasks where $1
-- says so.
select true as wrong, format('task %s: %s', u.task_id, b.problem) as problem,
  'this is a defect, or a change past the verbs: keep a dump for a report' as remedy
from (
  select k.task_id from tasker.tasks k where $1 or k.state in ('pending', 'in_progress', 'failed')
  union select r.task_id from tasker.ready_steps r
  union select l.task_id from tasker.leases l
) u
cross join lateral (
  select format('step %s: %s -> %s by %s, transition %s, attempt %s -> %s', j.step_number, j.from_state, j.to_state, j.verb, j.number, j.from_attempt,
    j.attempt) as problem
  from (
    select c.step_number, c.number, c.verb, c.from_state, c.to_state, c.from_attempt, c.attempt,
      case c.verb
        when 'claim' then c.from_state in ('pending', 'failed') and c.to_state = 'in_progress' and c.attempt = c.from_attempt + 1
          and c.attempt <= c.limit_now and c.claim_id is not null and c.next_retry_at is null
        when 'settle' then c.from_state = 'in_progress' and (
            c.to_state in ('complete', 'skipped', 'failed') and c.attempt = c.from_attempt
            or c.to_state = 'pending' and c.attempt = c.from_attempt - 1)
        when 'release' then c.from_state = 'in_progress' and (
            c.to_state = 'pending' and c.attempt = c.from_attempt - 1 or c.to_state = 'failed' and c.attempt = c.from_attempt)
        when 'reap' then c.from_state = 'in_progress' and c.to_state = 'failed' and c.attempt = c.from_attempt
        when 'deadline' then c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'failed' and c.attempt = c.from_attempt
          and not c.retryable
        when 'cancel' then c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'cancelled' and c.attempt = c.from_attempt
        when 'resolve' then c.attempt = c.from_attempt and (
            c.from_state in ('pending', 'failed', 'cancelled') and c.to_state = 'resolved_manually'
            or c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'cancelled')
        when 'retry' then c.attempt = c.from_attempt and (
            c.from_state in ('pending', 'failed', 'cancelled') and c.to_state = 'pending' and c.generation = c.from_generation + 1
            or c.from_state = 'failed' and c.to_state = 'failed' and coalesce(c.generation, 0) = c.from_generation)
        when 'change_limit' then c.to_state = c.from_state and c.to_state in ('pending', 'in_progress', 'failed') and c.attempt = c.from_attempt
        when 'edit_input' then c.to_state = c.from_state and c.to_state in ('pending', 'failed') and c.attempt = c.from_attempt
        else false
      end
      -- what each writer carries forward
      and (c.verb = 'retry' or coalesce(c.generation, 0) = c.from_generation and coalesce(c.attempts_before, 0) = c.from_before)
      and (c.verb in ('retry', 'change_limit') or c.retry_limit is not distinct from c.from_limit)
      and (c.verb = 'settle' and c.to_state = 'pending' or c.timer is not distinct from case
        when c.verb <> 'retry' or coalesce(c.generation, 0) = c.from_generation then c.from_timer end)
      and (c.verb = 'claim' or c.last_attempted_at is not distinct from c.from_attempted_at)
      and (c.verb in ('settle', 'reap', 'release', 'deadline') and c.to_state = 'failed' or c.last_failure_at is not distinct from c.from_failure_at)
      -- whoever ends a claim names it
      and (c.from_state <> 'in_progress' or c.verb = 'change_limit' or c.claim_id = (
        select h.claim_id from tasker.workflow_step_transitions h
        where h.task_id = c.task_id and h.step_number = c.step_number and h.verb = 'claim' and h.number < c.number
        order by h.number desc limit 1)) as legal
    from (
      select h.*, lag(h.to_state, 1, 'pending') over w as from_state, lag(h.attempt, 1, 0) over w as from_attempt,
        lag(coalesce(h.generation, 0), 1, 0) over w as from_generation, lag(h.retry_limit) over w as from_limit,
        lag(coalesce(h.attempts_before, 0), 1, 0) over w as from_before, lag(h.timer) over w as from_timer,
        lag(h.last_failure_at) over w as from_failure_at, lag(h.last_attempted_at) over w as from_attempted_at,
        coalesce(h.retry_limit, n.retry_limit) as limit_now
      from tasker.workflow_step_transitions h
      join tasker.tasks k on k.task_id = h.task_id
      join tasker.named_tasks_named_steps n on n.named_task_id = k.named_task_id and n.step_number = h.step_number
      where h.task_id = u.task_id
      window w as (partition by h.step_number order by h.number)
    ) c
  ) j
  where j.legal is not true
  union all
  select format('%s -> %s by %s', j.from_state, j.to_state, j.verb)
  from (
    select c.from_state, c.to_state, c.verb,
      case c.verb
        when 'submit' then c.to_state = 'pending' and not c.paused
        when 'claim' then c.from_state = 'pending' and c.to_state = 'in_progress' and c.paused = c.from_paused
        when 'finish' then c.from_state in ('pending', 'in_progress') and c.to_state in ('complete', 'failed') and c.paused = c.from_paused
        when 'deadline' then c.from_state in ('pending', 'in_progress') and c.to_state = c.from_state and c.paused = c.from_paused
        when 'cancel' then c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'cancelled'
        when 'resolve' then c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'resolved_manually'
          or c.from_state = 'failed' and c.to_state = 'in_progress'
        when 'retry' then c.from_state = 'failed' and c.to_state = 'in_progress'
        when 'pause' then c.from_state in ('pending', 'in_progress') and c.to_state = c.from_state and c.paused and not c.from_paused
        when 'resume' then c.from_state in ('pending', 'in_progress') and c.to_state = c.from_state and not c.paused and c.from_paused
        else false
      end and (c.verb = 'submit') = (c.place = 1) as legal
    from (
      select h.*, lag(h.to_state) over w as from_state, lag(h.paused) over w as from_paused, row_number() over w as place
      from tasker.task_transitions h where h.task_id = u.task_id window w as (order by h.number)
    ) c
  ) j
  where j.legal is not true
  union all
  select format('step %s has an error message at transition %s, which is no failure', e.step_number, e.number)
  from tasker.step_errors e
  left join tasker.workflow_step_transitions h on h.task_id = e.task_id and h.step_number = e.step_number and h.number = e.number
  where e.task_id = u.task_id and h.to_state is distinct from 'failed'
  union all
  select format('step %s: the claim %s ended %s times', h.step_number, h.claim_id, count(*))
  from tasker.workflow_step_transitions h
  where h.task_id = u.task_id and h.claim_id is not null and h.verb <> 'claim'
  group by h.step_number, h.claim_id
  having count(*) > 1
) b
order by u.task_id
