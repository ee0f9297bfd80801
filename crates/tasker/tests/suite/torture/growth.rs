//! What must not grow: the memory and the descriptors of workers and zombies, the tables of what is under way, and what a step writes.

use std::{collections::HashMap, fs, sync::Mutex};

use sqlx::PgPool;

/// The greatest memory that a process of the torture may have, in MiB: a worker that holds twenty steps needs a fraction of it.
const MEMORY: u64 = 100;
/// How many descriptors at most: its connections, its log and its runtime's.
const DESCRIPTORS: u64 = 48;
/// The tables of what is under way.
const HOT_TABLES: &[&str] = &["ready_steps", "leases", "task_deadlines", "unique_live_keys", "workers"];
/// By how much the tables of what is under way may be larger at the end than at half time, in MiB: nobody vacuums them more often than the server does.
const HOT: i64 = 16;
/// What an attempt may write ahead at most, in bytes: a claim, a settlement, what each may send to other tasks, and full pages after every stop of the server.
const WRITTEN: i64 = 20_000;

/// What was seen.
#[derive(Debug, Default)]
pub struct Growth(Mutex<Seen>);

#[derive(Clone, Debug, Default)]
struct Seen {
    /// Memory and descriptors of each process when it was last looked at.
    last: HashMap<i32, (u64, u64)>,
    memory: u64,
    descriptors: u64,
    /// Of the tables of what is under way, in bytes, at half time.
    hot: i64,
}

impl Growth {
    /// Looks at a process. What it had the last time, too, counts: before it has become a program of its own it has all that its parent has.
    pub fn look_at(&self, pid: i32) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count() as u64);
        let memory = memory.unwrap_or_default() / 1024;
        let mut seen = self.0.lock().unwrap();
        if let Some((memory_then, descriptors_then)) = seen.last.insert(pid, (memory, descriptors)) {
            seen.memory = seen.memory.max(memory.min(memory_then));
            seen.descriptors = seen.descriptors.max(descriptors.min(descriptors_then));
        }
    }

    /// Vacuums the tables of what is under way, as the server would once a minute; but at each stop it forgets what there is to do. It may be away.
    pub async fn vacuum(&self, pool: &PgPool) {
        for table in HOT_TABLES {
            let _ = sqlx::query(sqlx::AssertSqlSafe(format!("vacuum tasker.{table}"))).execute(pool).await;
        }
    }

    /// It is half time. The server may be away: then it is asked again.
    pub async fn is_half_time(&self, pool: &PgPool) {
        if self.0.lock().unwrap().hot == 0
            && let Ok(bytes) = hot(pool).await
        {
            self.0.lock().unwrap().hot = bytes;
        }
    }

    /// What has grown, and what was seen in a line.
    pub async fn check(&self, pool: &PgPool) -> (Vec<String>, String) {
        let seen = self.0.lock().unwrap().clone();
        let hot = hot(pool).await.unwrap();
        let written: i64 = sqlx::query_scalar(
            "select (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint / greatest((select count(*) from tasker.workflow_step_transitions where verb = 'claim'), 1)",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        let mib = |bytes: i64| bytes / (1 << 20);
        let told = format!(
            "a worker's memory {} MiB and its descriptors {} at most, tables of what is under way {} MiB at half time and {} MiB at the end, {written} bytes of log an attempt",
            seen.memory,
            seen.descriptors,
            mib(seen.hot),
            mib(hot)
        );
        let grown = [
            (seen.memory > MEMORY || seen.memory == 0, "memory"),
            (seen.descriptors > DESCRIPTORS || seen.descriptors == 0, "descriptors"),
            (mib(hot - seen.hot) > HOT || seen.hot == 0, "the tables of what is under way"),
            (written > WRITTEN, "what an attempt writes"),
        ];
        (grown.into_iter().filter(|(is, _)| *is).map(|(_, what)| format!("{what} grew: {told}")).collect(), told)
    }
}

async fn hot(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select sum(pg_total_relation_size(format('tasker.%I', t)))::bigint from unnest($1::text[]) t")
        .bind(HOT_TABLES)
        .fetch_one(pool)
        .await
}
