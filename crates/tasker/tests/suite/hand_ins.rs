//! What a worker hands in that no worker should, and what the reaper finds behind tasks that somebody holds.

use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};
use sqlx::AssertSqlSafe;
use tasker::{Outcome as Answer, Settings, store::Steps};

use uuid::Uuid;

use crate::support::{
    Claim, Outcome, Play, Running, TestDatabase,
    contender::{self, Contender},
    does, reap, with_database, with_real_clock,
};

/// Hands in, with these outcomes and instants, and gives the answers or the refusal's SQLSTATE.
async fn hand_in(
    db: &TestDatabase,
    worker: uuid::Uuid,
    claims: &[&Claim],
    outcomes: &str,
    delays: &str,
    instants: &str,
) -> Result<String, String> {
    let none = |kind: &str| format!("array_fill(null::{kind}, array[{}])", claims.len());
    let column = |value: fn(&Claim) -> String| claims.iter().map(|claim| value(claim)).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "select answers::text from tasker.exchange(by_worker => '{worker}', s_tasks => array[{}]::uuid[], s_steps => array[{}]::int[], s_claims => array[{}]::uuid[],
           outcomes => {outcomes}, payloads => array_fill('1'::text, array[{}]), error_kinds => {}, retryables => {}, delays => {delays}, instants => {instants},
           handlers => '{{}}', lanes => '{{}}', positions => '{{}}', keys => '{{}}', capacity => 0, lease => interval '30 s')",
        column(|claim| format!("'{}'", claim.task_id)),
        column(|claim| claim.step_number.to_string()),
        column(|claim| format!("'{}'", claim.claim_id)),
        claims.len(),
        none("text"),
        none("boolean"),
    );
    let answered = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(db.pool()).await;
    answered.map_err(|error| error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned())
}

#[test]
fn an_outcome_that_is_none_changes_nothing() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:in_progress b:in_progress").await;
        let (a, b) = (play.claims[&(play.task(), 0)].clone(), play.claims[&(play.task(), 1)].clone());
        let worker = play.worker.id;
        let before = play.picture().await;
        let (no_delay, no_instant) = ("'{null}'", "'{null}'");
        for (outcome, delay, instant) in [
            ("'{bogus}'", no_delay, no_instant),
            ("'{Complete}'", no_delay, no_instant),
            ("'{release}'", no_delay, no_instant),
            ("'{null}'", no_delay, no_instant),
            ("'{wait}'", no_delay, no_instant),
            ("'{wait}'", "'{infinity}'", no_instant),
            ("'{wait}'", "'{nan}'", no_instant),
            ("'{wait}'", "'{1e300}'", no_instant),
            ("'{wait}'", "'{1e12}'", no_instant),
            ("'{wait}'", no_delay, "'{infinity}'"),
            ("'{wait}'", no_delay, "'{-infinity}'"),
            ("'{wait}'", no_delay, "'{10000-01-01}'"),
            ("'{wait}'", no_delay, "'{0001-01-01 BC}'"),
        ] {
            let refused = hand_in(db, worker, &[&a], outcome, delay, instant).await.unwrap_err();
            assert!(refused.starts_with("22"), "{outcome} {delay} {instant}: {refused}");
        }
        // each with the other's claim
        let crossed = [Claim { claim_id: b.claim_id, ..a.clone() }, Claim { claim_id: a.claim_id, ..b.clone() }];
        let both = crossed.each_ref();
        let refused = hand_in(db, worker, &both, "'{complete,fail}'", "'{null,null}'", "'{null,null}'").await;
        assert_eq!(refused, Err("22023".into()));
        let lost = hand_in(db, worker, &both[..1], "'{complete}'", no_delay, no_instant).await;
        assert_eq!(lost.as_deref(), Ok("{lease_lost}"));
        assert_eq!(play.picture().await, before);
        let answers =
            hand_in(db, worker, &[&a, &b], "'{wait,complete}'", "'{60,null}'", "'{null,null}'").await.unwrap();
        assert_eq!(answers, "{settled,settled}");
    });
}

#[test]
fn of_a_claim_that_is_handed_in_twice_the_first_end_counts() {
    with_database(async |db| {
        let fail = || Outcome::Fail { retryable: Some(false), delay: None };
        let complete = || Outcome::Complete("1".into());
        for (ends, state, errors, results) in
            [([complete(), fail()], "complete", 0, 1), ([fail(), complete()], "failed", 1, 0)]
        {
            let mut play = Play::of(db, "a, b").await;
            play.live("submit a:in_progress").await;
            let claim = play.claims[&(play.task(), 0)].clone();
            let ended = ends.map(|end| (claim.clone(), end));
            assert_eq!(play.worker.settle(db, &ended).await, ["settled", "settled"]);
            assert_eq!(play.state("a").await, state);
            for (table, rows) in [("step_errors", errors), ("step_results", results)] {
                let count = format!("select count(*) from tasker.{table} where task_id = '{}'", play.task());
                assert_eq!(db.value::<i64>(&count).await, rows, "{table}");
            }
        }
    });
}

/// As a handler would have it: whoever waits for ever, or for an age, is scheduled, and can be looked at.
#[test]
fn a_wait_for_an_instant_beyond_all_is_one_for_the_last() {
    with_real_clock(async |db| {
        let mut play = Play::of(db, "ever[handler=ever], age[handler=age]").await;
        play.live("submit").await;
        let tasker = db.tasker().await;
        tasker.handle("test.ever", does(async |_| Ok(Answer::WaitUntil(DateTime::<Utc>::MAX_UTC))));
        tasker.handle("test.age", does(async |_| Ok(Answer::WaitFor(Duration::MAX))));
        let worker = Running::start(&tasker, Settings::default());
        db.until("select bool_and(blocking_reason = 'scheduled_for_later') from tasker.step_readiness_statuses").await;
        let steps = db.workflow_steps(play.task(), Steps::From(0, 10), true).await.unwrap();
        assert!(steps.iter().all(|step| step.next_retry_at.is_some_and(|at| at.year() > 9000)), "{steps:?}");
        worker.stop().await;
    });
}

#[test]
fn instants_that_no_calendar_has_are_refused_at_every_door() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        let name = &play.definition.name;
        for at in ["infinity", "-infinity", "10000-01-01", "290000-01-01", "0001-01-01 BC", "4713-01-01 BC"] {
            for door in ["run_at", "deadline"] {
                let sql = format!("select tasker.submit_task('test', '{name}', {door} => '{at}')");
                let error = tasker::Error::from(sqlx::query(AssertSqlSafe(sql)).execute(db.pool()).await.unwrap_err());
                assert_eq!(error.code(), "bad_instant", "{door} {at}");
            }
        }
        let tasker = db.tasker().await;
        for at in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC] {
            for submission in [
                tasker::Submission { run_at: Some(at), ..Default::default() },
                tasker::Submission { deadline: Some(at), ..Default::default() },
            ] {
                let refused = tasker.submit("test", name, &serde_json::json!({}), submission).await.unwrap_err();
                assert_eq!(refused.code(), "bad_instant");
            }
        }
    });
}

/// However many expired leases one task has that somebody holds: those of others are reaped in the same call, and its own when it is free.
#[test]
fn the_reaper_is_not_held_up_by_a_task_that_somebody_holds() {
    with_database(async |db| {
        let many: Vec<String> = (0..150).map(|n| format!("s{n}")).collect();
        let mut held = Play::of(db, &many.join(", ")).await;
        held.live("submit").await;
        assert_eq!(held.worker.claim(db, 150).await.len(), 150);
        let mut others = Play::of(db, "a").await;
        others.live("submit").await;
        assert_eq!(others.worker.claim(db, 1).await.len(), 1);
        db.advance("31s").await;
        let mut holder = db.session().await;
        let lock = format!("begin; select from tasker.tasks where task_id = '{}' for no key update", held.task());
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut holder).await.unwrap();
        let reap = async |from: &str| -> (i32, i32, String) {
            let sql = format!("select reaped, overdue, next_position::text from tasker.reap(100, '{from}')");
            sqlx::query_as(AssertSqlSafe(sql)).fetch_one(db.pool()).await.unwrap()
        };
        let (reaped, _, position) = reap("-infinity").await;
        assert_eq!(reaped, 1, "the other's");
        // a minute passes, and others' leases come and go: what was passed over is not forgotten
        let mut place = position;
        for _ in 0..4 {
            db.advance("1m").await;
            let (reaped, _, next) = reap(&place).await;
            assert_eq!(reaped, 0);
            place = next;
        }
        sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
        let (first, _, next) = reap(&place).await;
        let (second, ..) = reap(&next).await;
        assert_eq!((first, second), (100, 50));
    });
}

#[test]
fn deadlines_are_acted_on_beside_those_of_tasks_that_somebody_holds() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        for _ in 0..101 {
            play.live("submit(deadline=1h)").await;
        }
        let (last, held) = play.tasks.split_last().unwrap();
        db.advance("2h").await;
        let mut holder = db.session().await;
        sqlx::raw_sql("begin").execute(&mut holder).await.unwrap();
        sqlx::query("select from tasker.tasks where task_id = any($1) for no key update")
            .bind(held)
            .execute(&mut holder)
            .await
            .unwrap();
        let reap = async || -> i32 { db.value("select overdue from tasker.reap(100, '-infinity')").await };
        assert_eq!(reap().await, 1);
        assert_eq!(
            db.value::<String>(&format!("select state::text from tasker.tasks where task_id = '{last}'")).await,
            "failed"
        );
        sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
        assert_eq!((reap().await, reap().await), (100, 0));
    });
}

/// What was submitted under a key a month ago may be so again, and not a day earlier.
#[test]
fn an_idempotency_key_is_kept_for_thirty_days() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        let submit = format!("select tasker.submit_task('test', '{}', idempotency_key => 'k')", play.definition.name);
        let first: uuid::Uuid = db.value(&submit).await;
        for (time, is_kept) in [("29d", true), ("23h59m", true), ("2m", false)] {
            db.advance(time).await;
            db.run("select tasker.reap(100, '-infinity')").await;
            let kept: bool = db.value("select exists (select from tasker.idempotency_keys)").await;
            assert_eq!(kept, is_kept, "{time} later");
        }
        assert_ne!(db.value::<uuid::Uuid>(&submit).await, first);
    });
}

/// A settlement of two tasks in either order, and their release in the other, wait for each other's locks in one order only.
#[test]
fn batches_that_name_the_same_tasks_in_any_order_never_deadlock() {
    with_real_clock(async |db| {
        let mut play = Play::of(db, "a").await;
        for _ in 0..60 {
            for _ in 0..2 {
                play.live("submit").await;
            }
            let claims = play.worker.claim(db, 2).await;
            assert_eq!(claims.len(), 2);
            let both = |order: [usize; 2]| order.map(|n| claims[n].clone());
            let release = |claims: [Claim; 2]| {
                format!(
                    "select tasker.release_steps(array['{}', '{}']::uuid[], '{{0,0}}', array['{}', '{}']::uuid[])",
                    claims[0].task_id, claims[1].task_id, claims[0].claim_id, claims[1].claim_id
                )
            };
            let settle = async |claims: [Claim; 2]| {
                let mut session = db.session().await;
                let ended = claims.map(|claim| (claim, Outcome::Complete("1".into())));
                play.worker.exchange(&mut session, &ended, &[], 0, None).await.map(drop)
            };
            let given_back = async |claims: [Claim; 2]| {
                sqlx::query(AssertSqlSafe(release(claims))).execute(&mut db.session().await).await.map(drop)
            };
            let said = tokio::join!(
                settle(both([0, 1])),
                given_back(both([1, 0])),
                settle(both([1, 0])),
                given_back(both([0, 1]))
            );
            for said in [said.0, said.1, said.2, said.3] {
                said.unwrap();
            }
        }
    });
}

/// Somebody holds a lease (a heartbeat that has not ended), or a ready row (a claim that has not), of tasks that are to be reaped.
#[test]
fn the_reaper_is_not_held_up_by_a_row_that_somebody_holds() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b[attempts=1]").await;
        play.live(
            "submit submit submit(deadline=10s) submit(deadline=10s) 1.a:in_progress 2.a:in_progress 4.a:in_progress",
        )
        .await;
        let [leased, due, running] = [0, 2, 3].map(|n: usize| play.tasks[n]);
        db.advance("31s").await;
        let mut holder = db.session().await;
        for rows in [
            format!("begin; select from tasker.leases where task_id in ('{leased}', '{running}') for update"),
            format!("select from tasker.ready_steps where task_id = '{due}' and step_number = 1 for update"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(rows)).execute(&mut holder).await.unwrap();
        }
        // nobody waits: whoever did would be refused after a second; and what is held takes nobody's place
        let reaped: (i32, i32) = sqlx::query_as("select reaped, overdue from tasker.reap(1, '-infinity')")
            .fetch_one(db.pool())
            .await
            .unwrap();
        assert_eq!(reaped, (1, 0), "the second task's lease alone");
        assert_eq!(reap(db).await, (0, 0));
        sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
        assert_eq!(reap(db).await, (2, 2));
    });
}

/// Reaps as a worker does, once a second, for so many seconds; every minute it begins at the beginning. Gives after how many of them
/// something was reaped.
async fn reaps(db: &TestDatabase, place: &mut String, seconds: usize) -> Option<usize> {
    for second in 0..seconds {
        if second % 60 == 59 {
            *place = "epoch".into();
        }
        let sql = format!("select reaped, next_position::text from tasker.reap(100, '{place}')");
        let (reaped, next): (i32, String) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(db.pool()).await.unwrap();
        *place = next;
        if reaped > 0 {
            return Some(second);
        }
        db.advance("1s").await;
    }
    None
}

#[test]
fn a_reaper_goes_on_when_the_clock_is_set_back() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        let mut place = "epoch".to_owned();
        let now = db.now().await;
        db.advance("1h").await;
        reaps(db, &mut place, 3).await;
        db.set_clock(now).await;
        play.live("submit a:in_progress").await;
        assert_eq!(reaps(db, &mut place, 40).await, Some(31));
    });
}

#[test]
fn a_lease_that_was_committed_after_its_end_is_reaped() {
    with_database(async |db| {
        // a second late; long after its end
        for (seconds, at_most) in [(28, 0), (50, 61), (600, 61)] {
            let mut play = Play::of(db, "a").await;
            play.live("submit").await;
            let mut place = "epoch".to_owned();
            let mut late = Contender::new(db).await;
            let handler = play.worker.handler(&play.definition.steps[0].handler);
            assert_eq!(late.begin(&contender::claim(Uuid::new_v4(), handler, 1)).await, Ok(Some("1".into())));
            assert_eq!(reaps(db, &mut place, 2).await, None);
            db.advance(&format!("{seconds}s")).await;
            assert_eq!(reaps(db, &mut place, 2).await, None);
            late.end("commit").await;
            let after = reaps(db, &mut place, 100).await.expect("it is reaped");
            assert!(after <= at_most, "after {after} s");
        }
    });
}

/// Many leases that end at once, as where a worker of many steps dies: who reaps a full hundred is told that there may be more, and asks again at once.
#[test]
fn who_reaps_a_hundred_is_told_that_there_may_be_more() {
    with_database(async |db| {
        let play = Play::through(db, "a", &"submit ".repeat(230)).await;
        assert_eq!(play.worker.claim(db, 1000).await.len(), 230);
        db.advance("1m").await;
        let mut told = Vec::new();
        for _ in 0..3 {
            let sql = format!(
                "select x.left_over from tasker.exchange('{}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', 0,
                   interval '30 s', reap_from => 'epoch') x",
                play.worker.id
            );
            told.push(db.value::<bool>(&sql).await);
        }
        assert_eq!(told, [true, true, false]);
        assert_eq!(db.value::<i64>("select count(*) from tasker.leases").await, 0);
    });
}
