//! Every verb against every verb. The first stands still before its commit, the second runs into it; afterwards the task is
//! as one of the two orders, one after the other, would have left it.

use std::{collections::HashMap, iter};

use uuid::Uuid;

use crate::support::{
    Chance, Claim, Outcome, Play, cases,
    contender::{self, Contender, Ring},
    seed, with_database,
};

/// Verbs over the step s or its task, by the worker that holds s or by somebody else.
const VERBS: [&str; 19] = [
    "claim",
    "complete",
    "complete and take",
    "fail",
    "wait",
    "release",
    "heartbeat",
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
    "submit",
    "submit again",
];

/// These pass over what somebody has locked, as if it were not there.
const PASS_OVER: [&str; 3] = ["claim", "heartbeat", "reap"];

/// What came before, and how the task was submitted.
type Situation = (&'static str, &'static str);

const DUE: Situation = ("p:complete", "unique=k");
const RUNNING: Situation = ("p:complete s:in_progress", "unique=k");
const OVERDUE: Situation = ("p:complete s:in_progress +31s", "unique=k,deadline=10s");
const PAUSED: Situation = ("p:complete s:asked(10s) +10s task:pause", "unique=k");
const DEAD: Situation = ("z:complete p:complete s:fatal", "unique=k");

#[test]
fn verbs_that_meet_over_a_step_that_is_due() {
    all_pairs(DUE);
}

#[test]
fn verbs_that_meet_over_a_running_step() {
    all_pairs(RUNNING);
}

#[test]
fn verbs_that_meet_over_a_running_step_whose_lease_and_deadline_have_passed() {
    all_pairs(OVERDUE);
}

#[test]
fn verbs_that_meet_over_a_step_that_waits_for_its_retry_in_a_paused_task() {
    all_pairs(PAUSED);
}

#[test]
fn verbs_that_meet_over_a_dead_step_in_a_failed_task() {
    all_pairs(DEAD);
}

/// Some of the 34,295 meetings of three, others in each run.
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

fn all_pairs(situation: Situation) {
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
        let mut strange = Vec::new();
        for first in VERBS {
            for second in VERBS {
                let scene = stage.set().await;
                let (one, other) = (stage.statement(&scene, first), stage.statement(&scene, second));
                let (said, answer, waited, again) = ring.meet(db, &one, "commit", &other).await;
                ring = again;
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
        }
        let shown: Vec<_> = strange.iter().take(5).map(String::as_str).collect();
        assert!(
            strange.is_empty(),
            "{} of {} meetings end like no order of the two:\n{}",
            strange.len(),
            VERBS.len().pow(2),
            shown.join("\n")
        );
    });
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
        self.play.live("+0s").await;
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
            .column::<Uuid>("select task_id from tasker.tasks where state not in ('complete', 'cancelled')")
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
            "complete" => settle(Outcome::Complete("1".into())),
            "complete and take" => {
                let child = worker.handler(&self.play.definition.steps[2].handler);
                contender::complete_and_take(worker, &scene.claim, child)
            }
            "fail" => settle(Outcome::Fail { retryable: Some(false), delay: None }),
            "wait" => settle(Outcome::Wait(chrono::DateTime::UNIX_EPOCH)),
            "release" => contender::release(&scene.claim),
            "heartbeat" => contender::beat(worker.id, &scene.claim),
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
            "" => "select null::text".into(),
            other => panic!("{other} is no verb"),
        }
    }
}
