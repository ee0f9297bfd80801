//! Two sessions that meet at a place that the test chooses: one stops inside its transaction, the other runs into it.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Claim, Outcome, TestDatabase, Worker, code};

/// What a statement gave: its only value as text, or a refusal's code. Any other error is the test's failure, and a
/// deadlock or a lost update would be one.
pub type Said = Result<Option<String>, String>;

/// A session of one of two.
pub struct Contender {
    connection: PgConnection,
    pid: i32,
}

/// A statement that has been sent and not answered yet.
pub struct Pending {
    running: JoinHandle<(Contender, Said)>,
    pid: i32,
}

impl Contender {
    /// A session of its own.
    pub async fn new(db: &TestDatabase) -> Contender {
        let mut connection = db.session().await;
        let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
        Contender { connection, pid }
    }

    /// Begins a transaction and runs a statement in it.
    pub async fn begin(&mut self, sql: &str) -> Said {
        sqlx::raw_sql("begin").execute(&mut self.connection).await.unwrap();
        self.run(sql).await
    }

    /// Runs a statement.
    pub async fn run(&mut self, sql: &str) -> Said {
        let said = sqlx::query_scalar(AssertSqlSafe(sql.to_string())).fetch_one(&mut self.connection).await;
        if said.is_err() {
            // a refusal is told before its locks are released
            self.connection.ping().await.unwrap();
        }
        match said {
            Ok(value) => Ok(value),
            // a verb of the engine gives up after a second, and is sent again: on a machine that is busy with other things
            Err(error) if error.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03") => {
                Err("lock_not_available".into())
            }
            Err(error) => Err(code(error.into())),
        }
    }

    /// Ends the transaction: `commit` or `rollback`.
    pub async fn end(&mut self, how: &str) {
        sqlx::raw_sql(AssertSqlSafe(how.to_string())).execute(&mut self.connection).await.unwrap();
    }

    /// Sends a statement without waiting for its answer.
    pub fn start(mut self, sql: &str) -> Pending {
        let (pid, sql) = (self.pid, sql.to_string());
        let running = tokio::spawn(async move {
            let said = self.run(&sql).await;
            (self, said)
        });
        Pending { running, pid }
    }
}

impl Pending {
    /// Waits until it stands still behind somebody's lock. `false`: it was answered without any wait.
    pub async fn is_blocked(&self, db: &TestDatabase) -> bool {
        let blocked = format!("select cardinality(pg_blocking_pids({})) > 0", self.pid);
        loop {
            if self.running.is_finished() {
                return false;
            }
            if db.value::<bool>(&blocked).await {
                return true;
            }
            // asking looks at every lock of the server: not without a pause
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Its answer.
    pub async fn answer(self) -> (Contender, Said) {
        self.running.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// Two sessions, over and over.
pub struct Ring(Contender, Contender);

impl Ring {
    /// Two sessions.
    pub async fn new(db: &TestDatabase) -> Ring {
        Ring(Contender::new(db).await, Contender::new(db).await)
    }

    /// The first stops before the end of its transaction, the second runs into it; then the first ends as told. Gives both
    /// answers, whether the second had to wait, and the ring for the next round.
    pub async fn meet(self, db: &TestDatabase, first: &str, end: &str, second: &str) -> (Said, Said, bool, Ring) {
        let Ring(mut one, other) = self;
        let said = one.begin(first).await;
        let pending = other.start(second);
        let waited = pending.is_blocked(db).await;
        // a refusal has ended the transaction already
        one.end(if said.is_err() { "rollback" } else { end }).await;
        let (other, answer) = pending.answer().await;
        (said, answer, waited, Ring(one, other))
    }

    /// The first stops before the end of its transaction, the second runs into it, and the third into both.
    pub async fn meet_three(self, db: &TestDatabase, third: Contender, sql: &[String]) -> (Vec<Said>, Ring, Contender) {
        let Ring(mut one, two) = self;
        let first = one.begin(&sql[0]).await;
        let second = two.start(&sql[1]);
        second.is_blocked(db).await;
        let third = third.start(&sql[2]);
        third.is_blocked(db).await;
        one.end(if first.is_err() { "rollback" } else { "commit" }).await;
        let ((two, second), (three, third)) = (second.answer().await, third.answer().await);
        (vec![first, second, third], Ring(one, two), three)
    }

    /// One after the other.
    pub async fn one_by_one(&mut self, first: &str, second: &str) -> (Said, Said) {
        (self.0.run(first).await, self.1.run(second).await)
    }
}

/// A worker's call to settle one claim, as a statement; it gives the answer.
pub fn settle(worker: &Worker, claim: &Claim, outcome: &Outcome) -> String {
    let (word, payload, retryable) = match outcome {
        Outcome::Complete(result) => ("complete", format!("'{result}'"), "null"),
        Outcome::Skip => ("skip", "'null'".into(), "null"),
        Outcome::Wait(_) => ("wait", "null".into(), "null"),
        Outcome::Fail { retryable, .. } => {
            ("fail", "'it does not work'".into(), if *retryable == Some(false) { "false" } else { "null" })
        }
    };
    let at = if let Outcome::Wait(at) = outcome { format!("'{}'", at.to_rfc3339()) } else { "null".into() };
    format!(
        "select answers[1] from tasker.exchange(by_worker => '{}', s_tasks => array['{}']::uuid[], s_steps => array[{}], s_claims => array['{}']::uuid[],
           outcomes => array['{word}'], payloads => array[{payload}]::text[], error_kinds => array[null]::text[], retryables => array[{retryable}]::boolean[],
           delays => array[null]::float8[], instants => array[{at}]::timestamptz[], handlers => '{{}}', lanes => '{{}}', positions => '{{}}', keys => '{{}}',
           capacity => 0, lease => interval '30 s') where answers is not null",
        worker.id, claim.task_id, claim.step_number, claim.claim_id
    )
}

/// A worker's call to settle one claim as complete and take what it releases for a handler, as a statement; it gives the answer, and how many it took.
pub fn complete_and_take(worker: &Worker, claim: &Claim, handler: i32) -> String {
    let sql = settle(worker, claim, &Outcome::Complete("1".into()));
    sql.replace("select answers[1]", "select string_agg(coalesce(answers[1], 'took one'), ', ')")
        .replace(
            "handlers => '{}', lanes => '{}', positions => '{}', keys => '{}'",
            &format!("handlers => array[{handler}], lanes => '{{}}', positions => '{{}}', keys => '{{}}'"),
        )
        .replace("capacity => 0", "capacity => 5")
        .replace(" where answers is not null", "")
}

/// A worker's call for up to so many steps of one handler, as a statement; it gives how many there were.
pub fn claim(worker: Uuid, handler: i32, wanted: i32) -> String {
    format!(
        "select count(claim_id)::text from tasker.exchange(by_worker => '{worker}', s_tasks => '{{}}', s_steps => '{{}}', s_claims => '{{}}',
           outcomes => '{{}}', payloads => '{{}}', error_kinds => '{{}}', retryables => '{{}}', delays => '{{}}', instants => '{{}}',
           handlers => array[{handler}, {handler}, {handler}], lanes => '{{0,1,2}}', positions => array_fill('-infinity'::timestamptz, array[3]),
           keys => array['', '', ''], capacity => {wanted}, lease => interval '30 s')"
    )
}

/// As [claim], of one task alone.
pub fn claim_of(task: Uuid, worker: Uuid, handler: i32, wanted: i32) -> String {
    claim(worker, handler, wanted).replace("interval '30 s'", &format!("interval '30 s', only_task => '{task}'"))
}

/// What a worker holds and does not know of; it gives how many there were.
pub fn adopt(worker: Uuid) -> String {
    format!("select count(*)::text from tasker.adopt('{worker}', '{{}}', interval '30 s')")
}

/// A worker says that it serves one handler; it gives the handler's id.
pub fn register_worker(worker: Uuid, handler: &str) -> String {
    format!("select tasker.register_worker('{worker}', array['{handler}'], '')::text")
}

/// A submission in the engine's batch, for each pair of an idempotency key and a unique one (`null`, or quoted); it gives the tasks.
pub fn submit_many(named_task_id: i32, keys: &[(&str, &str)]) -> String {
    let column = |values: Vec<&str>, of: &str| format!("array[{}]::{of}[]", values.join(", "));
    let nothing = |of: &str| column(vec!["null"; keys.len()], of);
    format!(
        "select string_agg(task_id::text, ' ' order by ord) from tasker.submit_tasks(array_fill({named_task_id}, array[{}]), {}, {}, {}, {}, {}, {}, {}, {})",
        keys.len(),
        column(vec!["'{}'"; keys.len()], "text"),
        column(keys.iter().map(|(key, _)| *key).collect(), "text"),
        column(keys.iter().map(|(_, key)| *key).collect(), "text"),
        nothing("timestamptz"),
        nothing("smallint"),
        nothing("timestamptz"),
        nothing("text"),
        nothing("text"),
    )
}

/// A heartbeat for one claim; it gives the answer.
pub fn beat(worker: Uuid, claim: &Claim) -> String {
    format!(
        "select (tasker.heartbeat('{worker}', array['{}']::uuid[], array[{}], array['{}']::uuid[], interval '30 s'))[1]",
        claim.task_id, claim.step_number, claim.claim_id
    )
}

/// A release of one claim; it gives the answer.
pub fn release(claim: &Claim) -> String {
    format!(
        "select (tasker.release_steps(array['{}']::uuid[], array[{}], array['{}']::uuid[]))[1]",
        claim.task_id, claim.step_number, claim.claim_id
    )
}

/// A registration of a version with one step, whose handler has a limit from then on, as a statement; it gives nothing.
pub fn register(workflow: &str, version: &str, step: &str, handler: &str) -> String {
    format!(
        "select null::text from tasker.register_workflow('test', '{workflow}', '{version}', '{{}}', 'hash', array['{step}'], array['{handler}'], array[3], array[true],
           array[1], array[60], array[30], array[1]::smallint[], array[2], '[[]]', array['{{}}'], array['{{}}'], array['{{}}'],
           array[0], array[0], array[0])"
    )
}

/// Reaping; it gives how many leases and deadlines were acted on.
pub const REAP: &str = "select r.reaped || ' ' || r.overdue from tasker.reap(100, '-infinity') r";
