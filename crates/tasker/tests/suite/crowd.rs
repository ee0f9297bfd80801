//! Many who want this and that of the same few tasks at once, ten thousand times: what waits, waits in one order, and nobody is told of a deadlock.

use std::sync::{Arc, Mutex};

use uuid::Uuid;

use crate::support::{
    Chance, Claim, Outcome, Play, Worker, cases,
    contender::{self, REAP},
    seed, with_real_clock,
};

#[test]
fn overlapping_verbs_neither_deadlock_nor_fail() {
    with_real_clock(async |db| {
        let mut play = Play::of(db, "a, b > c; c, d > e[concurrency=2 key=k]; f[concurrency=2 key=k]").await;
        for _ in 0..6 {
            play.live("submit").await;
        }
        let (tasks, mut running) = (Arc::new(Mutex::new(play.tasks.clone())), Vec::new());
        let first = seed();
        for seed in first..first + 6 {
            let worker = Worker::new(db, play.definition.steps.iter().map(|step| step.handler.clone())).await;
            let workflow = play.definition.name.clone();
            running.push(tokio::spawn(wander(db.session().await, worker, tasks.clone(), workflow, seed)));
        }
        for one in running {
            one.await.unwrap();
        }
        let deadlocks: i64 =
            db.value("select deadlocks from pg_stat_database where datname = current_database()").await;
        assert_eq!(deadlocks, 0);
        for verb in [
            "submit",
            "claim",
            "settle",
            "release",
            "cancel",
            "retry",
            "resolve",
            "pause",
            "resume",
            "edit_input",
            "change_limit",
            "reap",
        ] {
            let done: i64 = db.value(&format!("select count(*) from tasker.events e where e.verb = '{verb}'")).await;
            assert!(done > 0, "in all that nobody came to {verb}");
        }
        let kinds: Vec<String> = db.column("select distinct kind from tasker.events").await;
        assert!(kinds.iter().all(|kind| tasker::events::KINDS.contains(&kind.as_str())), "{kinds:?}");
    });
}

/// Does this and that with a few tasks, in batches that overlap with everybody else's.
async fn wander(
    mut session: sqlx::PgConnection,
    worker: Worker,
    tasks: Arc<Mutex<Vec<Uuid>>>,
    workflow: String,
    seed: u64,
) {
    let mut chance = Chance::mixed(seed);
    let mut chance = |of| chance.of(of);
    let mut held: Vec<Claim> = Vec::new();
    sqlx::raw_sql("set deadlock_timeout = '10ms'").execute(&mut session).await.unwrap();
    for _ in 0..cases(1700) {
        let task = tasks.lock().unwrap()[chance(6)];
        let step = tasker::step_id(task, chance(6) as i32);
        let by_hand = |verb: &str| {
            format!("select tasker.{verb}::text").replace('S', &step.to_string()).replace('T', &task.to_string())
        };
        let claims = |from: &str| {
            let column = |of: &dyn Fn(&Claim) -> String| held.iter().map(of).collect::<Vec<_>>().join(", ");
            let (tasks, steps, claims) = (
                column(&|claim| format!("'{}'", claim.task_id)),
                column(&|claim| claim.step_number.to_string()),
                column(&|claim| format!("'{}'", claim.claim_id)),
            );
            format!("select tasker.{from}array[{tasks}]::uuid[], array[{steps}]::int[], array[{claims}]::uuid[]")
        };
        let verb = match chance(24) {
            0 => by_hand("pause_task('T')"),
            1 | 2 => by_hand("resume_task('T')"),
            3 => by_hand("retry_task('T')"),
            4 => by_hand("cancel_step('S')"),
            5 => by_hand("retry_step('S')"),
            6 => by_hand("edit_step_input('S', '1')"),
            7 => by_hand("change_retry_limit('S', 9)"),
            // a worker dies
            8 => format!(
                "update tasker.leases set lease_expires_at = tasker.clock() - interval '1 s' where (task_id, step_number) in (
                   select task_id, step_number from tasker.leases order by md5(step_number || '{}') limit 1 for update skip locked) returning null::text",
                chance(1000)
            ),
            9 => REAP.into(),
            10 => by_hand("resolve_step('S', '1')"),
            11 | 12 => {
                let key = chance(1000);
                let sql = format!("select tasker.submit_task('test', '{workflow}', idempotency_key => '{key}')");
                let task = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut session).await.unwrap();
                tasks.lock().unwrap()[chance(6)] = task;
                continue;
            }
            13 if chance(4) == 0 => by_hand("cancel_task('T')"),
            13 if chance(3) == 0 => by_hand("resolve_task('T')"),
            14 => claims(&format!("heartbeat('{}', ", worker.id)) + ", interval '30 s')::text",
            15 if chance(3) == 0 => {
                let sql = claims("release_steps(") + ")::text";
                held.clear();
                sql
            }
            16 if chance(8) == 0 => contender::register(&workflow, &format!("0.0.{}", chance(20)), "a", "x"),
            _ => {
                // whatever is held, settled in a batch that takes the next ones in the same call
                let ended: Vec<_> = held
                    .drain(..)
                    .map(|claim| (claim, if chance(4) == 0 { Outcome::Fail { retryable: None, delay: Some(0.0) } } else { Outcome::Complete("1".into()) }))
                    .collect();
                let only_task = (chance(3) == 0).then_some(task);
                match worker.exchange(&mut session, &ended, &worker.serves(), 4, only_task).await {
                    Ok(reply) => {
                        assert_eq!(reply.answers.len(), ended.len());
                        held = reply.claimed;
                    }
                    // not locked within a second, on a machine that is busy with other things: sent again
                    Err(error) if sqlstate(&error).as_deref() == Some("55P03") => held = ended.into_iter().map(|(claim, _)| claim).collect(),
                    Err(error) => panic!("{error}"),
                }
                continue;
            }
        };
        if let Err(error) = sqlx::query(sqlx::AssertSqlSafe(verb.clone())).fetch_all(&mut session).await {
            assert!(["TA001", "55P03"].contains(&sqlstate(&error).as_deref().unwrap_or_default()), "{verb}: {error}");
        }
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.to_string())
}
