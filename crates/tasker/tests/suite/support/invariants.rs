//! What holds in every database at every moment between two transactions: the checks of `tasker doctor`, over all tasks.

use sqlx::{PgConnection, Row};

const CHECKS: &[(&str, &str)] = &[
    ("divergences", include_str!("../../../sql/doctor/divergences.sql")),
    ("stuck_tasks", include_str!("../../../sql/doctor/stuck_tasks.sql")),
    ("counts", include_str!("../../../sql/doctor/counts.sql")),
    ("histories", include_str!("../../../sql/doctor/histories.sql")),
    ("limits", include_str!("../../../sql/doctor/limits.sql")),
];

/// Everything in the database that is wrong.
pub async fn violations(session: &mut PgConnection) -> Vec<String> {
    let mut violations = Vec::new();
    // it would take longer than the checks
    sqlx::query("set jit = off").execute(&mut *session).await.unwrap();
    for (name, sql) in CHECKS {
        let check = if sql.contains("$1") { sqlx::query(*sql).bind(true) } else { sqlx::query(*sql) };
        match check.fetch_all(&mut *session).await {
            Ok(rows) => {
                violations.extend(rows.iter().take(5).map(|row| format!("{name}: {}", row.get::<String, _>("problem"))))
            }
            Err(error) => violations.push(format!("{name}: cannot be asked: {error}")),
        }
    }
    violations
}
