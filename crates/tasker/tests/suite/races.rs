//! Two who want the same at once. Each meeting is brought about on purpose: one stops before its commit, the other runs into it.

use std::{collections::HashSet, time::Duration};

use uuid::Uuid;

use crate::support::{
    Claim, Outcome, Play, TestDatabase, Worker,
    contender::{self, Contender, REAP, Ring, beat, claim, release, settle},
    reap, with_database, with_real_clock,
};

fn complete() -> Outcome {
    Outcome::Complete("1".into())
}

fn fatal() -> Outcome {
    Outcome::Fail { retryable: Some(false), delay: None }
}

fn said(answer: &str) -> contender::Said {
    Ok(Some(answer.into()))
}

fn refused(code: &str) -> contender::Said {
    Err(code.into())
}

impl Play<'_> {
    fn claimed(&self, name: &str) -> &Claim {
        &self.claims[&(self.task(), self.number(name))]
    }

    fn handler(&self, name: &str) -> i32 {
        self.worker.handler(&self.definition.steps[self.number(name) as usize].handler)
    }
}

/// One meeting: both answers, and whether the second had to wait.
async fn meet(db: &TestDatabase, first: &str, end: &str, second: &str) -> (contender::Said, contender::Said, bool) {
    let (one, other, waited, _) = Ring::new(db).await.meet(db, first, end, second).await;
    (one, other, waited)
}

#[test]
fn two_parents_that_finish_together_release_their_child_once() {
    with_database(async |db| {
        for end in ["commit", "rollback"] {
            // the task has begun: nothing but its lock stands between the two
            let mut play = Play::of(db, "x; a, b > c").await;
            play.live("submit x:complete a:in_progress b:in_progress").await;
            let [a, b] = ["a", "b"].map(|name| settle(&play.worker, play.claimed(name), &complete()));
            assert_eq!(
                meet(db, &a, end, &b).await,
                (said("settled"), said("settled"), true),
                "the second waits for the task"
            );
            if end == "rollback" {
                assert_eq!(Contender::new(db).await.run(&a).await, said("settled"));
            }
            let queued: i64 = db
                .value(&format!(
                    "select count(*) from tasker.ready_steps where task_id = '{}' and step_number = 3",
                    play.task()
                ))
                .await;
            assert_eq!(queued, 1);
        }
    });
}

#[test]
fn two_leaves_that_finish_together_complete_their_task() {
    with_database(async |db| {
        let mut play = Play::of(db, "x, a, b").await;
        play.live("submit x:complete a:in_progress b:in_progress").await;
        let [a, b] = ["a", "b"].map(|name| settle(&play.worker, play.claimed(name), &complete()));
        assert_eq!(meet(db, &a, "commit", &b).await, (said("settled"), said("settled"), true));
        assert_eq!(db.column::<String>("select state::text from tasker.tasks").await, ["complete"]);
    });
}

#[test]
fn two_last_steps_that_die_together_fail_their_task() {
    with_database(async |db| {
        let mut play = Play::of(db, "x, a, b").await;
        play.live("submit x:complete a:in_progress b:in_progress").await;
        let [a, b] = ["a", "b"].map(|name| settle(&play.worker, play.claimed(name), &fatal()));
        assert_eq!(meet(db, &a, "commit", &b).await, (said("settled"), said("settled"), true));
        assert_eq!(db.column::<String>("select state::text from tasker.tasks").await, ["failed"]);
    });
}

#[test]
fn a_step_that_is_being_claimed_is_passed_over() {
    with_database(async |db| {
        let play = Play::through(db, "a", "").await;
        let sql = [claim(Uuid::new_v4(), play.handler("a"), 5), claim(Uuid::new_v4(), play.handler("a"), 5)];
        assert_eq!(meet(db, &sql[0], "rollback", &sql[1]).await, (said("1"), said("0"), false));
        assert_eq!(meet(db, &sql[0], "commit", &sql[1]).await, (said("1"), said("0"), false));
    });
}

#[test]
fn a_task_does_not_die_between_a_claim_and_its_commit() {
    with_database(async |db| {
        // to the settlement the step is in the queue, or leased: never in neither
        let mut play = Play::of(db, "a, b").await;
        play.live("submit b:in_progress").await;
        let sql = [claim(Uuid::new_v4(), play.handler("a"), 1), settle(&play.worker, play.claimed("b"), &fatal())];
        assert_eq!(meet(db, &sql[0], "commit", &sql[1]).await, (said("1"), said("settled"), false));
        assert_eq!(
            db.column::<String>("select status::text from tasker.task_execution_contexts").await,
            ["in_progress"]
        );
    });
}

#[test]
fn a_claim_at_any_moment_of_anothers_failure_keeps_the_task_live() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        for round in 0..60_u64 {
            play.tasks.clear();
            play.live("submit").await;
            let number = play.number("a");
            play.live("a:in_progress").await;
            let failed = [(play.claims.remove(&(play.task(), number)).unwrap(), fatal())];
            let claims = async {
                tokio::time::sleep(Duration::from_micros(100 * round)).await;
                play.worker.claim(db, 1).await
            };
            let (answers, claimed) = tokio::join!(play.worker.settle(db, &failed), claims);
            assert_eq!((answers, claimed.len()), (vec!["settled".to_string()], 1));
            let state: String = db
                .value(&format!(
                    "select status::text from tasker.task_execution_contexts where task_id = '{}'",
                    play.task()
                ))
                .await;
            assert_eq!(state, "in_progress", "round {round}");
            play.live("task:cancel").await;
        }
    });
}

#[test]
fn a_cancel_waits_for_a_claimer_and_takes_its_lease_away() {
    with_database(async |db| {
        let play = Play::through(db, "a", "").await;
        let sql = [
            claim(Uuid::new_v4(), play.handler("a"), 1),
            format!("select tasker.cancel_task('{}')::text", play.task()),
        ];
        assert_eq!(meet(db, &sql[0], "commit", &sql[1]).await, (said("1"), said("cancelled"), true));
        assert_eq!(
            (play.state("a").await.as_str(), db.value::<i64>("select count(*) from tasker.leases").await),
            ("cancelled", 0)
        );
    });
}

#[test]
fn a_deadline_passes_over_a_claimer_and_takes_its_lease_away_afterwards() {
    with_database(async |db| {
        let play = Play::through(db, "a, b", "submit(deadline=1h) +2h").await;
        let claim = claim(Uuid::new_v4(), play.handler("a"), 1);
        assert_eq!(meet(db, &claim, "commit", REAP).await, (said("1"), said("0 0"), false));
        assert_eq!(Contender::new(db).await.run(REAP).await, said("0 1"));
        assert_eq!(
            (play.state("a").await.as_str(), db.value::<i64>("select count(*) from tasker.leases").await),
            ("failed", 0)
        );
    });
}

#[test]
fn what_is_being_cancelled_paused_or_edited_is_not_claimed() {
    with_database(async |db| {
        for verb in [
            "cancel_task('T')",
            "pause_task('T')",
            "cancel_step('S')",
            "resolve_step('S', '1')",
            "edit_step_input('S', '1')",
            "change_retry_limit('S', 2)",
        ] {
            let play = Play::through(db, "a > b", "").await;
            let verb = verb.replace('T', &play.task().to_string()).replace('S', &play.step("a").to_string());
            let first = format!("select tasker.{verb}::text");
            let (_, got, waited) = meet(db, &first, "commit", &claim(Uuid::new_v4(), play.handler("a"), 1)).await;
            assert_eq!((got, waited), (said("0"), false), "{verb}");
            db.cancel_task(play.task(), Default::default()).await.unwrap();
        }
    });
}

#[test]
fn a_pause_waits_for_a_claimer_and_lets_it_run() {
    with_database(async |db| {
        let play = Play::through(db, "a, b", "").await;
        let sql =
            [claim(Uuid::new_v4(), play.handler("a"), 1), format!("select tasker.pause_task('{}')::text", play.task())];
        assert_eq!(meet(db, &sql[0], "commit", &sql[1]).await, (said("1"), said("in_progress"), true));
        assert_eq!(
            (play.state("a").await.as_str(), db.value::<i64>("select count(*) from tasker.ready_steps").await),
            ("in_progress", 0)
        );
    });
}

#[test]
fn an_edit_that_waited_for_a_claimer_is_refused() {
    with_database(async |db| {
        let play = Play::through(db, "a", "").await;
        let sql = [
            claim(Uuid::new_v4(), play.handler("a"), 1),
            format!("select tasker.edit_step_input('{}', '1')::text", play.step("a")),
        ];
        assert_eq!(meet(db, &sql[0], "commit", &sql[1]).await, (said("1"), refused("step_not_waiting"), true));
    });
}

#[test]
fn a_limit_is_never_lowered_below_an_attempt_that_begins_meanwhile() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit a:failed +1s").await;
        let sql = [
            claim(Uuid::new_v4(), play.handler("a"), 1),
            format!("select tasker.change_retry_limit('{}', 1)::text", play.step("a")),
        ];
        assert_eq!(meet(db, &sql[0], "commit", &sql[1]).await, (said("1"), refused("limit_too_low"), true));
    });
}

#[test]
fn an_expired_lease_is_settled_or_reaped_and_never_both() {
    with_database(async |db| {
        let expired = async || {
            let mut play = Play::of(db, "a, b").await;
            play.live("submit a:in_progress +31s").await;
            play
        };
        let play = expired().await;
        let done = settle(&play.worker, play.claimed("a"), &complete());
        assert_eq!(
            meet(db, &done, "commit", REAP).await,
            (said("settled"), said("0 0"), false),
            "the reaper passes a locked task over"
        );
        assert_eq!(play.state("a").await, "complete");
        let play = expired().await;
        let done = settle(&play.worker, play.claimed("a"), &complete());
        assert_eq!(meet(db, REAP, "commit", &done).await, (said("1 0"), said("lease_lost"), true));
        assert_eq!(play.state("a").await, "failed");
        let play = expired().await;
        let done = settle(&play.worker, play.claimed("a"), &complete());
        assert_eq!(meet(db, REAP, "rollback", &done).await, (said("1 0"), said("settled"), true));
    });
}

#[test]
fn a_lease_that_is_being_renewed_is_not_reaped() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:in_progress b:in_progress +31s").await;
        let beat = beat(play.worker.id, play.claimed("a"));
        assert_eq!(
            meet(db, &beat, "commit", REAP).await,
            (said("renewed"), said("1 0"), false),
            "it is passed over, and the other of its task is reaped"
        );
        assert_eq!(play.state("a").await, "in_progress");
        play.live("+31s").await;
        assert_eq!(
            meet(db, REAP, "commit", &beat).await,
            (said("1 0"), said("unknown"), false),
            "it asks again, and waits for nobody"
        );
        let mut play = Play::of(db, "c, d").await;
        play.live("submit c:in_progress +20s d:in_progress +11s").await;
        assert_eq!(Contender::new(db).await.run(REAP).await, said("1 0"), "each lease's expiry is asked");
        play.live("d:complete").await;
    });
}

#[test]
fn two_reapers_share_the_work() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit a:in_progress +31s").await;
        assert_eq!(meet(db, REAP, "commit", REAP).await, (said("1 0"), said("0 0"), false));
    });
}

#[test]
fn a_result_and_a_cancel_have_one_winner() {
    with_database(async |db| {
        for (first_wins, a, z) in [(true, "complete", "failed"), (false, "cancelled", "failed")] {
            let mut play = Play::of(db, "a, z").await;
            play.live("submit z:fatal a:in_progress").await;
            let done = settle(&play.worker, play.claimed("a"), &complete());
            let cancel = format!("select tasker.cancel_step('{}')::text", play.step("a"));
            let answers = if first_wins {
                meet(db, &done, "commit", &cancel).await
            } else {
                meet(db, &cancel, "commit", &done).await
            };
            let expected = if first_wins {
                (said("settled"), refused("step_is_finished"), true)
            } else {
                (said("cancelled"), said("cancelled"), true)
            };
            assert_eq!(answers, expected);
            assert_eq!((play.state("a").await.as_str(), play.state("z").await.as_str()), (a, z));
        }
    });
}

#[test]
fn a_claim_that_is_settled_twice_at_once_has_one_result() {
    with_database(async |db| {
        let mut play = Play::of(db, "a > b").await;
        play.live("submit a:in_progress").await;
        let done = settle(&play.worker, play.claimed("a"), &complete());
        let failed = settle(&play.worker, play.claimed("a"), &fatal());
        assert_eq!(meet(db, &done, "commit", &failed).await, (said("settled"), said("settled"), true));
        assert_eq!(play.state("a").await, "complete");
        assert_eq!(Contender::new(db).await.run(&release(play.claimed("a"))).await, said("settled"));
    });
}

#[test]
fn a_dead_step_is_retried_once() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit a:fatal").await;
        let retry = format!("select tasker.retry_step('{}')::text", play.step("a"));
        assert_eq!(meet(db, &retry, "commit", &retry).await, (said("pending"), refused("nothing_to_retry"), true));
        assert_eq!(db.column::<i32>("select generation from tasker.workflow_steps").await, [1]);
    });
}

#[test]
fn a_limits_last_slot_goes_to_one() {
    with_database(async |db| {
        let mut play = Play::of(db, "a[concurrency=1]").await;
        play.live("submit submit").await;
        let sql = [claim(Uuid::new_v4(), play.handler("a"), 5), claim(Uuid::new_v4(), play.handler("a"), 5)];
        assert_eq!(
            meet(db, &sql[0], "commit", &sql[1]).await,
            (said("1"), said("0"), true),
            "it waits for the key, and counts anew"
        );
        db.advance("31s").await;
        Contender::new(db).await.run(REAP).await.unwrap();
        db.advance("1m").await;
        assert_eq!(meet(db, &sql[0], "rollback", &sql[1]).await, (said("1"), said("1"), true));
    });
}

#[test]
fn submitting_with_one_key_twice_at_once_gives_one_task() {
    with_database(async |db| {
        for (end, what) in [
            ("commit", "idempotency_key"),
            ("rollback", "idempotency_key"),
            ("commit", "unique_while_live"),
            ("rollback", "unique_while_live"),
        ] {
            let play = Play::of(db, "a").await;
            let submit =
                format!("select tasker.submit_task('test', '{}', {what} => '{end}')::text", play.definition.name);
            let (first, second, waited) = meet(db, &submit, end, &submit).await;
            assert!(waited, "the second waits for what becomes of the first");
            assert_eq!(first == second, end == "commit", "{what}");
            let there: Vec<String> =
                db.column("select task_id::text from tasker.tasks where state <> 'complete'").await;
            assert_eq!(there, [second.unwrap().unwrap()]);
            play.worker
                .settle(
                    db,
                    &play.worker.claim(db, 9).await.into_iter().map(|claim| (claim, complete())).collect::<Vec<_>>(),
                )
                .await;
        }
    });
}

#[test]
fn another_body_under_a_key_that_is_being_used_is_refused() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        let submit = |context: &str| {
            format!(
                "select tasker.submit_task('test', '{}', '{context}', idempotency_key => 'k')::text",
                play.definition.name
            )
        };
        let (_, second, waited) = meet(db, &submit("{}"), "commit", &submit("{\"a\":1}")).await;
        assert_eq!((second, waited), (refused("idempotency_key_reused"), true));
    });
}

/// A snapshot that is older than the end of the task that held a key shows whom the key belonged to: whoever submits gets a task that there is, or is told
/// to try again.
#[test]
fn a_submission_in_an_old_snapshot_takes_its_keys_or_fails() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        let name = &play.definition.name;
        for level in ["read committed", "repeatable read", "serializable"] {
            for key in ["unique_while_live => 'K'", "idempotency_key => 'K'"] {
                let submit = format!("select tasker.submit_task('test', '{name}', {key})::text");
                let mut session = Contender::new(db).await;
                let first = session.run(&submit).await.unwrap().unwrap();
                session.end(&format!("begin isolation level {level}")).await;
                session.run("select count(*)::text from tasker.tasks").await.unwrap();
                // the key is free meanwhile
                db.run(&format!(
                    "select tasker.cancel_task('{first}'); update tasker.idempotency_keys set created_at = created_at - interval '31 days'"
                ))
                .await;
                reap(db).await;
                let answer = session.run(&submit).await;
                session.end(if answer.is_ok() { "commit" } else { "rollback" }).await;
                if let Ok(Some(second)) = answer {
                    assert_ne!(second, first, "{level}, {key}");
                    let there: i64 =
                        db.value(&format!("select count(*) from tasker.tasks where task_id = '{second}'")).await;
                    assert_eq!((there, session.run(&submit).await), (1, said(&second)), "{level}, {key}");
                } else {
                    assert_eq!(answer, refused("40001"), "{level}, {key}");
                }
                db.run("select tasker.cancel_task(k.task_id) from tasker.tasks k where k.state = 'pending'; delete from tasker.idempotency_keys").await;
            }
        }
    });
}

/// The claim does not write the task: a verb that waited for it records that the task began.
#[test]
fn a_verb_that_meets_the_first_claim_records_that_the_task_began() {
    with_database(async |db| {
        for verb in [
            "cancel_step('S')",
            "cancel_task('T')",
            "resolve_task('T')",
            "pause_task('T')",
            "change_retry_limit('S', 9)",
        ] {
            let mut play = Play::of(db, "a; b").await;
            play.live("submit").await;
            let sql = format!("select tasker.{verb}::text")
                .replace('S', &play.step("a").to_string())
                .replace('T', &play.task().to_string());
            let (_, answer, _) = meet(db, &claim(play.worker.id, play.handler("a"), 1), "commit", &sql).await;
            assert!(answer.is_ok(), "{verb}: {answer:?}");
            let began: Vec<String> = db
                .column(&format!(
                    "select verb::text from tasker.task_transitions where task_id = '{}' and verb = 'claim'",
                    play.task()
                ))
                .await;
            assert_eq!(began, ["claim"], "{verb}");
            db.run(
                "select tasker.cancel_task(k.task_id) from tasker.tasks k where k.state in ('pending', 'in_progress')",
            )
            .await;
        }
    });
}

#[test]
fn every_verb_but_submit_refuses_an_isolation_that_would_lose_a_join() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:in_progress").await;
        let (task, step, worker) = (play.task(), play.step("b"), play.worker.id);
        let held = play.claimed("a");
        let mut verbs: Vec<String> = ["cancel_task", "retry_task", "resolve_task", "pause_task", "resume_task"]
            .map(|verb| format!("select tasker.{verb}('{task}')::text"))
            .into();
        verbs.extend(
            [
                "cancel_step('S')",
                "retry_step('S')",
                "resolve_step('S', '1')",
                "edit_step_input('S', '1')",
                "change_retry_limit('S', 5)",
            ]
            .map(|verb| format!("select tasker.{}::text", verb.replace('S', &step.to_string()))),
        );
        verbs.extend([
            settle(&play.worker, held, &complete()),
            claim(worker, play.handler("b"), 1),
            beat(worker, held),
            release(held),
            contender::adopt(worker),
            contender::register_worker(worker, "b"),
            REAP.into(),
        ]);
        let mut session = Contender::new(db).await;
        for level in ["repeatable read", "serializable"] {
            for verb in &verbs {
                session.end(&format!("begin isolation level {level}")).await;
                assert_eq!(session.run(verb).await, refused("isolation_too_high"), "{verb}");
                session.end("rollback").await;
            }
            session.end(&format!("begin isolation level {level}")).await;
            let submit = format!("select (tasker.submit_task('test', '{}') is not null)::text", play.definition.name);
            assert_eq!(session.run(&submit).await, said("true"));
            session.end("commit").await;
        }
    });
}

#[test]
fn many_workers_claim_each_step_once() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b, c").await;
        for _ in 0..100 {
            play.live("submit").await;
        }
        let mut running = Vec::new();
        for _ in 0..8 {
            let worker = Worker::new(db, play.definition.steps.iter().map(|step| step.handler.clone())).await;
            let mut session = db.session().await;
            running.push(tokio::spawn(async move {
                let mut claims = Vec::new();
                loop {
                    let some = worker.exchange(&mut session, &[], &worker.serves(), 7, None).await.unwrap().claimed;
                    if some.is_empty() {
                        return claims;
                    }
                    claims.extend(some);
                }
            }));
        }
        let mut all = Vec::new();
        for one in running {
            all.extend(one.await.unwrap());
        }
        let distinct: HashSet<_> = all.iter().map(|claim| (claim.task_id, claim.step_number)).collect();
        assert!(all.len() == distinct.len(), "{} claims of {} steps", all.len(), distinct.len());
        assert_eq!(db.value::<i64>("select count(*) from tasker.ready_steps").await + distinct.len() as i64, 300);
    });
}

#[test]
fn a_verb_that_the_database_gave_up_for_another_is_called_again() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit").await;
        // the first two calls end as a deadlock's victim does
        db.run(
            "create sequence public.calls;
             alter function tasker.pause_task(uuid, text, text) set schema public;
             create function tasker.pause_task(of_task uuid, reason text, actor text) returns tasker.task_state language plpgsql as $$
             begin
               if nextval('public.calls') < 3 then raise exception using errcode = 'deadlock_detected'; end if;
               return public.pause_task(of_task, reason, actor);
             end $$",
        )
        .await;
        db.pause_task(play.task(), Default::default()).await.unwrap();
        assert_eq!(db.value::<i64>("select last_value from public.calls").await, 3);
        db.run("drop function tasker.pause_task(uuid, text, text); alter function public.pause_task(uuid, text, text) set schema tasker").await;
    });
}

#[test]
fn so_many_look_for_work_at_once_and_the_others_wait_for_their_turn() {
    with_real_clock(async |db| {
        let mut play = Play::of(db, "a, b, c, d").await;
        play.live("submit a:in_progress").await;
        let take = |name: &str| claim(play.worker.id, play.handler(name), 1);
        let (mut one, other, third, mut holder) =
            (Contender::new(db).await, Contender::new(db).await, Contender::new(db).await, Contender::new(db).await);
        // all turns but one, which is not that of the first session
        let own = one.run("select (pg_backend_pid() % 64)::text").await.unwrap().unwrap();
        let turns =
            format!("select count(pg_advisory_xact_lock(7463, ({own} + n) % 64))::text from generate_series(0, 62) n");
        assert_eq!(holder.begin(&turns).await, said("63"));
        one.begin("select ''").await.unwrap();
        let taking = one.start(&take("b"));
        assert!(!taking.is_blocked(db).await, "any turn will do");
        let (mut one, took) = taking.answer().await;
        assert_eq!(took, said("1"));
        let waiting = other.start(&take("c"));
        assert!(waiting.is_blocked(db).await, "a turn lasts until the end of the transaction");
        let handing_in = third.start(&settle(&play.worker, play.claimed("a"), &complete()));
        assert!(!handing_in.is_blocked(db).await, "it needs no turn");
        let (third, answer) = handing_in.answer().await;
        assert_eq!(answer, said("settled"));
        one.end("rollback").await;
        holder.end("rollback").await;
        assert_eq!(waiting.answer().await.1, said("1"));

        let turns = "select count(pg_advisory_xact_lock(7463, n))::text from generate_series(0, 63) n";
        assert_eq!(holder.begin(turns).await, said("64"));
        let waiting = third.start(&take("d"));
        assert!(waiting.is_blocked(db).await);
        assert_eq!(waiting.answer().await.1, said("1"), "after three seconds it goes on without");
        holder.end("rollback").await;
    });
}
