//! The guide's second table of what fails and what happens: each line is brought about by a test, which it names here.

use std::{fs, path::Path};

use expect_test::expect_file;

/// What fails, what happens, how soon it goes on, and the test that brings it about.
const TABLE: &[(&str, &str, &str, &str)] = &[
    (
        "every notification is lost, or the listener goes deaf",
        "workers ask by themselves",
        "the poll interval (1 s)",
        "engine_connections.rs what_came_by_sql_without_a_word_starts_within_the_poll_interval",
    ),
    (
        "somebody keeps a task locked",
        "its results are set aside, and handed in when it is free; others are not held up",
        "when it is free",
        "engine_connections.rs a_task_that_somebody_has_locked_is_settled_later_and_the_others_meanwhile",
    ),
    (
        "a result that the database cannot store",
        "its own step fails (`result_not_storable`), no other",
        "at once",
        "engine_results.rs what_the_database_refuses_fails_its_own_step_and_the_batch_is_sent_again_in_halves",
    ),
    (
        "a handler panics",
        "a failed attempt, with its message",
        "its backoff",
        "engine_attempts.rs a_panic_is_a_failed_attempt_with_its_message_and_the_worker_lives_on",
    ),
    (
        "a handler does not end within its timeout",
        "it is told to stop, then dropped: a failed attempt",
        "its backoff",
        "engine_attempts.rs a_handler_that_does_not_listen_is_dropped_after_its_timeout",
    ),
    (
        "the database's clock jumps ahead, or is set back",
        "ahead, leases may end early, which costs attempts; back, what had become due is delayed by as much; no result is lost or recorded twice",
        "when it has caught up",
        "reference/mod.rs whatever_goes_wrong_the_promises_hold_and_every_task_ends",
    ),
    (
        "a worker dies after the clock was set back, or its lease is committed after its end",
        "its steps are reaped like any other's",
        "its lease; a minute where the lease came late (longer where an old snapshot makes looking at everything slow)",
        "hand_ins.rs a_reaper_goes_on_when_the_clock_is_set_back",
    ),
    (
        "a session holds a lease, or a queued step, in a transaction that it does not end",
        "that step waits for it; the others are reaped, failed at their deadlines, and claimed",
        "when it ends",
        "hand_ins.rs the_reaper_is_not_held_up_by_a_row_that_somebody_holds",
    ),
    (
        "a session holds an old snapshot for hours",
        "nothing but space",
        "-",
        "limit_keys.rs under_an_old_snapshot_what_is_dead_before_a_known_key_is_not_read_again",
    ),
    (
        "a migration dies at any statement",
        "the next one takes it up; the schema is as if it had not died",
        "at once",
        "schema.rs an_upgrade_that_dies_at_any_statement_is_taken_up_by_the_next",
    ),
    (
        "a migration replaces the functions that workers are calling",
        "a call that is told so is made again",
        "at once",
        "engine_connections.rs a_migration_that_replaces_everything_disturbs_nobody",
    ),
    (
        "two programs do the same at once, or the opposite",
        "it ends as one of the two orders would have ended",
        "at once",
        "interleavings.rs verbs_that_meet_over_a_running_step",
    ),
    (
        "the worker's own process is stopped (SIGTERM, Ctrl-C)",
        "its handlers finish; what does not in time is given back, its attempt too",
        "at once",
        "engine_leases.rs what_does_not_finish_in_time_is_given_back_and_another_worker_goes_on_at_once",
    ),
    (
        "a process with the embedded database is killed",
        "its leases end when the folder is opened again",
        "at once",
        "tasker-cli/tests/cli/interruptions.rs after_kill_9_it_goes_on_and_no_finished_step_runs_again",
    ),
];

#[test]
fn the_guide_says_what_the_tests_bring_about() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut told = "| what fails | what happens | how soon it goes on |\n|---|---|---|\n".to_string();
    for (fails, happens, soon, test) in TABLE {
        let (file, name) = test.split_once(' ').unwrap();
        let place =
            if file.contains("tests/") { crates.join(file) } else { crates.join("tasker/tests/suite").join(file) };
        let source = fs::read_to_string(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        assert!(source.contains(&format!("#[test]\nfn {name}(")), "there is no test {name} in {file}");
        told += &format!("| {fails} | {happens} | {soon} |\n");
    }
    let chapter = crates.join("../docs/src/failures.md");
    let text = fs::read_to_string(&chapter).unwrap();
    let (before, rest) = text.split_once("<!-- tests -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of tests -->").unwrap();
    expect_file![chapter].assert_eq(&format!("{before}<!-- tests -->\n{told}<!-- end of tests -->{after}"));
}
