//! The walk over limit keys: it finds whatever has room, and reads what is dead once.

use std::time::Duration;

use sqlx::Connection;

use crate::support::{
    Chance, Outcome, Play, Search, TestDatabase, Worker,
    contender::{Contender, claim, claim_of, settle},
    reap, seed, soon,
    watch::Watch,
    with_database, with_real_clock,
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
        let first = seed();
        for seed in first..first + 6 {
            let chance = &mut Chance::mixed(seed);
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

/// A key that stands in three lanes is walked three times, and has room for one step.
#[test]
fn a_key_in_several_lanes_is_one_key_with_room() {
    with_database(async |db| {
        let play = Play::of(db, "a[concurrency=1 key=k]").await;
        for lane in ["high", "normal", "low"] {
            db.run(&format!(
                "select count(tasker.submit_task('test', '{}', jsonb_build_object('k', n), priority => '{lane}')) from generate_series(1, 250) n",
                play.definition.name
            ))
            .await;
        }
        let mut search = play.worker.search();
        assert_eq!(play.worker.look(db.pool(), &mut search, 1).await, 1);
        // it goes on in the middle, behind which 150 keys stand in each lane
        assert_eq!(play.worker.look(db.pool(), &mut search, 200).await, 200);
        assert_eq!(play.worker.look(db.pool(), &mut search, 200).await, 49);
        db.run("select count(tasker.cancel_task(task_id)) from tasker.tasks where state in ('pending', 'in_progress')")
            .await;
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

impl Play<'_> {
    /// Registers another version of the workflow in which a step has this limit and this handler.
    async fn version(&self, version: &str, step: usize, limit: u32, handler: &str) {
        let mut definition = self.definition.clone();
        definition.version = version.into();
        definition.steps[step].handler = handler.into();
        definition.steps[step].concurrency.as_mut().unwrap().limit = limit;
        self.db.register(&definition).await.unwrap();
    }

    /// Submits so many tasks of a version.
    async fn submit_of(&self, version: &str, tasks: usize) {
        let name = &self.definition.name;
        self.db
            .run(&format!(
                "select tasker.submit_task('test', '{name}', version => '{version}') from generate_series(1, {tasks})"
            ))
            .await;
    }

    /// What the view says of the steps that wait, and what is said of them when they are explained.
    async fn waiting(&self) -> Vec<String> {
        self.db
            .column(
                "select distinct coalesce(v.blocking_reason, 'ready') || ' ' || coalesce((
                   select string_agg(e.detail, ' and ') from tasker.explain_step(v.workflow_step_id) e where e.blocks), 'no cause')
                 from tasker.tasks k cross join lateral (select * from tasker.step_readiness_statuses v where v.task_id = k.task_id offset 0) v
                 where k.state in ('pending', 'in_progress') and v.current_state = 'pending' order by 1",
            )
            .await
    }
}

/// All versions share a key's slots, whatever their handlers; how many there are was said last.
#[test]
fn versions_with_other_limits_share_a_key() {
    with_database(async |db| {
        for head in ["1.0.0", "5.0.0"] {
            let play = Play::of(db, &format!("a{}[concurrency=1 key=k]", &head[..1])).await;
            let [one, five] = [play.definition.steps[0].handler.clone(), format!("test.another_{}", &head[..1])];
            play.version("5.0.0", 0, 5, &five).await;
            let worker = Worker::new(db, [one.clone(), five.clone()]).await;
            play.submit_of(head, 4).await;
            play.submit_of(if head == "1.0.0" { "5.0.0" } else { "1.0.0" }, 4).await;
            assert_eq!(play.waiting().await, ["ready no cause"]);
            // more than there is room for, and by one handler after the other, too
            let mut held = worker.claim(db, 3).await;
            assert_eq!(held.len(), 3, "{head} first");
            assert_eq!(play.waiting().await, ["ready no cause"]);
            held.extend(worker.claim(db, 10).await);
            assert_eq!(held.len(), 5, "{head} first");
            assert_eq!(play.waiting().await, ["concurrency_limit_reached 5 of 5 slots of its key are taken"]);
            // a version that is registered later lowers it, for the others too
            play.version("6.0.0", 0, 2, &one).await;
            assert_eq!(play.waiting().await, ["concurrency_limit_reached 5 of 2 slots of its key are taken"]);
            let ended: Vec<_> = held.drain(..3).map(|claim| (claim, Outcome::Complete("1".into()))).collect();
            let mut connection = db.pool().acquire().await.unwrap();
            worker.exchange(&mut connection, &ended, &[], 0, None).await.unwrap();
            drop(connection);
            assert_eq!(worker.claim(db, 10).await.len(), 0);
            let ended: Vec<_> = held.drain(..1).map(|claim| (claim, Outcome::Complete("1".into()))).collect();
            let mut connection = db.pool().acquire().await.unwrap();
            worker.exchange(&mut connection, &ended, &[], 0, None).await.unwrap();
            drop(connection);
            assert_eq!(play.waiting().await, ["ready no cause"]);
            assert_eq!(worker.claim(db, 10).await.len(), 1);
            db.run(
                "select count(tasker.cancel_task(task_id)) from tasker.tasks where state in ('pending', 'in_progress')",
            )
            .await;
        }
    });
}

/// However many keys stand before it of which nothing may run: each call goes on where the last one stopped, and loses nothing of what it has found.
#[test]
fn a_step_behind_thousands_of_keys_that_wait_is_found() {
    with_database(async |db| {
        let play = Play::of(db, "a[concurrency=1 key=k]").await;
        let name = &play.definition.name;
        let submit = async |key: &str, keys: usize, at: &str| {
            db.run(&format!(
                "select tasker.submit_task('test', '{name}', jsonb_build_object('k', '{key}' || lpad(n::text, 6, '0')), run_at => {at})
                 from generate_series(1, {keys}) n"
            ))
            .await;
        };
        submit("m", 2500, "tasker.clock() + interval '1 day'").await;
        let mut search = play.worker.search();
        for (round, key) in ["z", "c", "y", "m9", "d", "x"].into_iter().enumerate() {
            submit(key, 1 + round % 2, "null").await;
            let wanted = [1, 2, 100][round % 3];
            let mut calls = 0;
            let mut found = 0;
            while found < 1 + round % 2 {
                found += play.worker.look(db.pool(), &mut search, wanted).await;
                calls += 1;
                assert!(calls <= 8, "{key}, {wanted} wanted: {found} found in {calls} calls");
            }
        }
    });
}

#[test]
fn long_values_that_differ_at_their_ends_are_two_keys() {
    with_database(async |db| {
        let play = Play::of(db, "a[concurrency=1 key=k]").await;
        let name = &play.definition.name;
        db.run(&format!(
            "select tasker.submit_task('test', '{name}', jsonb_build_object('k', repeat('x', 300) || n)) from generate_series(1, 3) n"
        ))
        .await;
        assert_eq!(play.worker.claim(db, 10).await.len(), 3);
    });
}

/// The claim of a task waits for a key; meanwhile a step with another key becomes due in it, and somebody takes that key's last slot.
#[test]
fn a_claim_of_one_task_takes_only_keys_that_it_has_locked() {
    with_database(async |db| {
        let mut play = Play::of(db, "first[concurrency=1 key=k]; p > second[concurrency=1 key=k]").await;
        let handler = |name: &str| play.worker.handler(&play.definition.steps[play.number(name) as usize].handler);
        let (first, second) = (handler("first"), handler("second"));
        play.live("submit submit submit 1.p:in_progress 2.p:complete").await;
        let (mine, others, third) = (play.tasks[0], play.tasks[1], play.tasks[2]);
        let ends = settle(&play.worker, &play.claims[&(mine, play.number("p"))], &Outcome::Complete("1".into()));
        let [mut slow, waits, mut fast] =
            [Contender::new(db).await, Contender::new(db).await, Contender::new(db).await];
        assert_eq!(slow.begin(&claim_of(third, play.worker.id, first, 1)).await, Ok(Some("1".into())));
        let both = claim_of(mine, play.worker.id, first, 5)
            .replace(&format!("array[{first}, {first}, {first}]"), &format!("array[{first}, {second}]"));
        let pending = waits.start(&both);
        assert!(pending.is_blocked(db).await, "somebody has the key of the first");
        assert_eq!(fast.run(&ends).await, Ok(Some("settled".into())));
        assert_eq!(fast.begin(&claim_of(others, play.worker.id, second, 1)).await, Ok(Some("1".into())));
        slow.end("commit").await;
        let (mut waits, got) = pending.answer().await;
        // it may have given up, where this took longer than a second
        assert!(got == Ok(Some("0".into())) || got == Err("lock_not_available".into()), "{got:?}");
        fast.end("commit").await;
        assert_eq!(waits.run(&both).await, Ok(Some("0".into())));
        let full: Vec<i64> =
            db.column("select count(*) from tasker.leases where limit_key <> '' group by limit_key").await;
        assert_eq!(full, [1, 1]);
    });
}

/// Whoever waits for a key holds none that comes after it.
#[test]
fn keys_are_locked_in_one_order() {
    with_database(async |db| {
        let mut play = Play::of(db, "a[concurrency=2 key=k], b[concurrency=2 key=k], c[concurrency=2 key=k]").await;
        play.live("submit submit").await;
        let [a, b, c] =
            ["a", "b", "c"].map(|name| play.worker.handler(&play.definition.steps[play.number(name) as usize].handler));
        let of_all = |sql: String| {
            sql.replace(&format!("array[{a}, {a}, {a}]"), &format!("array[{a}, {b}, {c}]"))
                .replace("'{0,1,2}'", "'{1,1,1}'")
        };
        let locks: Vec<i64> =
            db.column("select distinct hashtextextended(limit_key, 7461) from tasker.ready_steps order by 1").await;
        for sql in [claim(play.worker.id, a, 3), claim_of(play.tasks[1], play.worker.id, a, 3)].map(of_all) {
            let mut holder = Contender::new(db).await;
            let _ = holder.begin(&format!("select pg_advisory_xact_lock({})::text", locks[0])).await;
            let pending = Contender::new(db).await.start(&sql);
            assert!(pending.is_blocked(db).await);
            for lock in &locks[1..] {
                assert!(db.value::<bool>(&format!("select pg_try_advisory_xact_lock({lock})")).await, "{sql}");
            }
            holder.end("rollback").await;
            assert_eq!(pending.answer().await.1, Ok(Some("3".into())));
        }
    });
}
