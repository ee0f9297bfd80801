//! The embedded database obeys the same rules: all of them, one after the other, in one process that opens it once.

use std::panic::AssertUnwindSafe;

use tasker::Tasker;

use crate::support::{Rule, TestDatabase};

#[test]
fn a_folder_whose_maker_died_over_it_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    // as a killed process leaves it: some files, and those not whole
    std::fs::create_dir_all(folder.path().join("postgres/global")).unwrap();
    std::fs::write(folder.path().join("postgres/PG_VERSION"), "17\n").unwrap();
    std::fs::write(folder.path().join("postgres/global/2677"), "").unwrap();
    std::fs::write(folder.path().join("making"), "").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for _ in 0..2 {
        let tasker = runtime.block_on(Tasker::embedded(folder.path())).unwrap();
        runtime.block_on(tasker.store().require_schema()).unwrap();
        runtime.block_on(tasker.close());
        assert!(!folder.path().join("making").exists(), "what is complete is never made anew");
    }
}

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
