//! The walk over limit keys: it finds whatever has room, and reads what is dead once.

use std::time::Duration;

use sqlx::Connection;

use crate::support::{
    Chance, Outcome, Play, Search, TestDatabase, Worker, reap, soon, watch::Watch, with_database, with_real_clock,
};

/// How many steps a worker of all handlers could be given now: all that are due without a limit, and of each key as many as
/// its room is.
const CLAIMABLE: &str = "
    select coalesce(sum(case when r.limit_key = '' then r.due else least(r.due, 2 - l.held) end), 0)::bigint
    from (select r.limit_key, count(*) as due from tasker.ready_steps r where r.queue_at <= tasker.clock() group by 1) r
    cross join lateral (select count(*) as held from tasker.leases l where l.limit_key = r.limit_key and l.limit_key <> '') l";

/// Submits so many tasks with keys from 0 to `keys`, in any lane, some for later.
async fn submit(db: &TestDatabase, workflow: &str, tasks: usize, keys: usize, chance: &mut Chance) {
    let lane = ["null", "'high'", "'low'"][chance.of(3)];
    db.run(&format!(
        "select tasker.submit_task('test', '{workflow}', jsonb_build_object('k', n * {factor} % {keys}), priority => {lane},
           run_at => case when n % 7 = 0 then tasker.clock() + n * interval '1 s' end) from generate_series(1, {tasks}) n",
        factor = 1 + chance.of(1000),
    ))
    .await;
}

#[test]
fn a_call_returns_short_only_where_nothing_more_has_room() {
    with_database(async |db| {
        for seed in 0..6 {
            let chance = &mut Chance(seed);
            let play =
                Play::of(db, &format!("a{seed}[concurrency=2 key=k] > b, c{seed}[concurrency=2 key=k], d")).await;
            let keys = [3, 40, 250][seed as usize % 3];
            let mut search = play.worker.search();
            for round in 0..40 {
                match chance.of(8) {
                    0 | 1 => {
                        let tasks = [20, 3 * keys][chance.of(2)];
                        submit(db, &play.definition.name, tasks, keys, chance).await;
                    }
                    2 => db.advance("40s").await,
                    3 | 4 => {
                        // one slot becomes free
                        db.run("update tasker.leases set lease_expires_at = '2000-01-01' where ctid = (select ctid from tasker.leases order by claim_id limit 1)").await;
                        reap(db).await;
                    }
                    5 => search = play.worker.search(),
                    _ => {}
                }
                let wanted = [1, 7, 100, 1000][chance.of(4)];
                let claimable: i64 = db.value(CLAIMABLE).await;
                let got = play.worker.look(db.pool(), &mut search, wanted).await;
                assert_eq!(got as i64, claimable.min(wanted.into()), "seed {seed}, round {round}, wanted {wanted}");
                let full: Vec<String> = db
                    .column("select limit_key from tasker.leases where limit_key <> '' group by 1 having count(*) > 2")
                    .await;
                assert!(full.is_empty(), "seed {seed}, round {round}: more than the limit of {full:?}");
            }
            db.run(
                "select count(tasker.cancel_task(task_id)) from tasker.tasks where state in ('pending', 'in_progress')",
            )
            .await;
        }
    });
}

/// Ready rows under the first handler of a workflow that have come and gone, so many for each key.
async fn churn(db: &TestDatabase, play: &Play<'_>, keys: &[String], rows: usize) {
    let handler = play.worker.handler(&play.definition.steps[0].handler);
    db.run(&format!(
        "insert into tasker.ready_steps (handler_id, lane, limit_key, queue_at, task_id, step_number, attempt, named_task_id)
         select {handler}, 1, k, clock_timestamp() + n * interval '1 us', gen_random_uuid(), 0, 1, {} from unnest(array['{}']) k, generate_series(1, {rows}) n;
         delete from tasker.ready_steps r where not exists (select from tasker.tasks k where k.task_id = r.task_id)",
        play.named_task_id,
        keys.join("', '"),
    ))
    .await;
}

#[test]
fn under_an_old_snapshot_what_is_dead_before_a_known_key_is_not_read_again() {
    with_real_clock(async |db| {
        let play = Play::of(db, "a[concurrency=1 key=k]").await;
        let submit = format!(
            "select tasker.submit_task('test', '{}', jsonb_build_object('k', n)) from generate_series",
            play.definition.name
        );
        db.run(&format!("{submit}(0, 5) n")).await;
        let keys: Vec<String> = db.column("select limit_key from tasker.ready_steps order by 1").await;
        let mut search = play.worker.search();
        assert_eq!(play.worker.look(db.pool(), &mut search, 2).await, 2);
        let mut old = db.session().await;
        sqlx::raw_sql("begin isolation level repeatable read; select count(*) from tasker.tasks")
            .execute(&mut old)
            .await
            .unwrap();
        churn(db, &play, &keys, 2000).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        // two keys have a step behind what is dead and no room, two have one before it and one behind, two have one before it
        db.run(&format!("{submit}(0, 3) n")).await;

        let watch = Watch::new(db, &[]).await;
        let look = async |search: &mut Search| {
            let claimed = play.worker.look(watch.store.pool(), search, 5).await;
            (claimed, watch.cost().buffers)
        };
        assert_eq!(look(&mut search).await.0, 4);
        let (none, read_once) = look(&mut search).await;
        assert_eq!(none, 0);
        let pages = look(&mut search).await.1;
        let all = look(&mut play.worker.search()).await.1;
        assert!(
            pages <= 90 && read_once > pages && all > 4 * pages,
            "{pages} pages, {read_once} before, {all} from the beginning"
        );
    });
}

#[test]
fn a_million_steps_that_wait_for_one_key_cost_another_nothing() {
    with_real_clock(async |db| {
        let play = Play::of(db, "a[concurrency=1 key=k]").await;
        let submit = format!(
            "select tasker.submit_task('test', '{}', jsonb_build_object('k', n)) from generate_series",
            play.definition.name
        );
        // the key that will be blocked stands before the other
        db.run(&format!("{submit}(1, 1) n")).await;
        assert_eq!(play.worker.claim(db, 1).await.len(), 1);
        let watch = Watch::new(db, &[]).await;
        let look = async || {
            db.run(&format!("{submit}(2, 2) n")).await;
            let claimed = play.worker.look(watch.store.pool(), &mut play.worker.search(), 5).await;
            let pages = watch.cost().buffers;
            // its slot becomes free
            db.run("select count(tasker.cancel_task(task_id)) from tasker.leases where limit_key like '%:2'").await;
            (claimed, pages)
        };
        look().await;
        let few = look().await;
        let handler = play.worker.handler(&play.definition.steps[0].handler);
        // in short transactions: a long one keeps what is dead for all tests of the server
        for _ in 0..50 {
            db.run(&format!(
                "insert into tasker.ready_steps (handler_id, lane, limit_key, queue_at, task_id, step_number, attempt, named_task_id)
                 select {handler}, 1, l.limit_key, now() - n * interval '1 ms', gen_random_uuid(), 0, 1, l.named_task_id
                 from tasker.leases l, generate_series(1, 20000) n"
            ))
            .await;
        }
        // the first one may plan anew, since somebody has just analyzed the table
        look().await;
        let (claimed, many) = look().await;
        db.run("truncate tasker.ready_steps; select count(tasker.cancel_task(task_id)) from tasker.tasks where state in ('pending', 'in_progress')").await;
        assert_eq!((few.0, claimed), (1, 1));
        // the index is two or three pages higher, for each probe
        assert!(many <= 100, "{many} pages beside a million, {} beside none", few.1);
    });
}

#[test]
fn two_hundred_claimers_never_exceed_a_limit_and_leave_nothing() {
    const LIMIT: i64 = 3;
    with_real_clock(async |db| {
        let play = Play::of(db, "a[concurrency=3 key=k base=1ms attempts=1000] > b[base=1ms attempts=1000]").await;
        db.run(&format!(
            "select count(tasker.submit_task('test', '{}', jsonb_build_object('k', n % 7))) from generate_series(1, 150) n",
            play.definition.name
        ))
        .await;
        let done = std::sync::atomic::AtomicBool::new(false);
        let claimer = async |number: u64| {
            let chance = &mut Chance(number);
            let names = play.definition.steps.iter().map(|step| step.handler.clone());
            let worker = Worker::new(db, names).await;
            let mut session = db.session().await;
            let mut ended = Vec::new();
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let capacity = 1 + chance.of(4) as i32;
                let reply = match worker.exchange(&mut session, &ended, &worker.serves(), capacity, None).await {
                    Ok(reply) => reply,
                    // somebody else had a lock for long: as the engine does, it comes again
                    Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some("55P03") => {
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                // one in ten dies with what it has claimed
                ended = match chance.of(10) {
                    0 => Vec::new(),
                    _ => reply.claimed.into_iter().map(|claim| (claim, Outcome::Complete("1".into()))).collect(),
                };
                if ended.is_empty() {
                    tokio::time::sleep(Duration::from_millis(100 + chance.of(200) as u64)).await;
                }
            }
            session.close().await.unwrap();
        };
        let watcher = async {
            let mut most = 0;
            loop {
                let held: i64 = db
                    .value("select coalesce(max(n), 0) from (select count(*) as n from tasker.leases where limit_key <> '' group by limit_key) l")
                    .await;
                most = most.max(held);
                db.run("update tasker.leases set lease_expires_at = '2000-01-01' where lease_expires_at < now() + interval '26 s'").await;
                reap(db).await;
                if db.value("select not exists (select from tasker.tasks where state <> 'complete')").await {
                    break;
                }
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            most
        };
        let claimers = futures(200, claimer);
        let (most, ()) = soon("the claimers", async { tokio::join!(watcher, claimers) }).await;
        assert_eq!(most, LIMIT, "never above, and reached");
    });
}

/// So many at once.
async fn futures(count: u64, run: impl AsyncFn(u64)) {
    let mut all: Vec<_> = (0..count).map(|number| Box::pin(run(number))).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await
}
