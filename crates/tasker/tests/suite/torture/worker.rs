//! The processes: a worker, as an application has one, and a zombie, which keeps to none of a worker's manners.

use std::{
    env,
    fs::{File, OpenOptions},
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use sqlx::{PgPool, Row, postgres::PgPoolOptions};
use tasker::{
    Attempt, Handler, Outcome, Settings, StepError, Tasker,
    handlers::{Context, function_with},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Chance, does};

pub const HANDLERS: [&str; 7] = [
    "torture.work",
    "torture.slow",
    "torture.flaky",
    "torture.bank",
    "torture.timer",
    "torture.poison",
    "torture.secret",
];
pub const ZOMBIE: &str = "torture.zombie";
/// How long it holds a step without a heartbeat.
pub const LEASE: Duration = Duration::from_secs(1);
pub const ROLE: &str = "TASKER_TORTURE_ROLE";
pub const URL: &str = "TASKER_TORTURE_URL";
pub const LOG: &str = "TASKER_TORTURE_LOG";
/// Of a thousand attempts, how many kill their process at each of the chosen moments.
pub const DEADLY: &str = "TASKER_TORTURE_DEADLY";
/// The seed of its deaths.
pub const FATE: &str = "TASKER_TORTURE_FATE";
/// What must stand nowhere.
pub const CANARY: &str = "cAnArY-0815-4711";

/// A process of the torture; for whoever else calls it, nothing.
#[test]
fn a_process() {
    let Ok(role) = env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (url, log) = (env::var(URL).unwrap(), Log::open());
        match role.as_str() {
            "worker" => serve(&url, log).await,
            _ => roam(&url, log).await,
        }
    });
}

/// The witness: a line for each thing that happened, in one write each, outside of the database.
#[derive(Clone)]
struct Log {
    file: Arc<File>,
    deadly: usize,
    chance: Arc<Mutex<Chance>>,
}

impl Log {
    fn open() -> Log {
        let file = OpenOptions::new().append(true).create(true).open(env::var(LOG).unwrap()).unwrap();
        let number = |name: &str| env::var(name).unwrap().parse().unwrap();
        Log {
            file: Arc::new(file),
            deadly: number(DEADLY) as usize,
            chance: Arc::new(Mutex::new(Chance::mixed(number(FATE)))),
        }
    }

    fn says(&self, what: &str, step: Uuid, claim: Uuid, attempt: u32) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let line = format!("{now} {what} {step} {claim} {attempt}\n");
        (&*self.file).write_all(line.as_bytes()).unwrap();
    }

    fn may_die(&self, moment: &str, attempt: &Attempt) {
        if self.chance.lock().unwrap().of(1000) < self.deadly {
            self.says(moment, attempt.workflow_step_id, attempt.claim_id, attempt.number);
            die();
        }
    }
}

/// No destructor runs, nothing is told to anybody.
fn die() -> ! {
    let me = rustix::process::getpid();
    let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    std::process::abort()
}

/// An effect in the world outside, in the middle of which one can die.
async fn effect(log: &Log, attempt: &Attempt, time: Duration) {
    log.may_die("dies-claimed", attempt);
    log.says("begin", attempt.workflow_step_id, attempt.claim_id, attempt.number);
    tokio::time::sleep(time).await;
    log.may_die("dies-midway", attempt);
    log.says("end", attempt.workflow_step_id, attempt.claim_id, attempt.number);
}

async fn serve(url: &str, log: Log) {
    let Ok(tasker) = Tasker::connect(url).await else { return };
    for name in HANDLERS {
        tasker.handle(name, handler(name, log.clone(), tasker.store().pool().clone()));
    }
    let settings =
        Settings { concurrency: 20, lease: LEASE, poll_interval: Duration::from_millis(200), ..Settings::default() };
    // a database that is away for long is the parent's matter: it starts another
    let _ = tasker.worker(settings).run(CancellationToken::new()).await;
}

fn handler(name: &'static str, log: Log, pool: PgPool) -> Arc<dyn Handler> {
    if name == "torture.bank" {
        return function_with((log, pool), async |cx: Context<Value, (Log, PgPool)>| {
            let (log, pool) = &cx.state;
            effect(log, &cx, Duration::from_millis(5)).await;
            let mut transaction = pool.begin().await?;
            sqlx::query("insert into bank.effects values ($1)")
                .bind(cx.workflow_step_id)
                .execute(&mut *transaction)
                .await?;
            cx.commit(transaction, json!({ "claim": cx.claim_id })).await
        });
    }
    does(move |attempt| {
        let log = log.clone();
        async move {
            let time = if name == "torture.slow" { 300 } else { 5 };
            effect(&log, &attempt, Duration::from_millis(time)).await;
            let chance = attempt.claim_id.as_u128() % 10;
            match name {
                "torture.flaky" if chance < 3 => Err(StepError::new("it does not feel like it")),
                "torture.timer" if attempt.timer.is_none() => Ok(Outcome::WaitFor(Duration::from_millis(200))),
                "torture.secret" if chance < 5 => Err(StepError::new(format!("no entry with {}", attempt.with["key"]))),
                "torture.secret" => {
                    Outcome::complete(&json!({ "claim": attempt.claim_id, "key": attempt.with["key"] }))
                }
                "torture.poison" => {
                    log.says("dies-poisoned", attempt.workflow_step_id, attempt.claim_id, attempt.number);
                    die()
                }
                _ => Outcome::complete(&json!({ "claim": attempt.claim_id })),
            }
        }
    })
}

/// Claims, takes its time, sends no heartbeat, and settles whether it still holds the step or not.
async fn roam(url: &str, log: Log) {
    let Ok(pool) = PgPoolOptions::new().max_connections(1).connect(url).await else { return };
    let id = Uuid::new_v4();
    let register = sqlx::query_scalar("select tasker.register_worker($1, array[$2], 'a zombie')").bind(id).bind(ZOMBIE);
    let Ok(handlers) = register.fetch_one(&pool).await else { return };
    let handlers: Vec<i32> = handlers;
    let mut held: Vec<(Uuid, i32, Uuid)> = Vec::new();
    loop {
        let rows = sqlx::query(
            "select x.answers, x.task_id, x.step_number, x.claim_id, x.attempt from tasker.exchange(
               by_worker => $1, s_tasks => $2, s_steps => $3, s_claims => $4, outcomes => array_fill('complete'::text, array[cardinality($3::int[])]),
               payloads => $5, error_kinds => array_fill(null::text, array[cardinality($3)]), retryables => array_fill(null::boolean, array[cardinality($3)]),
               delays => array_fill(null::float8, array[cardinality($3)]), instants => array_fill(null::timestamptz, array[cardinality($3)]),
               handlers => $6, lanes => array[1::smallint], positions => array['-infinity'::timestamptz], keys => array[''], capacity => 5,
               lease => interval '1 s') x",
        )
        .bind(id)
        .bind(held.iter().map(|(task, ..)| *task).collect::<Vec<_>>())
        .bind(held.iter().map(|(_, step, _)| *step).collect::<Vec<_>>())
        .bind(held.iter().map(|(.., claim)| *claim).collect::<Vec<_>>())
        .bind(held.iter().map(|(.., claim)| json!({ "claim": claim }).to_string()).collect::<Vec<_>>())
        .bind(&handlers)
        .fetch_all(&pool)
        .await;
        let Ok(rows) = rows else {
            // nobody knows; it is sent again, as long as the database is back one day
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let mut claimed = Vec::new();
        for row in rows {
            match row.get::<Option<Uuid>, _>("claim_id") {
                None => {
                    let answers: Vec<String> = row.get::<Option<_>, _>("answers").unwrap_or_default();
                    for ((task, step, claim), answer) in held.iter().zip(answers) {
                        log.says(&answer, tasker::step_id(*task, *step), *claim, std::process::id());
                    }
                }
                Some(claim) => {
                    let (task, step): (Uuid, i32) = (row.get("task_id"), row.get("step_number"));
                    log.says("begin", tasker::step_id(task, step), claim, row.get::<i32, _>("attempt") as u32);
                    claimed.push((task, step, claim));
                }
            }
        }
        held = claimed;
        tokio::time::sleep(Duration::from_millis(if held.is_empty() { 20 } else { 500 })).await;
        for (task, step, claim) in &held {
            log.says("end", tasker::step_id(*task, *step), *claim, 0);
        }
    }
}
