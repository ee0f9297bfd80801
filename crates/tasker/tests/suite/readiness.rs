//! The rules of readiness.

use crate::support::{Play, with_database};

#[test]
fn smoke() {
    with_database(async |db| {
        let play = Play::through(db, "a, b > c", "a:complete b:in_progress").await;
        println!("{}", play.picture().await);
        let play = Play::through(db, "a > b[attempts=1], c[concurrency=1] > d", "submit(context={\"x\":1}) submit a:complete b:failed c:complete 2.a:skipped 2.c:waits(1h) 2.b:lost +30m 2.task:pause").await;
        println!("{}", play.picture().await);
        println!("{}", db.url());
    });
}
