//! Events: every transition, once, and no effect before its cause, whatever commits when.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tasker::{
    Settings, Submission, Tasker,
    events::{Cursor, Event},
};
use uuid::Uuid;

use crate::torture::server::Server;

use crate::support::{
    Chance, Play, Running, TestDatabase, breakage, nothing, seed, sketch, soon, watch::Watch, with_database,
    with_real_clock,
};

/// An event, in short.
fn told(events: &[Event]) -> Vec<String> {
    let step = |event: &Event| event.step_number.map(|n| format!(" {n}")).unwrap_or_default();
    events.iter().map(|event| format!("{}{}", event.kind, step(event))).collect()
}

/// Everything after a cursor, and the place behind it.
async fn all(db: &TestDatabase, after: Option<&Cursor>, page: i32) -> (Vec<Event>, Cursor) {
    let (mut events, mut place) = (Vec::new(), after.cloned());
    loop {
        let window = db.read_events(place.as_ref(), None, page).await.unwrap();
        events.extend(window.events);
        place = Some(window.next.clone());
        if window.is_whole {
            return (events, window.next);
        }
    }
}

#[test]
fn everything_that_happens_to_a_task_is_told_in_its_order() {
    with_database(async |db| {
        let mut play = Play::of(db, "a > b").await;
        play.live(
            "submit task:pause task:resume a:limit(5) a:edit a:failed a:retry a:complete b:waits(1h) +1h b:fatal b:retry b:skipped",
        )
        .await;
        let expected = [
            "task.submitted",
            "task.paused",
            "task.resumed",
            "step.limit_changed 0",
            "step.input_edited 0",
            "step.in_progress 0",
            "task.in_progress",
            "step.failed 0",
            "step.retried 0",
            "step.in_progress 0",
            "step.complete 0",
            "step.in_progress 1",
            "step.pending 1",
            "step.in_progress 1",
            "step.failed 1",
            "task.failed",
            "task.retried",
            "step.retried 1",
            "step.in_progress 1",
            "step.skipped 1",
            "task.complete",
        ];
        let (events, next) = all(db, None, 1000).await;
        let sorted = |mut told: Vec<String>| {
            told.sort();
            told
        };
        assert_eq!(sorted(told(&events)), sorted(expected.map(String::from).to_vec()));
        // read in pieces of every size, from every event on
        for page in 1..=events.len() as i32 + 1 {
            assert_eq!(told(&all(db, None, page).await.0), told(&events), "pieces of {page}");
        }
        for (n, event) in events.iter().enumerate() {
            let rest = all(db, Some(&event.cursor), 2).await.0;
            assert_eq!(told(&rest), told(&events[n + 1..]), "after {n}");
        }
        assert!(all(db, Some(&next), 10).await.0.is_empty());
        let of_task = db.read_events(None, Some(play.task()), 100).await.unwrap();
        assert_eq!(told(&of_task.events), told(&events));
        assert!(db.read_events(None, Some(Uuid::nil()), 100).await.unwrap().events.is_empty());
        let failed = events.iter().find(|event| event.kind == "step.failed").unwrap();
        assert!(failed.next_retry_at.is_some() && failed.error_kind.is_some(), "{failed:?}");
    });
}

/// The effect's transaction began before its cause's, a third one in between runs on: by the numbers of transactions the effect would come first.
#[test]
fn an_effect_never_comes_before_its_cause() {
    with_database(async |db| {
        let workflow = db.register(&sketch("a")).await.unwrap();
        let mut place = db.events_now().await.unwrap();
        let (mut effect, mut other) = (db.session().await, db.session().await);
        for session in [&mut effect, &mut other] {
            sqlx::raw_sql("begin; select pg_current_xact_id()").execute(session).await.unwrap();
        }
        let task = submit(&mut db.session().await, workflow, 1).await[0];
        let cancel = format!("select tasker.cancel_task('{task}'); commit");
        sqlx::raw_sql(sqlx::AssertSqlSafe(cancel)).execute(&mut effect).await.unwrap();
        let (mut events, next) = all(db, Some(&place), 100).await;
        place = next;
        sqlx::raw_sql("commit").execute(&mut other).await.unwrap();
        events.extend(all(db, Some(&place), 100).await.0);
        assert_eq!(told(&events), ["task.submitted", "step.cancelled 0", "task.cancelled"]);
    });
}

/// What got its number first and is committed last is not lost.
#[test]
fn a_late_commit_is_not_passed_over() {
    with_database(async |db| {
        let workflow = db.register(&sketch("a")).await.unwrap();
        let place = db.events_now().await.unwrap();
        let mut late = db.session().await;
        let mut transaction = late.begin().await.unwrap();
        let first = submit(&mut transaction, workflow, 1).await[0];
        let second = submit(&mut db.session().await, workflow, 1).await[0];
        let (events, place) = all(db, Some(&place), 100).await;
        assert_eq!(events.iter().map(|event| event.task_id).collect::<Vec<_>>(), [second]);
        transaction.commit().await.unwrap();
        let (events, place) = all(db, Some(&place), 100).await;
        assert_eq!(events.iter().map(|event| event.task_id).collect::<Vec<_>>(), [first]);
        assert!(all(db, Some(&place), 100).await.0.is_empty());
    });
}

#[test]
fn a_restored_dump_begins_another_history() {
    with_database(async |db| {
        let workflow = db.register(&sketch("a")).await.unwrap();
        let mut session = db.session().await;
        let before = submit(&mut session, workflow, 3).await;
        let of_now = db.events_now().await.unwrap();
        // as a dump brings them along: transactions of another server, some of which are to come here
        db.run(
            "update tasker.task_transitions set xid = (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 30)::text::xid8;
             delete from tasker.event_epochs; insert into tasker.event_epochs values ('0123456789abcdef', 0, now())",
        )
        .await;
        let elsewhere = of_now.as_str().replace(&of_now.as_str()[..16], "0123456789abcdef");
        let refused = |code: &'static str, cursor: String| async move {
            let error = db.read_events(Some(&cursor.parse().unwrap()), None, 10).await.unwrap_err();
            assert_eq!(error.code(), code, "{cursor}");
        };
        refused("cursor_gone", elsewhere).await;
        refused("cursor_gone", format!("{}/9:999999999:", &of_now.as_str()[..16])).await;
        let (events, place) = all(db, None, 2).await;
        let tasks: BTreeSet<Uuid> = events.iter().map(|event| event.task_id).collect();
        assert_eq!(
            (events.len(), tasks),
            (3, before.into_iter().collect()),
            "what was restored is read from the beginning"
        );
        for _ in 0..50 {
            let after = submit(&mut session, workflow, 1).await;
            let window = db.read_events(Some(&place), None, 1000).await.unwrap();
            assert_eq!(window.events.last().unwrap().task_id, after[0]);
        }
        assert_eq!(
            all(db, Some(&place), 7).await.0.len(),
            50,
            "and not as something new, when its transactions' numbers have come to pass"
        );
        assert_eq!(all(db, None, 7).await.0.len(), 53);
    });
}

#[test]
fn what_cannot_be_read_is_refused_with_what_to_do() {
    with_database(async |db| {
        db.run("select tasker.begin_event_epoch()").await;
        for (call, code) in [
            ("read_events('x')", "bad_cursor"),
            ("read_events('0123456789abcdef/3:3:/1')", "bad_cursor"),
            ("read_events(null, 0)", "bad_limit"),
            ("read_events(null, 100001)", "bad_limit"),
            ("read_events(null, null)", "bad_limit"),
            ("read_events('0123456789abcdef/3:3:')", "cursor_gone"),
        ] {
            let sql = sqlx::AssertSqlSafe(format!("select tasker.{call}"));
            let error = tasker::Error::from(sqlx::query(sql).fetch_all(db.pool()).await.unwrap_err());
            assert_eq!(error.code(), code, "{call}");
        }
    });
}

/// Two follow the same, one of them one task only, one comes late and from the beginning, one is too slow: each is told everything, once.
#[test]
fn followers_are_told_everything_wherever_they_begin() {
    with_real_clock(async |db| {
        let workflow = db.register(&sketch("a")).await.unwrap();
        let mut session = db.session().await;
        let first = submit(&mut session, workflow, 5).await;
        let tasker = db.tasker().await;
        let now = db.events_now().await.unwrap();
        let mut slow = tasker.follow(Some(now.clone()), None);
        let mut of_one = tasker.follow(None, Some(first[2]));
        let mut submitted = Vec::new();
        for _ in 0..300 {
            submitted.extend(submit(&mut session, workflow, 1).await);
            // one reading each: more than are kept
            tokio::time::sleep(Duration::from_millis(22)).await;
        }
        let mut late = tasker.follow(None, None);
        submitted.extend(submit(&mut session, workflow, 2500).await);
        db.run(&format!("select tasker.cancel_task('{}')", first[2])).await;
        let tasks_of = async |follower: &mut tasker::events::Subscription, events: usize| {
            let mut tasks = Vec::new();
            while tasks.len() < events {
                let batch = soon("the next batch", follower.next()).await.unwrap();
                assert!(!batch.events.is_empty());
                tasks.extend(batch.events.iter().map(|event| event.task_id));
            }
            let more = tokio::time::timeout(Duration::from_millis(500), follower.next()).await;
            assert!(more.is_err(), "{:?} besides {events}", more.map(|more| more.map(|more| more.events.len())));
            tasks
        };
        // of its cancellation: its step's and its own
        let cancelled = [first[2], first[2]];
        assert_eq!(tasks_of(&mut slow, submitted.len() + 2).await, [submitted.as_slice(), &cancelled].concat());
        assert_eq!(tasks_of(&mut late, submitted.len() + 7).await, [first.as_slice(), &submitted, &cancelled].concat());
        assert_eq!(tasks_of(&mut of_one, 3).await, [first[2]; 3]);
    });
}

/// Whoever was in the middle of a window, and stays away while more happens, is told the rest of the window and what came after it, though nothing
/// happens any more when it is back.
#[test]
fn a_follower_from_the_middle_of_a_window_is_told_what_came_after_it() {
    with_real_clock(async |db| {
        let workflow = db.register(&sketch("a")).await.unwrap();
        let mut session = db.session().await;
        submit(&mut session, workflow, 3).await;
        let (events, _) = all(db, None, 1000).await;
        assert_eq!(events.len(), 3);
        submit(&mut session, workflow, 4).await;
        let tasker = db.tasker().await;
        for (place, event) in events.iter().enumerate() {
            let rest = events.len() - place - 1 + 4;
            for _ in 0..2 {
                let mut follower = tasker.follow(Some(event.cursor.clone()), None);
                let mut told = 0;
                while told < rest {
                    told += soon("the next batch", follower.next()).await.unwrap().events.len();
                }
                assert_eq!(told, rest);
                // and once more, with a reader that has been there for a while
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    });
}

#[test]
fn a_payload_says_what_the_views_say_in_one_query_for_all() {
    with_real_clock(async |db| {
        let mut play = Play::of(db, "a, b > c").await;
        play.live("submit a:complete b:asked(1h)").await;
        let events = all(db, None, 1000).await.0;
        let watch = Watch::new(db, &[]).await;
        // the first of all loads the catalogue
        watch.store.event_payloads(&events).await.unwrap();
        watch.cost();
        let payloads = watch.store.event_payloads(&events).await.unwrap();
        assert_eq!(watch.cost().statements, 1);
        let said: Vec<serde_json::Value> =
            payloads.iter().map(|payload| serde_json::from_str(payload.json.get()).unwrap()).collect();
        let places: Vec<Option<i32>> = payloads.iter().map(|payload| payload.step_number).collect();
        assert_eq!(places, [None, Some(0), Some(1)], "c's parents are not complete: nothing has happened to it");
        assert_eq!(said[0]["execution_status"], "waiting_for_retry");
        assert_eq!(
            (&said[0]["total_steps"], &said[0]["completed_steps"], &said[0]["namespace"]),
            (&3.into(), &1.into(), &"test".into())
        );
        assert_eq!(
            (&said[2]["blocking_reason"], &said[2]["retry_eligible"]),
            (&"waiting_for_retry".into(), &false.into())
        );
        play.live("b:retry b:complete c:in_progress").await;
        let events = all(db, None, 1000).await.0;
        let payloads = db.event_payloads(&events).await.unwrap();
        let of_c: serde_json::Value = serde_json::from_str(payloads.last().unwrap().json.get()).unwrap();
        assert_eq!(
            (&of_c["dependencies"], &of_c["dependencies_satisfied"]),
            (&serde_json::json!(["a", "b"]), &true.into())
        );
    });
}

/// Whether a task's story makes sense from its beginning on: nobody is told of an effect whose cause he has not been told of.
struct Stories {
    edges: Vec<(i32, i32)>,
    seen: HashSet<(i64, Uuid, i32)>,
    states: BTreeMap<Uuid, (String, BTreeMap<i32, String>)>,
}

impl Stories {
    fn hear(&mut self, event: &Event) {
        let step = event.step_number.unwrap_or(-1);
        assert!(self.seen.insert((event.number, event.task_id, step)), "twice: {event:?}");
        let (task, steps) = self.states.entry(event.task_id).or_default();
        let is_satisfied = |step: i32| steps.get(&step).is_some_and(|state| state == "complete");
        match (event.step_number, event.to_state.as_str()) {
            (None, "pending") => assert_eq!(task, "", "submitted at first"),
            (None, "complete") => assert!((0..4).all(is_satisfied), "a task that ended before its steps"),
            (None, _) => assert_ne!(task, "", "{event:?}"),
            (Some(to), "in_progress") => {
                assert_ne!(task, "", "claimed before it was submitted: {event:?}");
                let mut parents = self.edges.iter().filter(|edge| edge.1 == to);
                assert!(
                    parents.all(|edge| is_satisfied(edge.0)),
                    "claimed before its parents were complete: {event:?}"
                );
                assert!(!is_satisfied(to), "{event:?}");
            }
            (Some(step), "complete") => {
                assert_eq!(steps.get(&step).map(String::as_str), Some("in_progress"), "{event:?}")
            }
            (Some(_), _) => assert_ne!(task, "", "{event:?}"),
        }
        match event.step_number {
            None => *task = event.to_state.clone(),
            Some(step) => drop(steps.insert(step, event.to_state.clone())),
        }
    }
}

/// What was written, to be compared with what was told.
const WRITTEN: &str = "select count(*) from tasker.events";

/// A hundred writers, commits that come late, exchanges over several tasks, and one who has nothing to do with it and never ends.
#[test]
fn nothing_is_missed_and_nothing_comes_twice_beside_a_hundred_writers() {
    with_real_clock(async |db| {
        let definition = sketch("a > b, c > d");
        let id = db.register(&definition).await.unwrap();
        let place = db.events_now().await.unwrap();
        let mut unrelated = db.session().await;
        sqlx::raw_sql("begin; select pg_current_xact_id()").execute(&mut unrelated).await.unwrap();
        let (tasker, another) = (db.tasker().await, db.tasker().await);
        let workers = [&tasker, &another].map(|tasker| {
            definition.steps.iter().for_each(|step| tasker.handle(&step.handler, nothing()));
            Running::start(tasker, Settings::default())
        });
        let seed = seed();
        let writers: Vec<_> = (0..100)
            .map(|n| {
                let (store, mut chance) = (db.options().clone(), Chance::mixed(seed + n));
                tokio::spawn(async move {
                    let mut session = sqlx::ConnectOptions::connect(&store).await.unwrap();
                    for _ in 0..3 {
                        let mut transaction = session.begin().await.unwrap();
                        let how_many = 1 + chance.of(4) as i32;
                        submit(&mut transaction, id, how_many).await;
                        tokio::time::sleep(Duration::from_millis(chance.of(60) as u64)).await;
                        match chance.of(5) {
                            0 => transaction.rollback().await.unwrap(),
                            _ => transaction.commit().await.unwrap(),
                        }
                    }
                })
            })
            .collect();
        let mut stories =
            Stories { edges: vec![(0, 1), (0, 2), (1, 3), (2, 3)], seen: HashSet::new(), states: BTreeMap::new() };
        // two who follow, one of them from the middle of what happens, and one who looks now and then by himself
        let mut followers = [tasker.follow(Some(place.clone()), None), tasker.follow(Some(place.clone()), None)];
        let mut by_himself = place.clone();
        let mut heard: [Vec<(i64, Uuid, i32)>; 3] = Default::default();
        let id_of = |event: &Event| (event.number, event.task_id, event.step_number.unwrap_or(-1));
        for writer in writers {
            writer.await.unwrap();
        }
        db.until("select not exists (select from tasker.tasks where state in ('pending', 'in_progress'))").await;
        let expected = db.value::<i64>(WRITTEN).await as usize;
        while stories.seen.len() < expected {
            let batch = tokio::time::timeout(Duration::from_secs(20), followers[0].next()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{} of {expected} events came", stories.seen.len())).unwrap();
            batch.events.iter().for_each(|event| stories.hear(event));
            heard[0].extend(batch.events.iter().map(id_of));
        }
        assert!(stories.states.values().all(|(task, _)| task == "complete"));
        while heard[1].len() < expected {
            heard[1].extend(followers[1].next().await.unwrap().events.iter().map(id_of));
        }
        while heard[2].len() < expected {
            let (events, next) = all(db, Some(&by_himself), 77).await;
            heard[2].extend(events.iter().map(id_of));
            by_himself = next;
        }
        let sets: Vec<BTreeSet<_>> = heard.iter().map(|heard| heard.iter().copied().collect()).collect();
        assert!(sets.iter().zip(&heard).all(|(set, heard)| set.len() == heard.len()), "something came twice");
        assert!(sets[0] == sets[1] && sets[1] == sets[2]);
        for worker in workers {
            worker.stop().await;
        }
        unrelated.close().await.unwrap();
    });
}

async fn submit(connection: &mut PgConnection, workflow: i32, how_many: i32) -> Vec<Uuid> {
    sqlx::query_scalar(
        "select s.task_id from (select array_fill(null::text, array[$2]) as n) x, tasker.submit_tasks(array_fill($1, array[$2]),
           array_fill('{}'::text, array[$2]), n, n, n::timestamptz[], n::smallint[], n::timestamptz[], n, n) s",
    )
    .bind(workflow)
    .bind(how_many)
    .fetch_all(connection)
    .await
    .unwrap()
}

/// Who reads in a transaction that writes itself hears later of what he wrote, too.
#[test]
fn a_readers_own_events_come_after_its_commit() {
    with_database(async |db| {
        let workflow = db.register(&sketch("a")).await.unwrap();
        let mut session = db.session().await;
        let mut transaction = session.begin().await.unwrap();
        // it has its number, and then others have theirs and end
        sqlx::query("select pg_current_xact_id()").execute(&mut *transaction).await.unwrap();
        submit(&mut db.session().await, workflow, 1).await;
        let cursor: String =
            sqlx::query_scalar("select tasker.events_now()").fetch_one(&mut *transaction).await.unwrap();
        let own = submit(&mut transaction, workflow, 1).await;
        transaction.commit().await.unwrap();
        let (events, _) = all(db, Some(&cursor.parse().unwrap()), 10).await;
        assert_eq!(events.iter().map(|event| event.task_id).collect::<Vec<_>>(), own);
    });
}

/// The place of a reader that was within a window when the database failed it goes on.
#[test]
fn a_window_of_whole_pages_holds_up_nobody() {
    with_real_clock(async |db| {
        let workflow = db.register(&sketch("a")).await.unwrap();
        let tasker = db.tasker().await;
        let mut follower = tasker.follow(Some(db.events_now().await.unwrap()), None);
        let mut session = db.session().await;
        let mut expected = Vec::new();
        // a page is a thousand
        for how_many in [1000, 1, 2000, 1, 1000, 1000, 3] {
            expected.extend(submit(&mut session, workflow, how_many).await);
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            let batch = soon("the next batch", follower.next()).await.unwrap();
            heard.extend(batch.events.iter().map(|event| event.task_id));
        }
        assert_eq!(heard, expected);
    });
}

/// A standby that is promoted may lack what its primary had told of last: cursors of the time before are not taken for its own.
#[test]
fn a_failover_begins_another_history() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::start().await;
        let tasker = Tasker::connect(&server.url).await.unwrap();
        tasker.migrate().await.unwrap();
        if let Some(sql) = breakage() {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(tasker.store().pool()).await.unwrap();
        }
        let workflow = tasker.store().register(&sketch("a")).await.unwrap();
        let submit = async |tasker: &Tasker| {
            tasker.submit_version(workflow, &serde_json::json!({}), Submission::default()).await.unwrap();
        };
        submit(&tasker).await;
        let before = tasker.store().events_now().await.unwrap();
        tasker.close().await;
        server.fail_over().await;
        let tasker = Tasker::connect(&server.url).await.unwrap();
        submit(&tasker).await;
        let refused = tasker.store().read_events(Some(&before), None, 10).await.unwrap_err();
        assert_eq!(refused.code(), "cursor_gone");
        assert_eq!(tasker.store().read_events(None, None, 10).await.unwrap().events.len(), 2);
        tasker.close().await;
    });
}
