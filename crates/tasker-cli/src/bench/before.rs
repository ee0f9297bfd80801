//! Before and after: readiness of one task asked step by step, of aggregates (`before.sql`), and of our view, beside as many stored steps.

use serde_json::Value;
use tasker::sqlx::{self, PgConnection};

use super::{
    Result, Round,
    figures::{ms, submit},
    floors,
    graphs::Graph,
    report::{Bar, Report, Unit},
};

/// Fills both up to each size, and asks both.
pub async fn measure(round: &Round, report: &mut Report, connection: &mut PgConnection) -> Result<()> {
    // as our own sessions
    sqlx::raw_sql("set jit = off").execute(&mut *connection).await?;
    sqlx::raw_sql(include_str!("before.sql")).execute(&mut *connection).await?;
    let graph = Graph::layers();
    let workflow = graph.register(&round.tasker).await?;
    let mut stored = 0;
    for (steps, size) in [(1_000, "1,000"), (100_000, "100,000"), (1_000_000, "1,000,000")] {
        let tasks = steps / graph.parents.len();
        fill_before(connection, &graph, stored, tasks).await?;
        fill_ours(connection, workflow, tasks - stored).await?;
        stored = tasks;
        sqlx::raw_sql("vacuum analyze").execute(&mut *connection).await?;

        // the newest task of each has not begun
        let number = -(tasks as i64);
        begin_before(connection, tasks as i64).await?;
        let task = submit(&round.tasker, workflow).await?;
        let ours = "select * from tasker.step_readiness_statuses where task_id = $1";
        let before = "select * from before.step_readiness_statuses where task_id = $1";
        let mut own = round.tasker.store().pool().acquire().await?;
        let after_took = floors::median(11, async || {
            sqlx::query(ours).bind(task).fetch_all(&mut *own).await?;
            Ok(())
        });
        let after_took = after_took.await?;
        let before_took = floors::median(5, async || {
            sqlx::query(before).bind(number).fetch_all(&mut *connection).await?;
            Ok(())
        });
        let before_took = before_took.await?;
        let mut statements = 0;
        let traversed = floors::median(5, async || {
            statements = traverse(connection, number).await?;
            Ok(())
        });
        let traversed = traversed.await?;
        let ours = ours.replace("$1", &format!("'{task}'"));
        let pages_after = pages(&mut own, &ours).await?;
        let pages_before = pages(connection, &before.replace("$1", &number.to_string())).await?;
        let mut add = |what: &str, unit, ours, is, floor| {
            let name = format!("readiness of 100 steps of {size}, {what}");
            report.add(name, unit, ours, Some((is, floor)), Bar::None);
        };
        add("view", Unit::Milliseconds, ms(after_took), "of aggregates", ms(before_took));
        add("pages", Unit::Count, pages_after, "of aggregates", pages_before);
        add("one by one", Unit::Milliseconds, ms(after_took), "step by step", ms(traversed));
        add("statements", Unit::Count, 1.0, "step by step", statements as f64);
        sqlx::query("select tasker.cancel_task($1)").bind(task).execute(&mut *own).await?;
    }
    sqlx::raw_sql("drop schema before cascade").execute(connection).await?;
    Ok(())
}

/// Tasks from one number to another that have ended well.
async fn fill_before(connection: &mut PgConnection, graph: &Graph, from: usize, to: usize) -> Result<()> {
    let size = graph.parents.len() as i64;
    let (parents, children): (Vec<i64>, Vec<i64>) = (graph.parents.iter().enumerate())
        .flat_map(|(step, parents)| parents.iter().map(move |parent| (*parent as i64, step as i64)))
        .unzip();
    let numbers: Vec<i64> = (from as i64..to as i64).collect();
    for chunk in numbers.chunks(100) {
        sqlx::query("insert into before.workflow_steps select k * $2 + s, k, 's' || s, 1, 3 from unnest($1::bigint[]) k, generate_series(0, $2 - 1) s")
            .bind(chunk)
            .bind(size)
            .execute(&mut *connection)
            .await?;
        sqlx::query("insert into before.workflow_step_edges select k * $2 + e.f, k * $2 + e.t from unnest($1::bigint[]) k, unnest($3::bigint[], $4::bigint[]) e(f, t)")
            .bind(chunk)
            .bind(size)
            .bind(&parents)
            .bind(&children)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "insert into before.workflow_step_transitions (workflow_step_id, to_state, created_at)
             select k * $2 + s, m, clock_timestamp() from unnest($1::bigint[]) k, generate_series(0, $2 - 1) s, unnest(array['in_progress', 'complete']) m",
        )
        .bind(chunk)
        .bind(size)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Takes back what the newest task has done.
async fn begin_before(connection: &mut PgConnection, tasks: i64) -> Result<()> {
    // a copy of the newest without its transitions; its steps' ids are negative, so that filling goes on beside it
    const AGAIN: &str = "
        with s as (insert into before.workflow_steps select -s.workflow_step_id - $1 * 1000, -$1, s.name, 0, 3 from before.workflow_steps s where s.task_id = $1 - 1 returning 1)
        insert into before.workflow_step_edges
        select -e.from_step - $1 * 1000, -e.to_step - $1 * 1000 from before.workflow_step_edges e
        where e.to_step in (select s.workflow_step_id from before.workflow_steps s where s.task_id = $1 - 1)";
    sqlx::query(AGAIN).bind(tasks).execute(connection).await?;
    Ok(())
}

/// As many tasks of ours that have ended well.
pub async fn fill_ours(connection: &mut PgConnection, workflow: i32, mut tasks: usize) -> Result<()> {
    while tasks > 0 {
        let now = tasks.min(100);
        sqlx::query(include_str!("stored.sql")).bind(workflow).bind(now as i64).execute(&mut *connection).await?;
        tasks -= now;
    }
    Ok(())
}

/// Asks for each step its state, its parents, and the state of each; gives how many statements that was.
async fn traverse(connection: &mut PgConnection, task: i64) -> Result<usize> {
    const STATE: &str = "select to_state from before.workflow_step_transitions where workflow_step_id = $1 order by created_at desc, id desc limit 1";
    let steps: Vec<(i64, i32, i32)> =
        sqlx::query_as("select workflow_step_id, attempts, retry_limit from before.workflow_steps where task_id = $1")
            .bind(task)
            .fetch_all(&mut *connection)
            .await?;
    let (mut statements, mut ready) = (1, 0);
    for (step, attempts, limit) in steps {
        let state: Option<String> = sqlx::query_scalar(STATE).bind(step).fetch_optional(&mut *connection).await?;
        let parents: Vec<i64> =
            sqlx::query_scalar("select from_step from before.workflow_step_edges where to_step = $1")
                .bind(step)
                .fetch_all(&mut *connection)
                .await?;
        statements += 2 + parents.len();
        let mut complete = true;
        for parent in parents {
            let state: Option<String> = sqlx::query_scalar(STATE).bind(parent).fetch_optional(&mut *connection).await?;
            complete &= state.as_deref() == Some("complete");
        }
        ready += usize::from(complete && attempts < limit && state.is_none());
    }
    match ready {
        10 => Ok(statements),
        other => Err(format!("{other} steps are ready instead of the 10 roots").into()),
    }
}

/// How many pages a statement looks at, warm.
pub async fn pages(connection: &mut PgConnection, sql: &str) -> Result<f64> {
    let explain = sqlx::AssertSqlSafe(format!("explain (analyze, buffers, timing off, format json) {sql}"));
    let plan: Value = sqlx::query_scalar(explain).fetch_one(connection).await?;
    let count = |name: &str| plan[0]["Plan"][name].as_f64().unwrap_or(f64::NAN);
    Ok(count("Shared Hit Blocks") + count("Shared Read Blocks"))
}
