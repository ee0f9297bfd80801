//! How many statements an operation takes, and how many rows a step writes: whatever the size of its task. Counted by the server.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::{
    plans::{HANDLERS, READS, exchange, run, verbs},
    support::{Play, watch::Watch, with_real_clock},
};

#[test]
fn an_operation_takes_as_many_statements_on_ten_thousand_steps_as_on_ten() {
    with_real_clock(async |db| {
        let watch = Watch::new(db, &[]).await;
        db.run("select tasker.begin_event_epoch()").await;
        // the first of all loads the catalogue
        run(&watch, READS[0].1, uuid::Uuid::nil(), 0).await;
        let mut counts = Vec::new();
        for size in [10, 10_000] {
            let beside: String = (4..size).map(|n| format!(" > z{n}")).collect();
            let mut play = Play::of(db, &format!("p > s > c; z3{beside}")).await;
            let reads = READS.iter().map(|(what, sql)| (*what, "p:complete", sql.to_string()));
            // it serves four of its handlers
            let served = HANDLERS.replace("where", "where n.step_number < 4 and");
            let verbs = verbs().into_iter().map(|(what, history, sql)| (what, history, sql.replace(HANDLERS, &served)));
            let mut operations: Vec<_> = reads.chain(verbs).collect();
            operations.sort_by_key(|(_, history, _)| *history);
            let mut of_size = BTreeMap::new();
            let mut lived = None;
            for (what, history, sql) in operations {
                if lived != Some(history) {
                    play.tasks.clear();
                    play.claims.clear();
                    play.live("submit").await;
                    play.live(history).await;
                    lived = Some(history);
                }
                // taken back afterwards, so that the next one finds the same
                sqlx::raw_sql("begin").execute(watch.store.pool()).await.unwrap();
                if what == "reap, a lease expired" {
                    let expire =
                        "update tasker.leases set lease_expires_at = now() - interval '1 s' where task_id = $1";
                    run(&watch, expire, play.task(), 1).await;
                }
                of_size.insert(what, run(&watch, &sql, play.task(), 1).await.statements);
                sqlx::raw_sql("rollback").execute(watch.store.pool()).await.unwrap();
            }
            counts.push(of_size);
        }
        assert_eq!(counts[0], counts[1]);
        let of = |name: &str| counts[0][name];
        assert_eq!(of("task_execution_contexts"), 1);
        assert_eq!(of("step_readiness_statuses of a task"), 1);
    });
}

#[test]
fn a_step_in_the_middle_writes_four_rows_and_deletes_one() {
    with_real_clock(async |db| {
        let mut play = Play::of(db, "a > b > c > d").await;
        play.live("submit a:complete b:in_progress").await;
        let mut connection = db.pool().acquire().await.unwrap();
        let call = exchange(Some(("complete", "1")), 5, "null");
        let task = play.task();
        // warm: the catalogue, and whatever a first visit of a page writes
        let explain = format!(
            "explain (analyze, wal, format json) {}",
            call.replace("$1", &format!("'{task}'")).replace("$2", "1")
        );
        sqlx::raw_sql(AssertSqlSafe(format!("begin; {explain}; rollback"))).execute(&mut *connection).await.unwrap();

        sqlx::raw_sql("begin").execute(&mut *connection).await.unwrap();
        let rows = async |connection: &mut sqlx::PgConnection| -> (i64, i64, i64) {
            let sql = "select sum(n_tup_ins)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_del)::bigint from pg_stat_xact_user_tables where schemaname = 'tasker'";
            sqlx::query_as(sql).fetch_one(connection).await.unwrap()
        };
        let before = rows(&mut connection).await;
        let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&mut *connection).await.unwrap();
        let after = rows(&mut connection).await;
        sqlx::raw_sql("commit").execute(&mut *connection).await.unwrap();
        // b's result and its end, c's lease and its beginning; b's lease
        assert_eq!(
            (after.0 - before.0, after.1 - before.1, after.2 - before.2),
            (4, 0, 1),
            "inserted, updated, deleted"
        );
        // a row and its entry in each of its indexes is a record each, and so are the lock of the task and the deletion
        let records = plan[0]["Plan"]["WAL Records"].as_i64().unwrap();
        assert!((13..=16).contains(&records), "{records} WAL records");
    });
}
