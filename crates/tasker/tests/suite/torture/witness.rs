//! What the effects say, which were written down outside of the database, beside what the database says.

use std::collections::{HashMap, HashSet};

use sqlx::Connection;
use uuid::Uuid;

use super::{faults::Torture, worker};
use crate::support::violations;

/// What fails, what comes of it, and how soon work goes on, in terms of a lease L. The first word is what is counted.
const MATRIX: &[(&str, &str, &str, &str)] = &[
    (
        "workers killed",
        "a worker's process is killed, at any instruction",
        "its attempts have failed (`lease_expired`) and are tried again; everything else goes on",
        "L + 1 s",
    ),
    (
        "workers killed behind a pooler",
        "it dies behind a pooler in session mode",
        "the pooler ends or cleans its session; the same",
        "L + 1 s",
    ),
    (
        "killed after the claim's commit",
        "it dies after the claim, before it has done anything",
        "the attempt counts, and the step is tried again",
        "L + 1 s",
    ),
    (
        "killed in the middle of an effect",
        "it dies in the middle of an effect",
        "the effect is begun again, with the same idempotency key",
        "L + 1 s",
    ),
    (
        "killed before the reply to their exchange",
        "it dies before it hears that its results are recorded",
        "they are recorded once; what the lost reply gave it is tried again",
        "L + 1 s",
    ),
    (
        "killed after the reply to their exchange",
        "it dies as soon as it has heard it",
        "they are recorded once; what it was given is tried again",
        "L + 1 s",
    ),
    (
        "steps that ran out of attempts",
        "a step kills every worker that runs it",
        "it ends as `retries_exhausted`; the other steps go on",
        "attempts * (L + 1 s)",
    ),
    (
        "pauses with stale settlements refused",
        "a process is stopped for longer than its lease, and goes on",
        "what it hands in late is refused (`lease_lost`) and changes nothing",
        "L + 1 s",
    ),
    (
        "exchanges cut",
        "a connection is cut before, while or after a call is done",
        "the call is made again: it happens once, with one answer",
        "at once",
    ),
    ("sessions terminated", "sessions are terminated", "the same", "at once"),
    (
        "roads that fell silent",
        "the network falls silent",
        "the worker stops its steps before their leases end, and others go on",
        "L + 1 s",
    ),
    (
        "times without notifications",
        "notifications are off, and listeners hear nothing",
        "workers ask by themselves",
        "the poll interval (1 s)",
    ),
    (
        "server stops",
        "the server stops without a warning, and starts again",
        "workers wait for it; what was committed is there",
        "when it is back",
    ),
    (
        "submissions whose outcome nobody knew",
        "a submitter does not hear what became of its submission",
        "it submits again under the same key, and there is one task",
        "at once",
    ),
    (
        "tasks cancelled, paused or retried by hand",
        "a person cancels, pauses, resumes or retries meanwhile",
        "it holds from the answer on",
        "at once",
    ),
];

/// The matrix with what a run has come to, as the guide has it.
pub fn matrix(torture: &Torture, time: std::time::Duration) -> String {
    let n = |what: &str| torture.counted(what);
    let mut told = format!(
        "A run of {} minutes, with leases of {:?} and the server away for a while every few seconds: {} tasks, {} attempts. From the death of a worker \
         until its step could run again: {} ms (median), {} ms (at most).\n\n",
        time.as_secs() / 60,
        worker::LEASE,
        n("tasks"),
        n("attempts"),
        n("ms from a death until its step may run again, median"),
        n("ms from a death until its step may run again, at most"),
    );
    told += "| what fails | what happens | how soon it goes on | times in this run |\n|---|---|---|---|\n";
    for (what, fails, happens, soon) in MATRIX {
        told += &format!("| {fails} | {happens} | {soon} | {} |\n", n(what));
    }
    format!("<!-- torture -->\n{told}<!-- end -->")
}

struct Line {
    at: i64,
    what: String,
    step: Uuid,
    claim: Uuid,
    /// The attempt's; of an answer the process's that heard it.
    number: u32,
}

/// Everything that is not as it was promised.
pub async fn check(torture: &Torture) -> Vec<String> {
    let pool = torture.tasker.store().pool();
    let mut session = sqlx::PgConnection::connect_with(&torture.options).await.unwrap();
    let mut broken = violations(&mut session).await;
    let log = std::fs::read_to_string(torture.log()).unwrap();
    let lines: Vec<Line> = log.lines().map(read).collect();
    tell(torture, &lines).await;

    // what was accepted is there, once, and has ended
    let keys: Vec<(String, Uuid)> =
        sqlx::query_as("select idempotency_key, task_id from tasker.idempotency_keys").fetch_all(pool).await.unwrap();
    let accepted = torture.accepted.lock().unwrap().clone();
    let keys: HashMap<String, Uuid> = keys.into_iter().collect();
    for (key, task) in &accepted {
        if keys.get(key) != Some(task) {
            broken.push(format!("key {key} was accepted as task {task}, and is {:?}", keys.get(key)));
        }
    }
    let tasks: Vec<Uuid> = sqlx::query_scalar("select task_id from tasker.tasks").fetch_all(pool).await.unwrap();
    let tasks: HashSet<Uuid> = tasks.into_iter().collect();
    broken.extend(
        accepted
            .iter()
            .filter(|(_, task)| !tasks.contains(task))
            .map(|(key, task)| format!("task {task} of {key} is lost")),
    );
    // whoever stopped asking may have submitted without knowing it; nobody else has
    if tasks.len() > keys.len() {
        broken.push(format!("{} tasks of {} keys", tasks.len(), keys.len()));
    }

    // every effect belongs to a claim that the database knows, of this very step
    let claims: Vec<(Uuid, Uuid, i64)> = sqlx::query_as(
        "select h.claim_id, tasker.step_id(h.task_id, h.step_number), (extract(epoch from h.at) * 1000000)::bigint
         from tasker.workflow_step_transitions h where h.verb = 'claim'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let claims: HashMap<Uuid, (Uuid, i64)> = claims.into_iter().map(|(claim, step, at)| (claim, (step, at))).collect();
    let begun: HashSet<Uuid> = lines.iter().filter(|line| line.what == "begin").map(|line| line.claim).collect();
    for line in lines.iter().filter(|line| line.what == "begin") {
        match claims.get(&line.claim) {
            Some((step, at)) if *step == line.step && *at <= line.at => {}
            other => broken.push(format!("claim {} of step {} had an effect, and is {other:?}", line.claim, line.step)),
        }
    }
    if begun.len() != lines.iter().filter(|line| line.what == "begin").count() {
        broken.push("a claim was begun twice".into());
    }

    // a result belongs to an attempt that came to its end, and names the claim that was settled
    let ended: HashSet<Uuid> = lines.iter().filter(|line| line.what == "end").map(|line| line.claim).collect();
    let results: Vec<(Uuid, Uuid, String)> = sqlx::query_as(
        "select tasker.step_id(r.task_id, r.step_number), h.claim_id, r.result->>'claim' from tasker.step_results r
         join tasker.workflow_step_transitions h on h.task_id = r.task_id and h.step_number = r.step_number and h.to_state = 'complete'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    for (step, claim, named) in &results {
        if *named != claim.to_string() {
            broken.push(format!("step {step} has the result of claim {named}, and claim {claim} was settled"));
        }
        if !ended.contains(claim) {
            broken.push(format!("step {step} has a result of claim {claim}, whose effect never came to its end"));
        }
    }

    // nobody starts more often than permitted, in each generation; a timer gives its attempt back
    let limits: Vec<(Uuid, i32, i32, i64)> = sqlx::query_as(
        "select s.workflow_step_id, s.retry_limit, s.attempts, (select count(*) from tasker.workflow_step_transitions h
           where h.task_id = s.task_id and h.step_number = s.step_number and h.verb = 'settle' and h.to_state = 'pending')
         from tasker.workflow_steps s",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut starts: HashMap<Uuid, i64> = HashMap::new();
    for line in lines.iter().filter(|line| line.what == "begin") {
        *starts.entry(line.step).or_default() += 1;
    }
    for (step, limit, attempts, timers) in limits {
        let starts = starts.get(&step).copied().unwrap_or_default();
        if attempts > limit || starts > i64::from(attempts) + timers {
            broken.push(format!(
                "step {step} started {starts} times, {attempts} of {limit} attempts and {timers} timers"
            ));
        }
    }

    // nobody ends another's attempt: who never fails has not failed, and no lease is taken away before its time
    for (what, sql) in [
        (
            "an attempt of a handler that never fails",
            "select format('%s %s', s.workflow_step_id, t.error_kind) from tasker.workflow_step_transitions t
             join tasker.workflow_steps s on s.task_id = t.task_id and s.step_number = t.step_number
             join tasker.handlers n on n.handler_id = s.handler_id and n.name in ('torture.work', 'torture.slow', 'torture.zombie')
             where t.verb = 'settle' and t.to_state = 'failed' and t.error_kind is distinct from 'database'",
        ),
        (
            "a lease that was reaped before it could expire",
            "select tasker.step_id(r.task_id, r.step_number) || ' after ' || (r.at - c.at) from tasker.workflow_step_transitions r
             join tasker.workflow_step_transitions c on c.task_id = r.task_id and c.step_number = r.step_number and c.claim_id = r.claim_id and c.verb = 'claim'
             where r.verb = 'reap' and r.at < c.at + interval '1 s'",
        ),
    ] {
        let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await.unwrap();
        broken.extend(rows.into_iter().map(|row| format!("{what}: {row}")));
    }

    // no effect begins before the parents are satisfied
    let released: Vec<(Uuid, i64)> = sqlx::query_as(
        "select tasker.step_id(k.task_id, e.to_step), (extract(epoch from max(h.at)) * 1000000)::bigint
         from tasker.tasks k join tasker.named_task_edges e on e.named_task_id = k.named_task_id
         left join tasker.workflow_step_transitions h on h.task_id = k.task_id and h.step_number = e.from_step and h.to_state in ('complete', 'skipped', 'resolved_manually')
         group by 1 having count(h.at) = count(*)",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let released: HashMap<Uuid, i64> = released.into_iter().collect();
    let children: Vec<Uuid> = sqlx::query_scalar(
        "select distinct tasker.step_id(k.task_id, e.to_step) from tasker.tasks k join tasker.named_task_edges e on e.named_task_id = k.named_task_id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let children: HashSet<Uuid> = children.into_iter().collect();
    for line in lines.iter().filter(|line| line.what == "begin" && children.contains(&line.step)) {
        if released.get(&line.step).is_none_or(|at| *at > line.at) {
            broken.push(format!("step {} had an effect before its parents were satisfied", line.step));
        }
    }

    // the effect in the database itself: exactly once
    let effects: Vec<String> = sqlx::query_scalar(
        "select format('%s: %s effects of a step that is %s', s.workflow_step_id, count(e.step), s.state) from tasker.workflow_steps s
         left join bank.effects e on e.step = s.workflow_step_id
         join tasker.handlers h on h.handler_id = s.handler_id and h.name = 'torture.bank'
         group by s.workflow_step_id, s.state having count(e.step) <> (s.state = 'complete')::int",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    broken.extend(effects);

    // nothing is left open, nothing was told that is a secret
    for (what, sql) in [
        (
            "a session in a transaction",
            "select a::text from pg_stat_activity a where a.datname = current_database() and a.state like 'idle in transaction%'",
        ),
        (
            "an advisory lock",
            "select l::text from pg_locks l where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())",
        ),
        (
            "a deadlock",
            "select d.deadlocks::text from pg_stat_database d where d.datname = current_database() and d.deadlocks > 0",
        ),
    ] {
        let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await.unwrap();
        broken.extend(rows.into_iter().map(|row| format!("{what}: {row}")));
    }
    let leaks: i64 = sqlx::query_scalar(
        "select count(*) from (select e.error as text from tasker.step_errors e union all select r.result::text from tasker.step_results r) t where t.text like '%' || $1 || '%'",
    )
    .bind(worker::CANARY)
    .fetch_one(pool)
    .await
    .unwrap();
    if leaks > 0 || torture.said().contains(worker::CANARY) {
        broken.push(format!("the secret stands in {leaks} rows, or in what workers have said"));
    }
    if torture.said().contains("panicked") {
        broken.push(format!("a worker has panicked: {}", torture.said()));
    }
    broken
}

fn read(line: &str) -> Line {
    let words: Vec<&str> = line.split(' ').collect();
    let [at, what, step, claim, number] = words[..] else { panic!("not a line of the log: {line}") };
    Line {
        at: at.parse().unwrap(),
        what: what.into(),
        step: step.parse().unwrap(),
        claim: claim.parse().unwrap(),
        number: number.parse().unwrap(),
    }
}

/// The greatest time from a death until its step may run again, in milliseconds: the lease, a second, what the server is away, and a busy machine's own delays.
const RECOVERED: i64 = 10_000;

/// How long it took from a death until others could go on with what it held: the median and the greatest, in milliseconds.
async fn recoveries(torture: &Torture, lines: &[Line]) -> (i64, i64) {
    let deaths: HashMap<Uuid, i64> =
        lines.iter().filter(|line| line.what.starts_with("dies-")).map(|line| (line.claim, line.at)).collect();
    let ends: Vec<(Uuid, i64)> = sqlx::query_as(
        "select h.claim_id, (extract(epoch from h.at) * 1000000)::bigint from tasker.workflow_step_transitions h where h.verb = 'reap'",
    )
    .fetch_all(torture.tasker.store().pool())
    .await
    .unwrap();
    let mut times: Vec<i64> =
        ends.into_iter().filter_map(|(claim, at)| Some((at - deaths.get(&claim)?) / 1000)).collect();
    times.sort();
    (times.get(times.len() / 2).copied().unwrap_or_default(), times.last().copied().unwrap_or_default())
}

/// What the run has come to.
async fn tell(torture: &Torture, lines: &[Line]) {
    let pool = torture.tasker.store().pool();
    let lines_that = |what: &str| lines.iter().filter(|line| line.what == what).count() as u64;
    torture.set("killed after the claim's commit", lines_that("dies-claimed"));
    torture.set("killed in the middle of an effect", lines_that("dies-midway"));
    torture.set("settlements handed in late and refused", lines_that("lease_lost"));
    // a pause of one zombie: its refusals come in one call, and are written down one after the other
    let mut refused: Vec<(u32, i64)> =
        lines.iter().filter(|line| line.what == "lease_lost").map(|line| (line.number, line.at)).collect();
    refused.sort();
    let is_same = |one: &(u32, i64), next: &(u32, i64)| one.0 == next.0 && next.1 - one.1 < 100_000;
    torture.set("pauses with stale settlements refused", refused.chunk_by(is_same).count() as u64);
    let (median, most) = recoveries(torture, lines).await;
    assert!(most < RECOVERED, "a dead worker's step could run again only {most} ms after its death");
    torture.set("ms from a death until its step may run again, median", median as u64);
    torture.set("ms from a death until its step may run again, at most", most as u64);
    for (what, sql) in [
        ("leases that expired", "select count(*) from tasker.workflow_step_transitions where verb = 'reap'"),
        (
            "steps that ran out of attempts",
            "select count(*) from tasker.step_readiness_statuses where blocking_reason = 'retries_exhausted'",
        ),
        ("tasks complete", "select count(*) from tasker.tasks where state = 'complete'"),
        ("tasks", "select count(*) from tasker.tasks"),
        ("attempts", "select count(*) from tasker.workflow_step_transitions where verb = 'claim'"),
    ] {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
        torture.set(what, count as u64);
    }
}
