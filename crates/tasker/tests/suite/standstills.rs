//! A verb that stands still between two of its statements, or within one: what it has read a moment ago is not so any more when it goes on.

use sqlx::{PgConnection, Row};

use crate::support::{
    Outcome, Play, TestDatabase, Worker,
    contender::{self, Contender, REAP, Said},
    reap, with_database,
};

/// Puts a gate into a function, beside this condition in its text: whoever comes to it waits while it is [closed](closed).
async fn gate(db: &TestDatabase, function: &str, condition: &str) {
    db.run(
        "create function tasker_test.pass() returns boolean language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(4243); return true; end $$",
    )
    .await;
    let text: String = db.value(&format!("select pg_get_functiondef('tasker.{function}'::regproc)")).await;
    assert_eq!(text.matches(condition).count(), 1, "`{condition}` in {function}");
    db.run(&text.replace(condition, &format!("tasker_test.pass() and {condition}"))).await;
}

/// The gate is closed until this session ends.
async fn closed(db: &TestDatabase) -> PgConnection {
    let mut keeper = db.session().await;
    sqlx::raw_sql("select pg_advisory_lock(4243)").execute(&mut keeper).await.unwrap();
    keeper
}

async fn open(mut keeper: PgConnection) {
    sqlx::raw_sql("select pg_advisory_unlock(4243)").execute(&mut keeper).await.unwrap();
}

#[test]
fn a_deadline_that_another_reaper_has_acted_on_does_not_fail_what_was_revived_since() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        // paused, so that nothing of it stands in the queue, which would have to be free
        play.live("submit(deadline=1h) a:complete task:pause +2h").await;
        let late = Contender::new(db).await;
        gate(db, "reap", "d.deadline <= now_").await;
        let keeper = closed(db).await;
        let late = late.start(REAP);
        assert!(late.is_blocked(db).await);
        // shared with nobody: the others go past the closed gate
        db.run("create or replace function tasker_test.pass() returns boolean language sql as 'select true'").await;
        assert_eq!(reap(db).await, (0, 1));
        play.live("b:retry").await;
        open(keeper).await;
        assert_eq!(late.answer().await.1, Ok(Some("0 0".into())));
        assert_eq!(play.state("b").await, "pending");
    });
}

#[test]
fn a_search_that_was_overtaken_has_not_seen_the_queues_that_it_did_not_look_at() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit").await;
        // a stands first, b waits in another queue; both have been due for a while
        db.advance("1s").await;
        gate(db, "claim", "exists (select from tasker.handlers h where h.handler_id = any(handlers) and h.limited)")
            .await;
        let keeper = closed(db).await;
        let handlers = play.worker.serves();
        let worker = play.worker.id;
        let mut session = db.session().await;
        let search = tokio::spawn(async move {
            let row = sqlx::query(
                "select cardinality(l_tasks) as got, next_positions::text from tasker.claim($1, $2, '{1,1}', array_fill('-infinity'::timestamptz, array[2]), '{\"\",\"\"}', 1, interval '30 s')",
            )
            .bind(worker)
            .bind(handlers)
            .fetch_one(&mut session)
            .await
            .unwrap();
            (row.get::<Option<i32>, _>("got"), row.get::<String, _>("next_positions"))
        });
        db.until(
            "select count(*) > 0 from pg_stat_activity where datname = current_database() and wait_event = 'advisory'",
        )
        .await;
        // whoever takes the foremost step leaves the search with nothing
        db.cancel_step(tasker::step_id(play.task(), 0), Default::default()).await.unwrap();
        open(keeper).await;
        // the next search begins where this one did, and not behind b
        assert_eq!(search.await.unwrap(), (None, "{-infinity,-infinity}".into()));
    });
}

#[test]
fn submissions_that_take_the_same_keys_in_any_order_never_deadlock() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        let submit = |keys: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|key| ("null", *key)).collect();
            contender::submit_many(play.named_task_id, &keys)
        };
        let mut holder = Contender::new(db).await;
        holder.begin(&submit(&["'z'"])).await.unwrap();
        // the one has a, waits for z and wants m; the other begins with m and wants a
        let one = Contender::new(db).await.start(&submit(&["'a'", "'z'", "'m'"]));
        assert!(one.is_blocked(db).await);
        let other = Contender::new(db).await.start(&submit(&["'m'", "'a'"]));
        assert!(other.is_blocked(db).await);
        holder.end("rollback").await;
        let how_many = |said: Said| said.unwrap().unwrap().split(' ').count();
        assert_eq!(how_many(one.answer().await.1), 3);
        assert_eq!(how_many(other.answer().await.1), 2);
    });
}

#[test]
fn what_a_lost_reply_has_leased_is_adopted_without_waiting_for_what_is_locked() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:in_progress b:in_progress").await;
        let mut other = Contender::new(db).await;
        other.begin("select task_id::text from tasker.leases where step_number = 0 for update").await.unwrap();
        let sql = contender::adopt(play.worker.id).replace("count(*)::text", "string_agg(step_number::text, ',')");
        let adopting = Contender::new(db).await.start(&sql);
        assert!(!adopting.is_blocked(db).await);
        let (mut session, said) = adopting.answer().await;
        assert_eq!(said, Ok(Some("1".into())));
        other.end("rollback").await;
        assert_eq!(session.run(&sql).await, Ok(Some("0,1".into())));
        // what has expired is the reaper's
        db.advance("31s").await;
        assert_eq!(session.run(&sql).await, Ok(None));
    });
}

/// Two that come back after days would forget each other: who has its own row waits for nobody's.
#[test]
fn a_worker_that_registers_waits_for_nobody_whom_it_forgets() {
    with_database(async |db| {
        let (one, other) = (Worker::new(db, ["h".into()]).await, Worker::new(db, ["h".into()]).await);
        db.advance("2d").await;
        let mut session = Contender::new(db).await;
        let coming_back = format!("select description from tasker.workers where worker_id = '{}' for update", one.id);
        session.begin(&coming_back).await.unwrap();
        let back = Contender::new(db).await.start(&contender::register_worker(other.id, "h"));
        assert!(!back.is_blocked(db).await);
        let (mut back, said) = back.answer().await;
        assert!(said.is_ok());
        session.end("rollback").await;
        back.run(&contender::register_worker(other.id, "h")).await.unwrap();
        assert_eq!(db.column::<uuid::Uuid>("select worker_id from tasker.workers").await, [other.id]);
    });
}

/// A divergence that somebody has made by hand: the ready row goes, the rest of the batch is claimed.
#[test]
fn a_ready_row_of_a_step_that_is_leased_already_does_not_fail_the_claim() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:in_progress").await;
        db.run(
            "insert into tasker.ready_steps select (jsonb_populate_record(r, jsonb_build_object('step_number', 0, 'handler_id', n.handler_id))).*
             from tasker.ready_steps r join tasker.named_tasks_named_steps n on n.named_task_id = r.named_task_id and n.step_number = 0",
        )
        .await;
        let claimed = play.worker.claim(db, 9).await;
        assert_eq!(claimed.iter().map(|claim| claim.step_number).collect::<Vec<_>>(), [1]);
        let first = play.claims[&(play.task(), 0)].clone();
        assert_eq!(play.worker.settle(db, &[(first, Outcome::Complete("1".into()))]).await, ["settled"]);
    });
}

/// Two who name the same handlers in another order: nobody holds one while he waits for one that comes before it.
#[test]
fn handlers_come_into_being_in_one_order() {
    with_database(async |db| {
        let worker = |n: usize| {
            let worker = uuid::Uuid::new_v4();
            format!("select tasker.register_worker('{worker}', array['test.z{n}', 'test.m{n}'], '')::text")
        };
        let workflow = |n: usize| {
            format!(
                "select tasker.register_workflow('test', 'w', '{n}.0.0', '{{}}', 'hash', array['s', 't'], array['test.z{n}', 'test.m{n}'], array[3, 3],
                   array[true, true], array[1, 1], array[60, 60], array[30, 30], array[1, 1]::smallint[], array[null, null]::int[], '[[], []]', array['{{}}', '{{}}'],
                   array['{{}}', '{{}}'], array['{{}}', '{{}}'], array[0, 0], array[0, 0], array[0, 0])::text"
            )
        };
        for (n, sql) in [worker(1), workflow(2)].into_iter().enumerate().map(|(n, sql)| (n + 1, sql)) {
            let new =
                |name: &str| format!("insert into tasker.handlers (name) values ('test.{name}{n}') returning name");
            let mut holder = Contender::new(db).await;
            let _ = holder.begin(&new("m")).await;
            let both = Contender::new(db).await.start(&sql);
            assert!(both.is_blocked(db).await, "{sql}");
            let other = Contender::new(db).await.start(&new("z"));
            assert!(!other.is_blocked(db).await, "{sql}");
            holder.end("commit").await;
            both.answer().await.1.unwrap();
        }
    });
}
