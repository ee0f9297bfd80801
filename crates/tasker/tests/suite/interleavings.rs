//! Every verb against every verb, and against a migration. The first stands still before its commit, the second runs into it; afterwards the task
//! is as one of the two orders, one after the other, would have left it. Who waits for whom stands in `meetings/`, a line for each first verb.

use std::{collections::HashMap, fmt::Write, iter, time::Duration};

use expect_test::{ExpectFile, expect_file};
use sqlx::{AssertSqlSafe, Connection};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{
    Chance, Claim, Outcome, Play, TestDatabase, cases,
    contender::{self, Contender, Ring},
    seed, with_database, with_real_clock,
};

/// Verbs over the step s or its task, by the worker that holds s or by somebody else.
const VERBS: [&str; 25] = [
    "claim",
    "claim of the task",
    "complete",
    "complete and take",
    "fail",
    "wait",
    "release",
    "heartbeat",
    "adopt",
    "reap",
    "s:cancel",
    "s:retry",
    "s:resolve",
    "s:edit",
    "s:limit",
    "task:cancel",
    "task:retry",
    "task:pause",
    "task:resume",
    "task:resolve",
    "submit",
    "submit again",
    "submit both",
    "register",
    "register the worker",
];

/// These pass over what somebody has locked, as if it were not there.
const PASS_OVER: [&str; 5] = ["claim", "claim of the task", "heartbeat", "adopt", "reap"];

/// What came before, and how the task was submitted.
type Situation = (&'static str, &'static str);

const DUE: Situation = ("p:complete", "unique=k");
const RUNNING: Situation = ("p:complete s:in_progress", "unique=k");
const OVERDUE: Situation = ("p:complete s:in_progress +31s", "unique=k,deadline=10s");
const PAUSED: Situation = ("p:complete s:asked(10s) +10s task:pause", "unique=k");
const DEAD: Situation = ("z:complete p:complete s:fatal", "unique=k");

#[test]
fn verbs_that_meet_over_a_step_that_is_due() {
    all_pairs(DUE, expect_file!["meetings/due.txt"]);
}

#[test]
fn verbs_that_meet_over_a_running_step() {
    all_pairs(RUNNING, expect_file!["meetings/running.txt"]);
}

#[test]
fn verbs_that_meet_over_a_running_step_whose_lease_and_deadline_have_passed() {
    all_pairs(OVERDUE, expect_file!["meetings/overdue.txt"]);
}

#[test]
fn verbs_that_meet_over_a_step_that_waits_for_its_retry_in_a_paused_task() {
    all_pairs(PAUSED, expect_file!["meetings/paused.txt"]);
}

#[test]
fn verbs_that_meet_over_a_dead_step_in_a_failed_task() {
    all_pairs(DEAD, expect_file!["meetings/dead.txt"]);
}

/// Some of the 78,125 meetings of three, others in each run.
#[test]
fn three_verbs_that_meet() {
    with_database(async |db| {
        let (seed, cases) = (seed(), cases(100));
        let mut chance = Chance::mixed(seed);
        let mut ring = Ring::new(db).await;
        let mut third = Contender::new(db).await;
        for number in 0..cases {
            let situation = [DUE, RUNNING, OVERDUE, PAUSED, DEAD][number % 5];
            let mut stage = Stage { play: Play::of(db, "p > s > c; z").await, situation };
            let verbs: Vec<&str> = (0..3).map(|_| VERBS[chance.of(VERBS.len())]).collect();
            let scene = stage.set().await;
            let sql: Vec<String> = verbs.iter().map(|verb| stage.statement(&scene, verb)).collect();
            let (said, again, three) = ring.meet_three(db, third, &sql).await;
            (ring, third) = (again, three);
            let picture = stage.clear().await;
            // who passes over what is locked, or gave up, may as well not have come
            let may_be_absent = |n: &usize| {
                PASS_OVER.contains(&verbs[*n]) || said[*n].as_ref().is_err_and(|code| code == "lock_not_available")
            };
            let mut orders = Vec::new();
            let mut explained = false;
            for order in orders_of_three().filter(|order| (0..3).all(|n| order.contains(&n) || may_be_absent(&n))) {
                let scene = stage.set().await;
                for n in &order {
                    let _ = third.run(&stage.statement(&scene, verbs[*n])).await;
                }
                let serial = stage.clear().await;
                explained = serial == picture;
                orders.push(format!("{order:?}:\n{serial}"));
                if explained {
                    break;
                }
            }
            assert!(
                explained,
                "seed {seed}, {situation:?}: {verbs:?} ({said:?}) ended like no order of them:\n{picture}{}",
                orders.join("\n")
            );
        }
    });
}

/// All orders of all or some of three.
fn orders_of_three() -> impl Iterator<Item = Vec<usize>> {
    let three = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    (1..=3).rev().flat_map(move |length| three.into_iter().map(move |order| order[..length].to_vec()))
}

fn all_pairs(situation: Situation, waits: ExpectFile) {
    with_database(async |db| {
        let mut stage = Stage { play: Play::of(db, "p > s > c; z").await, situation };
        let mut ring = Ring::new(db).await;
        let mut serial = HashMap::new();
        for first in VERBS {
            for second in iter::once("").chain(VERBS) {
                let scene = stage.set().await;
                let _ = ring.one_by_one(&stage.statement(&scene, first), &stage.statement(&scene, second)).await;
                serial.insert((first, second), stage.clear().await);
            }
        }
        let (mut strange, mut who_waits) = (Vec::new(), String::new());
        for first in VERBS {
            let mut waited_for = Vec::new();
            for second in VERBS {
                let scene = stage.set().await;
                let (one, other) = (stage.statement(&scene, first), stage.statement(&scene, second));
                let (said, answer, waited, again) = ring.meet(db, &one, "commit", &other).await;
                ring = again;
                if waited {
                    waited_for.push(second);
                }
                let picture = stage.clear().await;
                let gave_up = answer.as_ref().is_err_and(|code| code == "lock_not_available");
                let passes = (PASS_OVER.contains(&second) || gave_up) && picture == serial[&(first, "")];
                if picture != serial[&(first, second)] && picture != serial[&(second, first)] && !passes {
                    strange.push(format!(
                        "{first} ({said:?}), then {second} ({answer:?}, waited: {waited}):\n{picture}in this order:\n{}in the other:\n{}",
                        serial[&(first, second)],
                        serial[&(second, first)]
                    ));
                }
            }
            let others = if waited_for.is_empty() { "nobody".into() } else { waited_for.join(", ") };
            writeln!(who_waits, "{first}: {others}").unwrap();
        }
        let shown: Vec<_> = strange.iter().take(5).map(String::as_str).collect();
        assert!(
            strange.is_empty(),
            "{} of {} meetings end like no order of the two:\n{}",
            strange.len(),
            VERBS.len().pow(2),
            shown.join("\n")
        );
        waits.assert_eq(&format!("For whom stands before its commit there wait:\n{who_waits}"));
    });
}

/// Where a migration stops, shortly before its commit.
const GATE: &str = "
    create function tasker_test.stop() returns event_trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(4242); end $$;
    create event trigger at_the_end on ddl_command_end when tag in ('REVOKE') execute function tasker_test.stop()";

/// Whoever comes first: the verb is carried out once, and the migration to its end. A caller whose functions go away under him is told so, and sends again,
/// as workers do.
#[test]
fn verbs_that_meet_a_migration() {
    with_real_clock(async |db| {
        db.run(&format!("create schema if not exists tasker_test; {GATE}")).await;
        let mut gatekeeper = db.session().await;
        for verb in VERBS {
            let situation = match verb {
                "claim" | "task:pause" | "s:edit" | "submit" => DUE,
                "s:retry" | "s:resolve" | "task:retry" => DEAD,
                _ => RUNNING,
            };
            let mut stage = Stage { play: Play::of(db, "p > s > c; z").await, situation };
            let scene = stage.set().await;
            db.value::<Option<String>>(&stage.statement(&scene, verb)).await;
            let alone = stage.clear().await;
            for verb_is_first in [true, false] {
                let scene = stage.set().await;
                let sql = stage.statement(&scene, verb);
                db.run("update tasker.schema_objects set content_hash = 'of an older version'").await;
                let store = db.another_store().await;
                let migration = async move { store.migrate().await.unwrap() };
                let mut session = db.session().await;
                if verb_is_first {
                    let mut tx = session.begin().await.unwrap();
                    sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *tx).await.unwrap();
                    let migration = tokio::spawn(migration);
                    stand_still(db, 1, &migration).await;
                    tx.commit().await.unwrap();
                    assert!(migration.await.unwrap().replaced, "{verb}");
                } else {
                    sqlx::raw_sql("select pg_advisory_lock(4242)").execute(&mut gatekeeper).await.unwrap();
                    let migration = tokio::spawn(migration);
                    stand_still(db, 1, &migration).await;
                    let verb = tokio::spawn(async move {
                        let gone = |error: &sqlx::Error| {
                            let code = error.as_database_error().and_then(|error| error.code());
                            // what it calls or reads has been replaced, or it has waited for a second
                            ["XX000", "42883", "42P01", "55P03"].contains(&code.as_deref().unwrap_or_default())
                        };
                        let mut sent = 1;
                        while let Err(error) = sqlx::query(AssertSqlSafe(sql.clone())).fetch_all(&mut session).await {
                            assert!(gone(&error) && sent < 5, "{sql}: {error}");
                            sent += 1;
                        }
                        sent
                    });
                    stand_still(db, 2, &verb).await;
                    sqlx::raw_sql("select pg_advisory_unlock(4242)").execute(&mut gatekeeper).await.unwrap();
                    assert!(migration.await.unwrap().replaced);
                    println!("sent {} times", verb.await.unwrap());
                }
                assert_eq!(stage.clear().await, alone, "{verb}, first: {verb_is_first}");
            }
        }
    });
}

/// Until so many sessions of this database wait for a lock, or what the last one does is done.
async fn stand_still<T>(db: &TestDatabase, how_many: i64, last: &JoinHandle<T>) {
    const WAITING: &str =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while !last.is_finished() && db.value::<i64>(WAITING).await < how_many {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Where the verbs meet: each time a new task, brought to the same point.
struct Stage<'a> {
    play: Play<'a>,
    situation: Situation,
}

/// One task, and the last claim of its step s.
struct Scene {
    task: Uuid,
    claim: Claim,
}

impl Stage<'_> {
    /// A new task, in the situation in which the verbs meet.
    async fn set(&mut self) -> Scene {
        self.play.tasks.clear();
        self.play.claims.clear();
        let (history, how) = self.situation;
        self.play.live(&format!("submit({how})")).await;
        self.play.live(history).await;
        let task = self.play.task();
        let claims: Vec<Uuid> = self
            .play
            .db
            .column(&format!("select claim_id from tasker.workflow_step_transitions where task_id = '{task}' and step_number = 1 and verb = 'claim' order by number desc limit 1"))
            .await;
        let claim_id = claims.first().copied().unwrap_or_else(Uuid::new_v4);
        Scene { task, claim: Claim { task_id: task, step_number: 1, attempt: 1, claim_id, timer: None } }
    }

    /// How the task stands, nothing in it diverging; then it goes out of the way of the next one.
    async fn clear(&mut self) -> String {
        self.play.live("").await;
        let mut picture = self.play.picture().await;
        // and those that were submitted in its place
        let others: i64 = self.play.db.value("select count(*) from tasker.unique_live_keys").await;
        picture += &format!("live under its key: {others}\n");
        let again: i64 = self
            .play
            .db
            .value("select count(*) from tasker.tasks k where k.state = 'pending' and k.unique_key is null")
            .await;
        picture += &format!("submitted again: {again}\n");
        for task in self
            .play
            .db
            .column::<Uuid>(
                "select task_id from tasker.tasks where state not in ('complete', 'cancelled', 'resolved_manually')",
            )
            .await
        {
            self.play.db.cancel_task(task, Default::default()).await.unwrap();
        }
        picture
    }

    fn statement(&self, scene: &Scene, verb: &str) -> String {
        let (worker, task) = (&self.play.worker, scene.task);
        let s = tasker::step_id(task, 1);
        let settle = |outcome: Outcome| contender::settle(worker, &scene.claim, &outcome);
        match verb {
            "claim" => contender::claim(Uuid::new_v4(), worker.handler(&self.play.definition.steps[1].handler), 5),
            "claim of the task" => {
                contender::claim_of(task, Uuid::new_v4(), worker.handler(&self.play.definition.steps[1].handler), 5)
            }
            "complete" => settle(Outcome::Complete("1".into())),
            "complete and take" => {
                let child = worker.handler(&self.play.definition.steps[2].handler);
                contender::complete_and_take(worker, &scene.claim, child)
            }
            "fail" => settle(Outcome::Fail { retryable: Some(false), delay: None }),
            "wait" => settle(Outcome::Wait(chrono::DateTime::UNIX_EPOCH)),
            "release" => contender::release(&scene.claim),
            "heartbeat" => contender::beat(worker.id, &scene.claim),
            "adopt" => contender::adopt(worker.id),
            "reap" => contender::REAP.into(),
            "s:cancel" => format!("select tasker.cancel_step('{s}')::text"),
            "s:retry" => format!("select tasker.retry_step('{s}')::text"),
            "s:resolve" => format!("select tasker.resolve_step('{s}', '1')::text"),
            "s:edit" => format!("select tasker.edit_step_input('{s}', '1')::text"),
            "s:limit" => format!("select tasker.change_retry_limit('{s}', 1)::text"),
            "task:cancel" => format!("select tasker.cancel_task('{task}')::text"),
            "task:retry" => format!("select tasker.retry_task('{task}')::text"),
            "task:pause" => format!("select tasker.pause_task('{task}')::text"),
            "task:resume" => format!("select tasker.resume_task('{task}')::text"),
            "task:resolve" => format!("select tasker.resolve_task('{task}')::text"),
            // under the key that the task holds while it is live
            "submit" => format!(
                "select (tasker.submit_task('test', '{}', unique_while_live => 'k') = '{task}')::text",
                self.play.definition.name
            ),
            // under a key that nobody has used before; whoever comes second is given the first's
            "submit again" => format!(
                "select (tasker.submit_task('test', '{}', idempotency_key => '{task}') = '{task}')::text",
                self.play.definition.name
            ),
            // the two in one call of the engine
            "submit both" => {
                contender::submit_many(self.play.named_task_id, &[("null", "'k'"), (&format!("'{task}'"), "null")])
            }
            // a version with a step of the same name, whose handler has a limit from then on
            "register" => contender::register(
                &self.play.definition.name,
                &task.to_string(),
                "s",
                &self.play.definition.steps[1].handler,
            ),
            "register the worker" => contender::register_worker(worker.id, &self.play.definition.steps[1].handler),
            "" => "select null::text".into(),
            other => panic!("{other} is no verb"),
        }
    }
}
