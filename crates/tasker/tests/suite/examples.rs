//! The examples in Rust, run as they are built, each on a database of its own.

use std::{path::PathBuf, process::Command};

use crate::support::with_real_clock;

/// Runs an example to its end; gives what it printed.
fn run(name: &str) -> String {
    let mut printed = String::new();
    with_real_clock(async |db| {
        let program = program(name);
        let mut command = Command::new(&program);
        command.env("DATABASE_URL", db.url());
        let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        let ended = ended.unwrap_or_else(|error| panic!("{}: {error}: is it built?", program.display()));
        printed = String::from_utf8(ended.stdout).unwrap();
        assert!(ended.status.success(), "{printed}\n{}", String::from_utf8_lossy(&ended.stderr));
    });
    printed
}

/// Where cargo puts examples: beside the folder of tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}

#[test]
fn orders_are_charged_exactly_once() {
    let printed = run("orders");
    assert!(printed.contains("27 orders shipped, 3 declined\n"), "{printed}");
    assert!(printed.contains(" requests to the payment service made 27 payments\n"), "{printed}");
}

#[test]
fn no_shop_has_more_than_four_requests_at_once() {
    let printed = run("prices");
    assert_eq!(printed.matches("\"offer\":{\"shop\":").count(), 20, "{printed}");
    assert!(printed.contains("no shop had more than 4 requests at once"), "{printed}");
}

#[test]
fn money_is_moved_exactly_once() {
    let printed = run("bank_transfer");
    assert!(
        printed.contains("120 transfers made, 120 statements written, 500000 cents in the bank after 8 kills"),
        "{printed}"
    );
}

#[test]
fn an_order_and_its_task_are_there_or_not_together() {
    let printed = run("submit_in_transaction");
    assert!(
        printed.contains("left behind: 0 orders, 0 tasks") && printed.contains("the task is complete"),
        "{printed}"
    );
}
