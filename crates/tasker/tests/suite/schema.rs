//! The schema as a thing of its own: it describes itself, is brought about safely, and does not tear away what stands on it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sqlx::{Connection, Row};
use tasker::{
    Error, Settings,
    context::TaskExecutionContext,
    handlers::{Context, function},
    store::{MigrationReport, SCHEMA_VERSION, Store},
};
use uuid::Uuid;

use crate::support::{Fate, Moment, Play, Proxy, Running, TestDatabase, contender, with_database, with_empty_database};

#[test]
fn everything_has_a_comment() {
    with_database(async |db| {
        let silent: Vec<String> = db
            .column(
                "select c.oid::regclass::text from pg_class c
                 where c.relnamespace = 'tasker'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S') and obj_description(c.oid, 'pg_class') is null
                   and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'i') -- a column's own sequence
                 union all
                 select format('%s.%s', c.oid::regclass, a.attname) from pg_attribute a join pg_class c on c.oid = a.attrelid
                 where c.relnamespace = 'tasker'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and a.attnum > 0 and not a.attisdropped
                   and col_description(c.oid, a.attnum) is null
                 union all
                 select p.oid::regprocedure::text from pg_proc p
                 where p.pronamespace = 'tasker'::regnamespace and obj_description(p.oid, 'pg_proc') is null and p.proname not in ('now', 'clock')
                 order by 1",
            )
            .await;
        assert_eq!(silent, [""; 0], "these have no comment");
        let said: i64 = db.value("select count(*) from pg_attribute a where a.attrelid = 'tasker.step_readiness_statuses'::regclass and col_description(a.attrelid, a.attnum) like '_%.'").await;
        assert!(said >= 20, "comments are sentences");
    });
}

#[test]
fn nobody_but_its_owner_may_call_a_function_until_he_is_allowed_to() {
    with_database(async |db| {
        // those that hold the clock are the tests' own
        let open: Vec<String> = db
            .column(
                "select p.oid::regprocedure::text from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                 where p.pronamespace = 'tasker'::regnamespace and a.grantee = 0",
            )
            .await;
        assert_eq!(open, [""; 0]);
    });
}

#[test]
fn roles_may_what_they_are_for_and_no_more_also_after_a_migration() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit").await;
        let task = play.task();
        db.create_roles().await.unwrap();
        db.run("update tasker.schema_objects set content_hash = 'of an older version'").await;
        assert!(db.migrate().await.unwrap().replaced);
        let submit = format!(
            "select tasker.submit_task('test', '{}', deadline => '2100-01-01', idempotency_key => 'k', unique_while_live => 'u')",
            play.definition.name
        );
        let handler = play.worker.serves()[0];
        let claim = contender::claim(play.worker.id, handler, 1);
        let cancel = format!("select tasker.cancel_task('{task}')");
        let register = "select tasker.register_worker(gen_random_uuid(), '{x}', '')";
        let explain = format!("select count(*) from tasker.explain_step('{}')", play.step("a"));
        let look = "select count(*) from tasker.task_workflow_summaries, tasker.step_readiness_divergences";
        let deeds = [look, &explain, &submit, &submit, &claim, contender::REAP, register, &cancel];
        for (role, allowed) in
            [("tasker_viewer", 2), ("tasker_submitter", 4), ("tasker_worker", 7), ("tasker_operator", 8)]
        {
            let mut session = db.session().await;
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("set role {role}"))).execute(&mut session).await.unwrap();
            for (n, deed) in deeds.iter().enumerate() {
                let done = sqlx::raw_sql(sqlx::AssertSqlSafe(deed.to_string())).execute(&mut session).await;
                let refused = done.as_ref().err().and_then(|e| e.as_database_error()).and_then(|e| e.code());
                match n < allowed {
                    true => drop(done.unwrap_or_else(|error| panic!("{role}: {deed}: {error}"))),
                    false => assert_eq!(refused.as_deref(), Some("42501"), "{role}: {deed}"),
                }
            }
            let past_the_verbs = "delete from tasker.schema_migrations";
            assert!(sqlx::raw_sql(past_the_verbs).execute(&mut session).await.is_err());
            if allowed < 7 {
                let forged = "insert into tasker.ready_steps select * from tasker.ready_steps";
                assert!(sqlx::raw_sql(forged).execute(&mut session).await.is_err());
            }
        }
    });
}

#[test]
fn foreign_keys_are_among_definitions_only() {
    with_database(async |db| {
        let hot: Vec<String> = db
            .column(
                "select conrelid::regclass::text from pg_constraint where contype = 'f' and connamespace = 'tasker'::regnamespace
                   and conrelid::regclass::text !~ '(named_|task_namespaces|handlers)'",
            )
            .await;
        assert_eq!(hot, [""; 0]);
    });
}

#[test]
fn what_is_updated_is_in_no_index_but_a_leases_expiry() {
    with_database(async |db| {
        // what the verbs update, table by table; queues and histories are inserted and deleted only
        let updated = [
            ("tasks", "state, open_leaves, paused, finished_at, deadline"),
            ("leases", "lease_expires_at"),
            ("join_counts", "satisfied"),
            ("workers", "last_seen_at, handler_ids"),
        ];
        for (table, columns) in updated {
            let indexed: Vec<String> = db
                .column(&format!(
                    "select a.attname::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid
                     where i.indrelid = 'tasker.{table}'::regclass and a.attname = any(string_to_array('{columns}', ', '))
                       and (a.attnum = any(i.indkey) or pg_get_expr(i.indpred, i.indrelid) ~ ('\\m' || a.attname || '\\M'))"
                ))
                .await;
            let allowed: &[&str] = if table == "leases" { &["lease_expires_at"] } else { &[] };
            assert_eq!(indexed, allowed, "{table}");
        }
    });
}

#[test]
fn migrating_twice_changes_nothing() {
    with_empty_database("", async |db| {
        assert_eq!(db.schema_version().await.unwrap(), 0);
        assert!(matches!(db.require_schema().await, Err(Error::SchemaTooOld { found: 0, needed: SCHEMA_VERSION })));
        let first = db.migrate().await.unwrap();
        assert_eq!((first.migrations.len() as i32, first.replaced), (SCHEMA_VERSION, true));
        let before = catalogue(db).await;
        assert_eq!(db.migrate().await.unwrap(), MigrationReport::default());
        assert_eq!(catalogue(db).await, before);
        db.require_schema().await.unwrap();
    });
}

/// Everything that the schema is, with the ids of its objects: what was made anew is something else.
async fn catalogue(db: &TestDatabase) -> Vec<String> {
    db.column(
        "select format('%s %s %s', c.oid, c.relname, c.relkind) from pg_class c where c.relnamespace = 'tasker'::regnamespace
         union all select format('%s %s', p.oid, pg_get_functiondef(p.oid)) from pg_proc p where p.pronamespace = 'tasker'::regnamespace
         union all select format('%s %s', c.oid, pg_get_viewdef(c.oid)) from pg_class c where c.relnamespace = 'tasker'::regnamespace and c.relkind = 'v'
         union all select format('%s %s %s', a.attrelid::regclass, a.attname, a.atttypid::regtype) from pg_attribute a join pg_class c on c.oid = a.attrelid
           where c.relnamespace = 'tasker'::regnamespace
         union all select format('%s %s %s %s', c.oid, c.conname, c.convalidated, pg_get_constraintdef(c.oid)) from pg_constraint c where c.connamespace = 'tasker'::regnamespace
         union all select format('%s %s', i.indexrelid, pg_get_indexdef(i.indexrelid)) from pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace = 'tasker'::regnamespace
         order by 1",
    )
    .await
}

async fn catalogue_without_ids(db: &TestDatabase) -> BTreeSet<String> {
    catalogue(db).await.iter().map(|line| line.trim_start_matches(char::is_numeric).to_string()).collect()
}

/// What two catalogues do not share.
fn differences(one: &BTreeSet<String>, other: &BTreeSet<String>) -> Vec<String> {
    one.symmetric_difference(other).cloned().collect()
}

#[test]
fn a_database_of_any_older_version_becomes_like_a_fresh_one_and_keeps_its_work() {
    let mut migrations: Vec<_> = std::fs::read_dir("migrations").unwrap().map(|file| file.unwrap().path()).collect();
    migrations.sort();
    assert_eq!(migrations.len() as i32, SCHEMA_VERSION);
    for version in 1..migrations.len() {
        with_empty_database("", async |db| {
            db.migrate().await.unwrap();
            let fresh = catalogue_without_ids(db).await;
            db.run("drop schema tasker cascade; create schema tasker").await;
            for migration in &migrations[..version] {
                db.run(&std::fs::read_to_string(migration).unwrap()).await;
            }
            db.run(&format!(
                "create table tasker.schema_migrations (version int primary key, name text not null, applied_at timestamptz not null);
                 insert into tasker.schema_migrations select n, 'old', now() from generate_series(1, {version}) n;
                 insert into tasker.tasks (task_id, named_task_id, state, open_leaves, run_at, created_at, finished_at)
                 values ('01a210d6-2607-70bc-8d7c-5f5b89000000', 1, 'failed', 1, now(), now(), now())"
            ))
            .await;
            let report = db.migrate().await.unwrap();
            assert_eq!((report.migrations.len(), report.replaced), (migrations.len() - version, true));
            let upgraded = catalogue_without_ids(db).await;
            assert_eq!(differences(&upgraded, &fresh), [""; 0], "from version {version}");
            assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 1);
            db.run("drop schema tasker cascade").await;
            db.migrate().await.unwrap();
        });
    }
}

/// Of tasks and steps, by their names: what a view says.
const ANSWERS: &[&str] = &[
    "select i.idempotency_key || ' ' || s.name, to_jsonb(s) from tasker.workflow_steps s join tasker.idempotency_keys i using (task_id)",
    "select i.idempotency_key || ' ' || s.workflow_step_id, to_jsonb(s) from tasker.step_readiness_statuses s join tasker.idempotency_keys i using (task_id)",
    "select i.idempotency_key, to_jsonb(c) from tasker.task_execution_contexts c join tasker.idempotency_keys i using (task_id)",
    "select i.idempotency_key || ' ' || s.workflow_step_id, to_jsonb(s) from tasker.step_dag_relationships s join tasker.idempotency_keys i using (task_id)",
];

async fn answers(db: &TestDatabase) -> BTreeMap<String, Value> {
    let mut answers = BTreeMap::new();
    for (number, sql) in ANSWERS.iter().enumerate() {
        let rows: Vec<(String, Value)> = sqlx::query_as(*sql).fetch_all(db.pool()).await.unwrap();
        answers.extend(rows.into_iter().map(|(name, answer)| (format!("{number} {name}"), answer)));
    }
    answers
}

#[test]
fn work_in_every_state_that_version_1_left_goes_on() {
    with_empty_database("", async |db| {
        db.run(include_str!("fixtures/version_1.sql")).await;
        let before = answers(db).await;
        let names: Vec<(Uuid, String)> = sqlx::query_as("select task_id, idempotency_key from tasker.idempotency_keys")
            .fetch_all(db.pool())
            .await
            .unwrap();
        let names: BTreeMap<_, _> = names.into_iter().collect();
        let states =
            "select string_agg(distinct s.state::text, ' ' order by s.state::text) from tasker.workflow_steps s";
        let all = "cancelled complete failed in_progress pending resolved_manually skipped";
        assert_eq!(db.value::<String>(states).await, all);
        assert_eq!(db.migrate().await.unwrap().migrations.len() as i32, SCHEMA_VERSION - 1);
        let after = answers(db).await;
        assert_eq!(before.len(), after.len());
        for (name, before) in &before {
            let after = after[name].as_object().unwrap();
            for (column, value) in before.as_object().unwrap() {
                assert_eq!(&after[column], value, "{name}: {column}");
            }
        }

        // what it has written, this program finishes
        db.hold_the_clock().await;
        db.set_clock("2101-01-01T00:00:00Z".parse().unwrap()).await;
        let tasker = db.tasker().await;
        for handler in ["upgrade.work", "upgrade.call"] {
            tasker.handle(handler, function(async |_: Context<Value>| Ok(json!({ "said": "done" }))));
        }
        db.run("select tasker.resume_task(task_id) from tasker.idempotency_keys where idempotency_key = 'paused'")
            .await;
        let worker = Running::start(&tasker, Settings::default());
        // the calls of version 1's worker are still out: the limit of two holds
        let idle = "select not exists (select from tasker.ready_steps where limit_key = '' and queue_at <= tasker.clock()) and not exists (
            select from tasker.leases where worker_id <> '00000000-0000-7000-8000-000000000001')";
        db.until(idle).await;
        let waits =
            "select count(*) from tasker.step_readiness_statuses where blocking_reason = 'concurrency_limit_reached'";
        assert_eq!(db.value::<i64>(waits).await, 3);
        assert_eq!(db.value::<i64>("select count(*) from tasker.leases l where l.limit_key <> ''").await, 2);
        // until nobody believes that worker any more
        db.set_clock("2200-01-01T00:00:00Z".parse().unwrap()).await;
        db.until("select count(*) = 0 from tasker.leases l where l.lease_expires_at < '2190-01-01'").await;
        db.set_clock("2200-01-02T00:00:00Z".parse().unwrap()).await;
        db.until("select count(*) = 0 from tasker.tasks where state in ('pending', 'in_progress')").await;
        worker.stop().await;
        let ends: Vec<(Uuid, String)> =
            sqlx::query_as("select task_id, state::text from tasker.tasks where state <> 'complete'")
                .fetch_all(db.pool())
                .await
                .unwrap();
        let mut ends: Vec<String> = ends.iter().map(|(task, state)| format!("{} {state}", names[task])).collect();
        ends.sort();
        assert_eq!(
            ends,
            [
                "cancelled cancelled",
                "dead failed",
                "deadline failed",
                "overdue failed",
                "resolved resolved_manually",
                "step_cancelled failed"
            ]
        );
    });
}

#[test]
fn replacing_the_functions_gives_the_catalogue_of_a_fresh_database() {
    with_empty_database("", async |db| {
        db.migrate().await.unwrap();
        let fresh = catalogue_without_ids(db).await;
        db.run("create function tasker.of_an_older_version() returns int language sql return 1; update tasker.schema_objects set content_hash = 'of an older version'").await;
        let report = db.migrate().await.unwrap();
        assert_eq!((report.migrations.len(), report.replaced), (0, true));
        let replaced = catalogue_without_ids(db).await;
        assert_eq!(differences(&replaced, &fresh), [""; 0]);
    });
}

#[test]
fn what_somebody_changed_or_dropped_is_noticed_and_made_anew() {
    with_empty_database("", async |db| {
        db.migrate().await.unwrap();
        let fresh = catalogue(db).await.len();
        let finding = async || db.examine(false).await.unwrap().findings.into_iter().find(|f| f.check == "schema");
        assert_eq!(finding().await, None);
        for change in [
            "drop function tasker.wake(text)",
            "drop function tasker.catalogue_hash()",
            "create or replace function tasker.backoff(base double precision, max double precision, failures int) returns double precision
               language sql return 0",
            "drop view tasker.step_readiness_divergences; create view tasker.step_readiness_divergences as select 1 where false",
        ] {
            db.run(change).await;
            assert!(finding().await.unwrap().problem.contains("changed or dropped"), "{change}");
            assert!(db.migrate().await.unwrap().replaced, "{change}");
            assert_eq!((finding().await, catalogue(db).await.len()), (None, fresh), "{change}");
        }
    });
}

#[test]
fn two_that_migrate_at_once_wait_for_each_other() {
    with_empty_database("", async |db| {
        let stores: Vec<Store> = vec![db.another_store().await, db.another_store().await, db.another_store().await];
        let running: Vec<_> =
            stores.into_iter().map(|store| tokio::spawn(async move { store.migrate().await })).collect();
        let mut reports = Vec::new();
        for one in running {
            reports.push(one.await.unwrap().unwrap());
        }
        assert_eq!(reports.iter().map(|report| report.migrations.len()).sum::<usize>() as i32, SCHEMA_VERSION);
        assert_eq!(reports.iter().filter(|report| report.replaced).count(), 1);
    });
}

#[test]
fn a_migration_that_was_killed_is_taken_up_by_the_next() {
    with_empty_database("", async |db| {
        // somebody holds what the migration waits for, and the migration's session is killed meanwhile
        let mut holder = db.session().await;
        let mut tx = holder.begin().await.unwrap();
        sqlx::query("select pg_advisory_xact_lock(7460)").execute(&mut *tx).await.unwrap();
        let store = db.another_store().await;
        let running = tokio::spawn(async move { store.migrate().await });
        loop {
            let killed: i64 = db.value("select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'").await;
            if killed > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(running.await.unwrap().is_err());
        tx.rollback().await.unwrap();
        db.migrate().await.unwrap();
        db.require_schema().await.unwrap();
    });
}

#[test]
fn a_first_migration_that_dies_at_any_statement_is_taken_up_by_the_next() {
    with_empty_database("", async |db| migrations_that_die(db, "").await);
}

#[test]
fn an_upgrade_that_dies_at_any_statement_is_taken_up_by_the_next() {
    with_empty_database("", async |db| migrations_that_die(db, include_str!("fixtures/version_1.sql")).await);
}

async fn migrations_that_die(db: &TestDatabase, from: &str) {
    db.run(from).await;
    db.migrate().await.unwrap();
    let (undisturbed, work) = (catalogue_without_ids(db).await, answers(db).await);
    for statement in 0.. {
        let mut has_died = false;
        for fate in [Fate::IsLost, Fate::LosesItsReply] {
            db.run("drop schema tasker cascade").await;
            db.run(from).await;
            let road = Proxy::to(db.options());
            let store = Store::connect(road.url().parse().unwrap(), 1, false).await.unwrap();
            road.and_everything();
            let before = road.exchanges();
            road.decide(move |number| if number == before + statement { fate } else { Fate::Arrives });
            has_died |= store.migrate().await.is_err();
            drop(road);
            db.migrate().await.unwrap();
            let again = catalogue_without_ids(db).await;
            assert_eq!(differences(&again, &undisturbed), [""; 0], "it died at statement {statement}: {fate:?}");
            assert_eq!(answers(db).await, work, "it died at statement {statement}: {fate:?}");
        }
        if !has_died {
            assert!(statement > 10, "{statement} statements");
            break;
        }
    }
}

#[test]
fn workers_that_run_already_go_on_after_a_migration() {
    // their calls, by position, are pinned from here on: what is added to a function has a default

    with_database(async |db| {
        let play = Play::through(db, "a > b", "").await;
        let handlers: Vec<String> = play.definition.steps.iter().map(|step| step.handler.clone()).collect();
        let worker = Uuid::new_v4();
        let ids: Vec<i32> = sqlx::query_scalar("select tasker.register_worker($1, $2, 'old')")
            .bind(worker)
            .bind(&handlers)
            .fetch_one(db.pool())
            .await
            .unwrap();
        let exchange = async |task: Vec<Uuid>, steps: Vec<i32>, claims: Vec<Uuid>| {
            let outcomes = vec!["complete"; steps.len()];
            let rows = sqlx::query(
                "select x.answers, x.claim_id, x.step_number, x.task_id from tasker.exchange($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) x",
            )
            .bind(worker).bind(task).bind(&steps).bind(claims).bind(&outcomes).bind(vec!["1"; steps.len()])
            .bind(vec![None::<String>; steps.len()]).bind(vec![None::<bool>; steps.len()]).bind(vec![None::<f64>; steps.len()])
            .bind(vec![None::<Moment>; steps.len()])
            .bind(&ids).bind(vec![1i16; ids.len()]).bind(vec![Moment::UNIX_EPOCH; ids.len()]).bind(vec![""; ids.len()])
            .bind(10).bind(std::time::Duration::from_secs(30)).bind(None::<Uuid>).bind(None::<Moment>)
            .fetch_all(db.pool())
            .await
            .unwrap();
            rows.iter()
                .skip(1)
                .map(|row| (row.get("task_id"), row.get("step_number"), row.get("claim_id")))
                .collect::<Vec<(Uuid, i32, Uuid)>>()
        };
        let first = exchange(vec![], vec![], vec![]).await;
        assert_eq!(first.iter().map(|claim| claim.1).collect::<Vec<_>>(), [0]);
        let second = exchange(vec![first[0].0], vec![0], vec![first[0].2]).await;
        assert_eq!(second.iter().map(|claim| claim.1).collect::<Vec<_>>(), [1]);
        assert!(exchange(vec![second[0].0], vec![1], vec![second[0].2]).await.is_empty());
        let beat: Vec<String> = sqlx::query_scalar("select tasker.heartbeat($1, $2, $3, $4, interval '30 s')")
            .bind(worker)
            .bind(vec![second[0].0])
            .bind(vec![1])
            .bind(vec![second[0].2])
            .fetch_one(db.pool())
            .await
            .unwrap();
        assert_eq!(beat, ["lease_lost"]);
        assert!(TaskExecutionContext::find(db, play.task()).await.unwrap().unwrap().is_complete());
    });
}

#[test]
fn a_users_own_view_stops_the_migration_which_says_its_name() {
    with_database(async |db| {
        let play = Play::through(db, "a > b", "a:complete").await;
        db.run(
            "create view public.my_dashboard as select count(*) from tasker.step_readiness_statuses;
             update tasker.schema_objects set content_hash = 'of an older version'",
        )
        .await;
        let error = db.migrate().await.unwrap_err();
        assert!(matches!(&error, Error::SchemaInUse { detail } if detail.contains("my_dashboard")), "{error}");
        assert_eq!(db.value::<i64>("select count from public.my_dashboard").await, 2, "and it still works");
        assert_eq!(play.picture().await.lines().count(), 3);
        db.run("drop view public.my_dashboard; create table public.mine (step uuid, task uuid, check (tasker.task_of(step) = task))").await;
        let error = db.migrate().await.unwrap_err();
        assert!(matches!(&error, Error::SchemaInUse { detail } if detail.contains("mine")), "{error}");
        db.run("drop table public.mine").await;
        assert!(db.migrate().await.unwrap().replaced);
    });
}

#[test]
fn a_newer_schema_is_left_alone() {
    with_database(async |db| {
        db.run("insert into tasker.schema_migrations values (99, 'of the future', now())").await;
        let newer = |error: &Error| matches!(error, Error::SchemaTooNew { found: 99, known: SCHEMA_VERSION });
        assert!(newer(&db.migrate().await.unwrap_err()) && newer(&db.require_schema().await.unwrap_err()));
    });
}

#[test]
fn a_session_that_finds_our_names_without_their_schema_reads_them_too() {
    with_database(async |db| {
        // a database user called like the schema has it in its search path, and types go by other names then
        db.run("do $$ begin execute format('alter database %I set search_path = tasker, public', current_database()); end $$").await;
        let store = db.another_store().await;
        let mut play = Play::of(db, "a").await;
        play.live("submit").await;
        let step = tasker::readiness::StepReadinessStatus::find(&store, play.step("a")).await.unwrap().unwrap();
        assert_eq!(step.current_state, tasker::readiness::StepState::Pending);
        let state = store.pause_task(play.task(), Default::default()).await.unwrap();
        assert_eq!(state, tasker::readiness::TaskState::Pending);
    });
}

#[test]
fn keys_are_walked_alike_whatever_the_databases_collation() {
    with_empty_database("locale_provider icu icu_locale 'en-US' locale 'C'", async |db| {
        db.migrate().await.unwrap();
        db.hold_the_clock().await;
        let mut play = Play::of(db, "a[concurrency=1 key=k]").await;
        // in this collation "B" stands after "a" and not before it; more keys than one call walks
        db.run(&format!(
            "select tasker.submit_task('test', '{}', jsonb_build_object('k', chr(65 + n % 26 + 32 * (n / 26 % 2)) || n)) from generate_series(1, 300) n",
            play.definition.name
        ))
        .await;
        let mut search = play.worker.search();
        let mut claimed = 0;
        for _ in 0..15 {
            claimed += play.worker.look(db.pool(), &mut search, 20).await;
        }
        assert_eq!(claimed, 300);
        play.live("+1h reap").await;
    });
}

#[test]
fn plpgsql_check_finds_nothing_wrong_in_any_function() {
    with_database(async |db| {
        // Debian has it as postgresql-15-plpgsql-check
        let is_there: bool =
            db.value("select exists (select from pg_available_extensions where name = 'plpgsql_check')").await;
        if !is_there {
            eprintln!("skipped: this server has no plpgsql_check");
            return;
        }
        db.run("create extension plpgsql_check schema pg_catalog").await;
        // an assignment may cast; whoever refuses needs no return after it
        let found: Vec<String> = db
            .column(
                "select format('%s, line %s: %s: %s', p.oid::regprocedure, c.lineno, c.level, c.message)
                 from pg_proc p join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
                 cross join lateral plpgsql_check_function_tb(p.oid, fatal_errors => false, performance_warnings => false) c
                 where p.pronamespace = 'tasker'::regnamespace and c.sqlstate not in ('42804', '2F005')",
            )
            .await;
        assert!(found.is_empty(), "{found:#?}");
        let functions: i64 = db.value("select count(*) from pg_proc p join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql' where p.pronamespace = 'tasker'::regnamespace").await;
        assert!(functions > 40, "{functions} functions");
    });
}
