//! The embedded database obeys the same rules: all of them, one after the other, in one process that opens it once.

use std::panic::AssertUnwindSafe;

use tasker::Tasker;

use crate::support::{Rule, TestDatabase};

#[test]
fn the_embedded_database_obeys_every_rule() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let tasker = runtime.block_on(Tasker::embedded(folder.path())).unwrap();
    let db = TestDatabase::embedded(tasker.store().clone());
    let rules: Vec<&Rule> = [crate::readiness::RULES, crate::by_hand::RULES].into_iter().flatten().collect();
    let mut broken = Vec::new();
    for rule in &rules {
        runtime.block_on(db.begin_anew());
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(rule.check(&db))));
        let violations = runtime.block_on(db.violations());
        if outcome.is_err() || !violations.is_empty() {
            broken.push(format!("{}\n{}", rule.name, violations.join("\n")));
        }
    }
    runtime.block_on(tasker.close());
    assert!(broken.is_empty(), "{} of {} rules are broken:\n{}", broken.len(), rules.len(), broken.join("\n"));
}
