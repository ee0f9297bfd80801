//! What holds in every database at every moment between two transactions. Each question gives the rows that are wrong.

use sqlx::{AssertSqlSafe, PgConnection, Row};

/// A promise, and the query for what breaks it; each row is a text.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "what is remembered equals what is recounted",
        "select d::text from tasker.step_readiness_divergences d",
    ),
    (
        "the counts by state partition a task's steps",
        "select c::text from tasker.task_execution_contexts c
         where c.total_steps <> c.pending_steps + c.in_progress_steps + c.completed_steps + c.failed_steps + c.cancelled_steps
           + c.resolved_manually_steps + c.skipped_steps",
    ),
    (
        "a live task has a ready step, a lease, an instant, or a named cause",
        "select c::text from tasker.task_execution_contexts c
         join tasker.tasks k on k.task_id = c.task_id
         where k.state in ('pending', 'in_progress') and not (k.paused and c.execution_status = 'blocked_by_failures') and (
           c.execution_status not in ('has_ready_steps', 'processing', 'paused', 'waiting_for_capacity', 'waiting_for_retry', 'scheduled')
           or c.execution_status in ('waiting_for_retry', 'scheduled') and c.next_retry_at is null)",
    ),
    (
        "a task that has ended has nothing to run, and no deadline or unique key",
        "select k::text from tasker.tasks k
         where k.state not in ('pending', 'in_progress') and (
           exists (select from tasker.ready_steps r where r.task_id = k.task_id) or exists (select from tasker.leases l where l.task_id = k.task_id)
           or exists (select from tasker.task_deadlines d where d.task_id = k.task_id) or exists (select from tasker.unique_live_keys u where u.task_id = k.task_id))",
    ),
    (
        "a live task with a unique key holds it",
        "select k::text from tasker.tasks k where k.state in ('pending', 'in_progress') and k.unique_key is not null
           and not exists (select from tasker.unique_live_keys u where u.task_id = k.task_id and u.unique_key = k.unique_key)",
    ),
    (
        "a step has at most one satisfied result, and has it exactly when it is satisfied",
        "select format('%s: %s transitions, %s results', s.workflow_step_id, h.satisfied, r.results) from tasker.workflow_steps s
         cross join lateral (select count(*) filter (where h.to_state in ('complete', 'skipped', 'resolved_manually')) as satisfied
           from tasker.workflow_step_transitions h where h.task_id = s.task_id and h.step_number = s.step_number) h
         cross join lateral (select count(*) as results from tasker.step_results r where r.task_id = s.task_id and r.step_number = s.step_number) r
         where h.satisfied > 1 or (h.satisfied = 1) <> (s.state in ('complete', 'skipped', 'resolved_manually')) or h.satisfied <> r.results",
    ),
    (
        "a step's transitions are a legal chain",
        "with chain as (
           select h.*, lag(h.to_state, 1, 'pending') over w as from_state, lag(h.attempt, 1, 0) over w as from_attempt,
             lag(coalesce(h.generation, 0), 1, 0) over w as from_generation, lag(h.retry_limit) over w as from_limit,
             lag(coalesce(h.attempts_before, 0), 1, 0) over w as from_before, lag(h.timer) over w as from_timer,
             lag(h.last_failure_at) over w as from_failure_at, lag(h.last_attempted_at) over w as from_attempted_at,
             lag(h.claim_id) over w as from_claim, coalesce(h.retry_limit, n.retry_limit) as limit_now
           from tasker.workflow_step_transitions h
           join tasker.tasks k on k.task_id = h.task_id
           join tasker.named_tasks_named_steps n on n.named_task_id = k.named_task_id and n.step_number = h.step_number
           window w as (partition by h.task_id, h.step_number order by h.number)),
         judged as (
           select c.*, case c.verb
             when 'claim' then c.from_state in ('pending', 'failed') and c.to_state = 'in_progress' and c.attempt = c.from_attempt + 1
               and c.attempt <= c.limit_now and c.claim_id is not null and c.next_retry_at is null
             when 'settle' then c.from_state = 'in_progress' and (
                 c.to_state in ('complete', 'skipped', 'failed') and c.attempt = c.from_attempt
                 or c.to_state = 'pending' and c.attempt = c.from_attempt - 1)
             when 'release' then c.from_state = 'in_progress' and (
                 c.to_state = 'pending' and c.attempt = c.from_attempt - 1 or c.to_state = 'failed' and c.attempt = c.from_attempt)
             when 'reap' then c.from_state = 'in_progress' and c.to_state = 'failed' and c.attempt = c.from_attempt
             when 'deadline' then c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'failed' and c.attempt = c.from_attempt and not c.retryable
             when 'cancel' then c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'cancelled' and c.attempt = c.from_attempt
             when 'resolve' then c.attempt = c.from_attempt and (
                 c.from_state in ('pending', 'failed', 'cancelled') and c.to_state = 'resolved_manually'
                 or c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'cancelled')
             when 'retry' then c.attempt = c.from_attempt and (
                 c.from_state in ('pending', 'failed', 'cancelled') and c.to_state = 'pending' and c.generation = c.from_generation + 1
                 or c.from_state = 'failed' and c.to_state = 'failed' and coalesce(c.generation, 0) = c.from_generation)
             when 'change_limit' then c.to_state = c.from_state and c.to_state in ('pending', 'in_progress', 'failed') and c.attempt = c.from_attempt
             when 'edit_input' then c.to_state = c.from_state and c.to_state in ('pending', 'failed') and c.attempt = c.from_attempt
             else false end
           -- what each writer carries forward
           and (c.verb = 'retry' or coalesce(c.generation, 0) = c.from_generation and coalesce(c.attempts_before, 0) = c.from_before)
           and (c.verb in ('retry', 'change_limit') or c.retry_limit is not distinct from c.from_limit)
           and (c.verb = 'settle' and c.to_state = 'pending' or c.timer is not distinct from c.from_timer)
           and (c.verb = 'claim' or c.last_attempted_at is not distinct from c.from_attempted_at)
           and (c.verb in ('settle', 'reap', 'release', 'deadline') and c.to_state = 'failed' or c.last_failure_at is not distinct from c.from_failure_at)
           -- whoever ends a claim names it
           and (c.from_state <> 'in_progress' or c.verb = 'change_limit' or c.claim_id = (
             select h.claim_id from tasker.workflow_step_transitions h where h.task_id = c.task_id and h.step_number = c.step_number
               and h.verb = 'claim' and h.number < c.number order by h.number desc limit 1)) as legal
           from chain c)
         select format('%s: %s -> %s by %s, number %s, attempt %s -> %s', tasker.step_id(j.task_id, j.step_number), j.from_state, j.to_state, j.verb,
           j.number, j.from_attempt, j.attempt)
         from judged j where j.legal is not true",
    ),
    (
        "a task's transitions are a legal chain, from its submission to its state",
        "with chain as (
           select h.*, lag(h.to_state) over w as from_state, lag(h.paused) over w as from_paused, row_number() over w as place
           from tasker.task_transitions h window w as (partition by h.task_id order by h.number)),
         judged as (
           select c.*, case c.verb
             when 'submit' then c.place = 1 and c.to_state = 'pending' and not c.paused
             when 'claim' then c.from_state = 'pending' and c.to_state = 'in_progress' and c.paused = c.from_paused
             when 'finish' then c.from_state in ('pending', 'in_progress') and c.to_state in ('complete', 'failed') and c.paused = c.from_paused
             when 'cancel' then c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'cancelled'
             when 'resolve' then c.from_state in ('pending', 'in_progress', 'failed') and c.to_state = 'resolved_manually'
               or c.from_state = 'failed' and c.to_state = 'in_progress'
             when 'retry' then c.from_state = 'failed' and c.to_state = 'in_progress'
             when 'pause' then c.from_state in ('pending', 'in_progress') and c.to_state = c.from_state and c.paused and not c.from_paused
             when 'resume' then c.from_state in ('pending', 'in_progress') and c.to_state = c.from_state and not c.paused and c.from_paused
             else false end and (c.place > 1 or c.verb = 'submit') as legal
           from chain c)
         select format('%s: %s -> %s by %s', j.task_id, j.from_state, j.to_state, j.verb) from judged j where j.legal is not true",
    ),
    (
        "every error message belongs to a failed attempt",
        "select e::text from tasker.step_errors e left join tasker.workflow_step_transitions h
           on h.task_id = e.task_id and h.step_number = e.step_number and h.number = e.number where h.to_state is distinct from 'failed'",
    ),
    (
        "an attempt has one end",
        "select format('%s claim %s ended %s times', tasker.step_id(h.task_id, h.step_number), h.claim_id, count(*))
         from tasker.workflow_step_transitions h where h.claim_id is not null and h.verb <> 'claim'
         group by h.task_id, h.step_number, h.claim_id having count(*) > 1",
    ),
];

/// Everything in the database that breaks a promise.
pub async fn violations(session: &mut PgConnection) -> Vec<String> {
    let mut violations = Vec::new();
    for (promise, sql) in INVARIANTS {
        match sqlx::query(AssertSqlSafe(*sql)).fetch_all(&mut *session).await {
            Ok(rows) => {
                violations.extend(rows.iter().take(5).map(|row| format!("{promise}, but: {}", row.get::<String, _>(0))))
            }
            Err(error) => violations.push(format!("{promise}: cannot be asked: {error}")),
        }
    }
    violations
}
