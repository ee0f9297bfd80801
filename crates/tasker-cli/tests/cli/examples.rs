//! The examples in YAML and SQL, run as their READMEs say.

use std::path::PathBuf;

use serde_json::json;

use crate::{server::Server, support::Place};

fn example(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../examples", name].iter().collect();
    path.canonicalize().unwrap().display().to_string()
}

/// A repository with a little history, and names that want to be quoted.
fn repository(place: &Place) {
    let git = |args: &[&str]| {
        let mut command = place.command("git", args);
        command
            .env("GIT_AUTHOR_NAME", "Ann \"the Cat\", Jr.")
            .env("GIT_AUTHOR_EMAIL", "a@b")
            .env("GIT_COMMITTER_NAME", "x");
        let ended = command.env("GIT_COMMITTER_EMAIL", "x@y").env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(ended.status.success(), "{args:?}: {ended:?}");
    };
    git(&["init", "-q", "."]);
    for (file, text) in [("a, b.txt", "one\n"), ("größe.txt", "two\nlines\n"), ("a, b.txt", "one\nmore\n")] {
        place.write(file, text);
        git(&["add", file]);
        git(&["commit", "-q", "-m", "a change"]);
    }
}

#[test]
fn a_history_is_loaded_whole_and_published_once_it_is() {
    let place = Place::new();
    repository(&place);
    let file = example("etl/history.yaml");
    for _ in 0..2 {
        let task = place.tasker(&["run", &file, "--json"]).with(0).json();
        let result = |name: &str| {
            let steps = task["steps"].as_array().unwrap();
            steps.iter().find(|step| step["name"] == name).unwrap()["result"].clone()
        };
        assert_eq!(result("load"), json!({ "commits": 3, "changes": 3 }));
        assert_eq!(result("busiest")[0], json!({ "path": "a, b.txt", "commits": 2, "lines": 2 }));
        assert!(place.path(".tasker/etl/history.db").exists() && !place.path(".tasker/etl/history.db.new").exists());
    }
    let query =
        place.command("sqlite3", &[".tasker/etl/history.db", "select distinct author from commits"]).output().unwrap();
    assert_eq!(String::from_utf8(query.stdout).unwrap(), "Ann \"the Cat\", Jr.\n");
}

#[test]
fn everything_can_be_done_from_psql() {
    let server = Server::new();
    let place = &server.place;
    place.tasker(&["migrate"]).with(0);
    place.tasker(&["workflow", "register", &example("psql/parcel.yaml")]).with(0);
    let worker = place.start(&["worker", "--allow-command"]);
    let psql = server
        .psql()
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", &example("psql/session.sql")])
        .output()
        .expect("psql is needed: it is a part of PostgreSQL's packages");
    let printed = String::from_utf8(psql.stdout).unwrap();
    assert!(psql.status.success(), "{printed}\n{}", String::from_utf8_lossy(&psql.stderr));
    for line in [
        "teapot | complete | all_complete ",
        "anvil  | failed   | blocked_by_failures | handle_failures ",
        "weigh | retries_exhausted ",
        "\"one anvil, packed, 2000 g, sent\"",
    ] {
        assert!(printed.contains(line), "{line:?} is not in\n{printed}");
    }
    worker.signal("TERM");
    worker.end().with(0);
}
