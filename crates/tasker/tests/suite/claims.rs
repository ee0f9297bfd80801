//! Which steps a worker is given, in what order, and what becomes of the claims that it ends, renews or gives back.

use std::time::Duration;

use sqlx::{Connection, Row};
use tasker::store::{Beat, Released};
use uuid::Uuid;

use crate::support::{Claim, Outcome, Play, TestDatabase, Worker, reap, with_database};

fn complete() -> Outcome {
    Outcome::Complete("1".into())
}

fn failed() -> Outcome {
    Outcome::Fail { retryable: None, delay: None }
}

/// The numbers of the tasks of claims, from 1 in the order of their submission.
fn tasks(play: &Play, claims: &[Claim]) -> Vec<usize> {
    claims.iter().map(|claim| play.tasks.iter().position(|task| *task == claim.task_id).unwrap() + 1).collect()
}

fn key(claim: &Claim) -> (Uuid, i32, Uuid) {
    (claim.task_id, claim.step_number, claim.claim_id)
}

#[test]
fn what_was_due_first_is_claimed_first() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit(run_at=3s) submit(run_at=1s) submit(run_at=2s) submit").await;
        assert_eq!(tasks(&play, &play.worker.claim(db, 9).await), [4], "nothing starts early");
        db.advance("5s").await;
        let claims =
            [play.worker.claim(db, 1).await, play.worker.claim(db, 1).await, play.worker.claim(db, 1).await].concat();
        assert_eq!(tasks(&play, &claims), [2, 3, 1]);
    });
}

#[test]
fn a_lane_is_worth_a_minute_and_nothing_starves() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit(priority=low) +30s submit +29s submit(priority=high) +30s submit(priority=high) +40s submit(priority=high)").await;
        let mut claims = Vec::new();
        for _ in 0..5 {
            claims.extend(play.worker.claim(db, 1).await);
        }
        // with the bonus: low at 120 s, normal at 90 s, high at 59 s, 89 s and 129 s
        assert_eq!(tasks(&play, &claims), [3, 4, 2, 1, 5]);
    });
}

#[test]
fn a_tasks_priority_takes_the_place_of_its_nodes() {
    with_database(async |db| {
        let mut play = Play::of(db, "a[priority=low]").await;
        play.live("submit submit(priority=high)").await;
        assert_eq!(tasks(&play, &play.worker.claim(db, 1).await), [2]);
    });
}

#[test]
fn what_can_start_together_in_one_task_is_claimed_together() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b, c").await;
        play.live("submit submit submit").await;
        let first = play.worker.claim(db, 4).await;
        let mut numbers = tasks(&play, &first);
        numbers.sort();
        assert_eq!(numbers, [1, 1, 1, 2]);
    });
}

#[test]
fn no_handler_stands_before_another() {
    with_database(async |db| {
        let mut early = Play::of(db, "a").await;
        let mut late = Play::of(db, "b, c").await;
        early.live("submit submit submit").await;
        late.live("submit submit").await;
        let both = Worker::new(db, [&early, &late].map(|play| play.definition.steps[0].handler.clone())).await;
        let claims = both.claim(db, 4).await;
        let of_the_late: Vec<_> = claims.iter().filter(|claim| late.tasks.contains(&claim.task_id)).collect();
        assert_eq!(
            (claims.len(), of_the_late.len()),
            (4, 1),
            "the three that came first, and then the first of the others"
        );
        assert_eq!(of_the_late[0].task_id, late.tasks[0]);
    });
}

#[test]
fn who_was_too_late_for_one_queue_looks_into_the_others_at_once() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit(priority=high) submit submit").await;
        let mut other = db.session().await;
        let mut tx = other.begin().await.unwrap();
        sqlx::query("select from tasker.ready_steps where lane = 0 for update").execute(&mut *tx).await.unwrap();
        let mut connection = db.pool().acquire().await.unwrap();
        let reply = play.worker.exchange(&mut connection, &[], &play.worker.serves(), 1, None).await.unwrap();
        assert_eq!((reply.claimed.len(), reply.next_in.map(|next| next <= 0)), (0, Some(true)));
        tx.rollback().await.unwrap();
        let reply = play.worker.exchange(&mut connection, &[], &play.worker.serves(), 1, None).await.unwrap();
        assert_eq!(reply.claimed.len(), 1);
    });
}

#[test]
fn of_many_handlers_the_foremost_steps_are_claimed_first() {
    with_database(async |db| {
        let graph: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
        let mut play = Play::of(db, &graph.join(", ")).await;
        play.live("submit submit").await;
        // one place for 90 queues, of which 30 have two steps each
        for place in 0..60 {
            let claims = play.worker.claim(db, 1).await;
            let claimed: Vec<_> = claims.iter().map(|claim| (claim.task_id, claim.step_number)).collect();
            assert_eq!(claimed, [(play.tasks[place / 30], place as i32 % 30)]);
        }
        assert!(play.worker.claim(db, 1).await.is_empty());
    });
}

#[test]
fn a_worker_gets_what_its_handlers_serve_and_no_more_than_it_wants() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        for _ in 0..5 {
            play.live("submit").await;
        }
        let only_b = Worker::new(db, [play.definition.steps[1].handler.clone()]).await;
        let claims = only_b.claim(db, 3).await;
        assert_eq!(claims.len(), 3);
        assert!(claims.iter().all(|claim| claim.step_number == 1));
        assert_eq!(only_b.claim(db, 100).await.len(), 2);
        assert_eq!(only_b.claim(db, 100).await.len(), 0);
        assert_eq!(Worker::new(db, []).await.claim(db, 100).await.len(), 0);
    });
}

#[test]
fn nothing_due_now_says_when_the_next_is() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit(run_at=90s)").await;
        let mut connection = db.pool().acquire().await.unwrap();
        let reply = play.worker.exchange(&mut connection, &[], &play.worker.serves(), 5, None).await.unwrap();
        assert_eq!((reply.claimed.len(), reply.next_in), (0, Some(90_000_000)));
        let reply =
            play.worker.exchange(&mut connection, &[], &play.worker.serves(), 5, Some(play.task())).await.unwrap();
        assert_eq!((reply.claimed.len(), reply.next_in), (0, Some(90_000_000)));
    });
}

#[test]
fn children_are_claimed_in_the_call_that_settles_their_last_parent() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b > c, d, e").await;
        play.live("submit a:complete b:in_progress").await;
        let ended = [(play.claims[&(play.task(), 1)].clone(), complete())];
        let [c, d] =
            ["c", "d"].map(|name| play.worker.handler(&play.definition.steps[play.number(name) as usize].handler));
        let mut connection = db.pool().acquire().await.unwrap();
        // e is not served, and there is room for one
        let reply = play.worker.exchange(&mut connection, &ended, &[c, d], 1, None).await.unwrap();
        assert_eq!(reply.answers, ["settled"]);
        assert_eq!(reply.claimed.iter().map(|claim| claim.step_number).collect::<Vec<_>>(), [2]);
        let queued: Vec<i32> = db.column("select step_number from tasker.ready_steps order by 1").await;
        assert_eq!(queued, [3, 4]);
        drop(connection);
        let order: Vec<String> =
            db.column("select s.name || ' ' || e.verb from tasker.events e join tasker.workflow_steps s using (workflow_step_id) order by e.number").await;
        assert_eq!(
            order,
            ["a claim", "a settle", "b claim", "b settle", "c claim"],
            "what causes has the smaller number"
        );
    });
}

#[test]
fn a_lone_child_is_claimed_and_delivered_as_any_other() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b, c, d, e > f").await;
        let large = format!("\"{}\"", "x".repeat(2_000_000));
        for (needs, result) in
            [("{}", "1"), ("{0}", "{\"n\": [2]}"), ("{4,1}", "null"), ("{1,2,3}", &large), ("{0,1,2,3,4}", &large)]
        {
            db.run(&format!("update tasker.named_tasks_named_steps set needs = '{needs}' where step_number = 5")).await;
            play.tasks.clear();
            play.claims.clear();
            play.live("submit a:complete b:in_progress c:in_progress d:in_progress e:in_progress").await;
            let ended = |step| [(play.claims[&(play.task(), step)].clone(), Outcome::Complete(result.into()))];
            for step in [1, 2, 3] {
                play.worker.settle(db, &ended(step)).await;
            }
            let mut connection = db.pool().acquire().await.unwrap();
            let reply = play.worker.exchange(&mut connection, &ended(4), &play.worker.serves(), 1, None).await.unwrap();
            drop(connection);
            let [child] = &reply.claimed[..] else { panic!("{reply:?}") };
            let other: String = db
                .value(&format!(
                    "select row(d.context, d.input, d.results, d.retry_limit, d.generation, d.timer, d.attempt)::text
                     from tasker.leases l cross join lateral tasker.deliver(array[l.task_id], array[l.step_number], array[l.named_task_id], array[l.claim_id]) d
                     where l.claim_id = '{}'",
                    child.claim_id
                ))
                .await;
            assert_eq!((child.step_number, &reply.delivered[0]), (5, &other), "{needs}");
            let order: Vec<i32> = db
                .column(&format!(
                    "select step_number from tasker.workflow_step_transitions where task_id = '{}' and number >= (
                       select max(number) from tasker.workflow_step_transitions where task_id = '{0}' and step_number = 4) order by number",
                    play.task()
                ))
                .await;
            assert_eq!(order, [4, 5], "what causes has the smaller number");
        }
    });
}

#[test]
fn a_child_that_is_claimed_at_once_keeps_what_a_person_changed() {
    with_database(async |db| {
        let mut play = Play::of(db, "a > b").await;
        play.live("submit b:limit(7) a:in_progress").await;
        let ended = [(play.claims[&(play.task(), 0)].clone(), complete())];
        let mut connection = db.pool().acquire().await.unwrap();
        let reply = play.worker.exchange(&mut connection, &ended, &play.worker.serves(), 9, None).await.unwrap();
        assert_eq!(reply.claimed.iter().map(|claim| claim.step_number).collect::<Vec<_>>(), [1]);
        drop(connection);
        let limit = format!(
            "select retry_limit from tasker.workflow_steps where task_id = '{}' and step_number = 1",
            play.task()
        );
        assert_eq!(db.value::<i32>(&limit).await, 7);
    });
}

#[test]
fn what_finishes_in_one_batch_is_counted_each() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b, c > d; e, f").await;
        play.live("submit a:complete b:in_progress c:in_progress e:in_progress f:in_progress").await;
        let ends =
            |play: &Play, steps: [i32; 2]| steps.map(|step| (play.claims[&(play.task(), step)].clone(), complete()));
        assert_eq!(play.worker.settle(db, &ends(&play, [1, 2])).await, ["settled", "settled"]);
        play.live("d:in_progress").await;
        assert_eq!(play.worker.settle(db, &ends(&play, [4, 5])).await, ["settled", "settled"]);
        play.live("d:complete").await;
        db.until_task(play.task(), "complete").await;
    });
}

#[test]
fn a_child_is_claimed_only_with_room_and_where_the_view_calls_it_ready() {
    with_database(async |db| {
        for (history, capacity, queued) in [("", 0, vec![1]), ("task:pause", 9, vec![])] {
            let mut play = Play::of(db, "a > b > c").await;
            play.live("submit a:in_progress").await;
            play.live(history).await;
            let ended = [(play.claims[&(play.task(), 0)].clone(), complete())];
            let mut connection = db.pool().acquire().await.unwrap();
            let reply =
                play.worker.exchange(&mut connection, &ended, &play.worker.serves(), capacity, None).await.unwrap();
            assert_eq!(reply.answers, ["settled"]);
            assert!(reply.claimed.iter().all(|claim| claim.task_id != play.task()), "{history}");
            let rows: Vec<i32> = db
                .column(&format!("select step_number from tasker.ready_steps where task_id = '{}'", play.task()))
                .await;
            assert_eq!(rows, queued, "{history}");
        }
    });
}

#[test]
fn a_child_with_a_limit_is_claimed_under_its_limit_only() {
    with_database(async |db| {
        let mut play = Play::of(db, "a > b[concurrency=1]").await;
        play.live("submit submit submit").await;
        let roots = play.worker.claim(db, 9).await;
        let ended: Vec<_> = roots.into_iter().map(|claim| (claim, complete())).collect();
        let mut connection = db.pool().acquire().await.unwrap();
        let reply = play.worker.exchange(&mut connection, &ended, &play.worker.serves(), 9, None).await.unwrap();
        assert_eq!((reply.answers.len(), reply.claimed.len()), (3, 1));
    });
}

#[test]
fn a_limit_holds_whoever_claims_and_in_all_lanes_together() {
    with_database(async |db| {
        let mut play = Play::of(db, "a[concurrency=2], b").await;
        play.live("submit submit(priority=high) submit(priority=low) submit").await;
        let claims = play.worker.claim(db, 100).await;
        let of_a = claims.iter().filter(|claim| claim.step_number == 0).count();
        assert_eq!((claims.len(), of_a), (6, 2), "a full key costs the others nothing");
        let mut connection = db.pool().acquire().await.unwrap();
        for task in &play.tasks {
            let reply =
                play.worker.exchange(&mut connection, &[], &play.worker.serves(), 9, Some(*task)).await.unwrap();
            assert_eq!(reply.claimed, [], "the limit holds for a worker that drives one task, too");
        }
    });
}

#[test]
fn keys_have_room_each_for_itself() {
    with_database(async |db| {
        let mut play = Play::of(db, "a[concurrency=1 key=k]").await;
        for n in 0..12 {
            play.live(&format!("submit(context={{\"k\":{}}})", n % 4)).await;
        }
        let claims = play.worker.claim(db, 100).await;
        let mut numbers = tasks(&play, &claims);
        numbers.sort();
        assert_eq!(numbers, [1, 2, 3, 4], "the first of each key");
    });
}

#[test]
fn the_same_settlement_again_gets_its_first_answer() {
    with_database(async |db| {
        let mut play = Play::of(db, "a > b").await;
        play.live("submit a:in_progress").await;
        let claim = play.claims[&(play.task(), 0)].clone();
        let twice = [(claim.clone(), complete()), (claim.clone(), complete())];
        assert_eq!(
            play.worker.settle(db, &twice).await,
            ["settled", "settled"],
            "one answer for each row, duplicates too"
        );
        assert_eq!(play.worker.settle(db, &[(claim.clone(), failed())]).await, ["settled"]);
        assert_eq!(db.release(&[key(&claim)]).await.unwrap(), [Released::Settled]);
        let state: String =
            db.value("select current_state::text from tasker.step_readiness_statuses where step_number = 0").await;
        assert_eq!(state, "complete");
    });
}

#[test]
fn a_claim_that_is_gone_changes_nothing() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:in_progress").await;
        let stale = play.claims[&(play.task(), 0)].clone();
        play.live("a:lost a:retry a:in_progress").await;
        let fresh = play.claims[&(play.task(), 0)].clone();
        let of_nobody = Claim { claim_id: Uuid::new_v4(), ..fresh.clone() };
        for gone in [stale, of_nobody] {
            db.advance("1s").await;
            let all = "select l::text from tasker.leases l union all select h::text from tasker.workflow_step_transitions h order by 1";
            let before: Vec<String> = db.column(all).await;
            assert_eq!(play.worker.settle(db, &[(gone.clone(), complete())]).await, ["lease_lost"]);
            assert_eq!(
                db.heartbeat(play.worker.id, &[key(&gone)], Duration::from_secs(30)).await.unwrap(),
                [Beat::LeaseLost]
            );
            assert_eq!(db.release(&[key(&gone)]).await.unwrap(), [Released::LeaseLost]);
            assert_eq!(before, db.column::<String>(all).await, "its successor's lease is not even extended");
        }
        assert_eq!(play.worker.settle(db, &[(fresh, complete())]).await, ["settled"], "the successor is not disturbed");
    });
}

#[test]
fn a_batch_settles_whatever_is_still_held_in_it() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b, c > d").await;
        play.live("submit submit").await;
        let claims = play.worker.claim(db, 6).await;
        play.live("1.b:cancel").await;
        let ended: Vec<_> = claims.iter().cloned().map(|claim| (claim, complete())).collect();
        let answers = play.worker.settle(db, &ended).await;
        for (claim, answer) in claims.iter().zip(answers) {
            let cancelled = claim.task_id == play.task() && claim.step_number == 1;
            assert_eq!(answer, if cancelled { "cancelled" } else { "settled" });
        }
    });
}

#[test]
fn a_heartbeat_keeps_a_lease_and_hears_of_a_cancellation() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:in_progress b:in_progress").await;
        let [a, b] = [0, 1].map(|number| key(&play.claims[&(play.task(), number)]));
        let beat = async || db.heartbeat(play.worker.id, &[a, b, a], Duration::from_secs(30)).await.unwrap();
        db.advance("29s").await;
        assert_eq!(beat().await, [Beat::Renewed, Beat::Renewed, Beat::Renewed]);
        db.advance("29s").await;
        assert_eq!(reap(db).await, (0, 0), "58 s after the claim");
        db.cancel_step(tasker::step_id(play.task(), 1), Default::default()).await.unwrap();
        assert_eq!(beat().await, [Beat::Renewed, Beat::Cancelled, Beat::Renewed]);
        db.advance("31s").await;
        assert_eq!(reap(db).await, (1, 0));
        assert_eq!(beat().await, [Beat::LeaseLost, Beat::Cancelled, Beat::LeaseLost]);
    });
}

#[test]
fn a_heartbeat_does_not_wait_for_a_lease_that_somebody_has_locked() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit a:in_progress").await;
        let mut other = db.session().await;
        let mut tx = other.begin().await.unwrap();
        sqlx::query("select from tasker.leases for update").execute(&mut *tx).await.unwrap();
        let claim = key(&play.claims[&(play.task(), 0)]);
        assert_eq!(db.heartbeat(play.worker.id, &[claim], Duration::from_secs(30)).await.unwrap(), [Beat::Unknown]);
        tx.rollback().await.unwrap();
    });
}

#[test]
fn released_steps_are_answered_one_by_one() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b, c, d[attempts=1]").await;
        play.live("submit a:in_progress b:in_progress c:in_progress d:in_progress").await;
        let [a, b, c, d] = [0, 1, 2, 3].map(|number| key(&play.claims[&(play.task(), number)]));
        play.live("b:cancel c:complete").await;
        let answers = db.release(&[a, b, c, d, a]).await.unwrap();
        assert_eq!(
            answers,
            [Released::Released, Released::Cancelled, Released::Settled, Released::Released, Released::Released]
        );
        assert_eq!(db.release(&[a]).await.unwrap(), [Released::Released], "sent again after a lost reply");
        let states: Vec<String> =
            db.column("select current_state::text from tasker.step_readiness_statuses order by step_number").await;
        assert_eq!(states, ["pending", "cancelled", "complete", "failed"], "what may run once only is not given back");
    });
}

#[test]
fn a_lost_reply_is_found_again_by_what_the_worker_did_not_name() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:in_progress b:in_progress").await;
        let known = play.claims[&(play.task(), 0)].claim_id;
        db.advance("20s").await;
        let found: Vec<Uuid> = sqlx::query_scalar("select claim_id from tasker.adopt($1, array[$2], interval '30 s')")
            .bind(play.worker.id)
            .bind(known)
            .fetch_all(db.pool())
            .await
            .unwrap();
        assert_eq!(found, [play.claims[&(play.task(), 1)].claim_id]);
        db.advance("20s").await;
        assert_eq!(reap(db).await, (1, 0), "what was found has begun its lease anew");
    });
}

#[test]
fn the_next_claim_carries_the_timer_through_failures() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit").await;
        let due = db.now().await + chrono::TimeDelta::hours(1);
        play.live("a:waits(1h) +1h a:failed +5m a:released a:in_progress").await;
        assert_eq!(play.claims[&(play.task(), 0)].timer, Some(due));
    });
}

#[test]
fn a_claim_brings_the_context_the_edited_input_and_the_results_that_are_needed() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b > c; a > d").await;
        play.live(r#"submit(context={"order":12345678901234567890}) a:complete b:resolve c:edit c:in_progress"#).await;
        let row = sqlx::query("select * from tasker.adopt($1, '{}', interval '30 s')")
            .bind(play.worker.id)
            .fetch_one(db.pool())
            .await
            .unwrap();
        assert_eq!(row.get::<String, _>("context"), r#"{"order": 12345678901234567890}"#);
        assert_eq!(row.get::<String, _>("input"), r#"{"by":"hand"}"#);
        let results: serde_json::Value = serde_json::from_str(row.get("results")).unwrap();
        assert_eq!(results, serde_json::json!({"0": "the result of 0", "1": {"by": "hand"}}));
    });
}

#[test]
fn reaping_takes_no_more_at_once_than_it_is_told_whatever_the_task() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b, c, d, e").await;
        play.live("submit a:in_progress b:in_progress c:in_progress d:in_progress e:in_progress +31s").await;
        let mut reaped: Vec<i32> = Vec::new();
        for _ in 0..4 {
            reaped.push(db.value("select reaped from tasker.reap(2, '-infinity')").await);
        }
        assert_eq!(reaped, [2, 2, 1, 0]);
    });
}

#[test]
fn one_result_that_cannot_be_stored_leaves_the_batch_as_it_was() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:in_progress b:in_progress").await;
        let [a, b] = [0, 1].map(|number| play.claims[&(play.task(), number)].clone());
        let ended = [(a, complete()), (b, Outcome::Complete("no JSON".into()))];
        let mut connection = db.pool().acquire().await.unwrap();
        let error = play.worker.exchange(&mut connection, &ended, &[], 0, None).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "22P02");
        assert_eq!(db.value::<i64>("select count(*) from tasker.leases").await, 2);
    });
}

/// What a failure's delay was, in seconds, for each failed attempt.
async fn delays(db: &TestDatabase) -> Vec<f64> {
    db.column("select extract(epoch from next_retry_at - at)::float8 from tasker.workflow_step_transitions where next_retry_at is not null and to_state = 'failed' order by number").await
}

#[test]
fn a_backoff_doubles_from_base_to_max_and_is_uniform_in_its_upper_half() {
    with_database(async |db| {
        let mut play = Play::of(db, "a[attempts=40 base=2s max=1m]").await;
        play.live("submit").await;
        for _ in 0..39 {
            play.live("a:failed +1m").await;
        }
        for (index, delay) in delays(db).await.into_iter().enumerate() {
            let d = (2.0 * 2f64.powi(index as i32)).min(60.0);
            assert!(
                (d / 2.0..=d).contains(&delay),
                "after {} failures {delay} s, not between {} and {d}",
                index + 1,
                d / 2.0
            );
        }
        let spread: Vec<bool> =
            db.column("select tasker.backoff(1, 300, 1) < 0.75 from generate_series(1, 1000)").await;
        let low = spread.iter().filter(|low| **low).count();
        assert!((400..=600).contains(&low), "{low} of 1,000 are in the lower half of the range");
    });
}

#[test]
fn c08_a_backoff_never_overflows() {
    with_database(async |db| {
        for failures in [-1, 0, 1, 30, 31, 44, 1000, i32::MAX] {
            let delay: f64 = db.value(&format!("select tasker.backoff(31622400, 31622400, {failures})")).await;
            assert!((15_811_200.0..=31_622_400.0).contains(&delay));
            let delay: f64 = db.value(&format!("select tasker.backoff(0.001, 300, {failures})")).await;
            assert!((0.0005..=300.0).contains(&delay));
        }
    });
}

#[test]
fn a_backoff_begins_anew_after_a_retry_by_hand() {
    with_database(async |db| {
        let mut play = Play::of(db, "a[attempts=4 base=1s max=1h], b").await;
        play.live("submit a:failed +1h a:failed +1h a:failed +1h a:failed a:retry a:failed").await;
        let delays = delays(db).await;
        assert!((2.0..=4.0).contains(&delays[2]) && (0.5..=1.0).contains(&delays[3]), "{delays:?}");
    });
}
