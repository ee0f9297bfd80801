//! The binary on a PostgreSQL server: `migrate`, `run`, `worker`, and what `doctor` finds. `scripts/test` names the server.

use std::{env, process::Command, time::SystemTime};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, postgres::PgConnectOptions};
use tasker::store::SCHEMA_VERSION;
use tokio::runtime::Runtime;

use crate::support::{Place, Running, wait_for};

/// An empty database, dropped at the end, and a place whose commands use it.
pub struct Server {
    runtime: Runtime,
    options: PgConnectOptions,
    name: String,
    pub place: Place,
}

impl Server {
    pub fn new() -> Server {
        let url = env::var("TASKER_TEST_DATABASE_URL")
            .expect("TASKER_TEST_DATABASE_URL names no PostgreSQL server: run scripts/test, which starts one");
        let options: PgConnectOptions = url.parse().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let name = format!("tasker_test_{}_{:08x}{:08x}", now.as_secs(), now.subsec_nanos(), std::process::id());
        let mut place = Place::new();
        place.database = Some(options.clone().database(&name).to_url_lossy().to_string());
        let server = Server { runtime: Runtime::new().unwrap(), options, name, place };
        server.on(&server.options, format!("create database {}", server.name));
        server
    }

    /// `psql` in the database.
    pub fn psql(&self) -> Command {
        let mut psql = Command::new("psql");
        let host = self.options.get_socket().map(|folder| folder.display().to_string());
        psql.env("PGHOST", host.unwrap_or_else(|| self.options.get_host().into()))
            .env("PGPORT", self.options.get_port().to_string())
            .env("PGUSER", self.options.get_username())
            .env("PGDATABASE", &self.name);
        psql
    }

    /// Runs a statement in the database.
    fn sql(&self, sql: &str) {
        self.on(&self.options.clone().database(&self.name), sql.into());
    }

    fn on(&self, options: &PgConnectOptions, sql: String) {
        self.runtime.block_on(async {
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        });
    }

    /// Which checks of `doctor` find something that is wrong, but for the settings of a server that is made for tests.
    fn wrong_checks(&self, code: i32) -> Vec<String> {
        let examined = self.place.tasker(&["doctor", "--json"]);
        let findings = examined.json()["findings"].as_array().unwrap().clone();
        let wrong = |finding: &&Value| finding["wrong"] == true && finding["check"] != "settings";
        let checks: Vec<String> = findings.iter().filter(wrong).map(|f| f["check"].as_str().unwrap().into()).collect();
        assert!(code == 0 || examined.code == Some(code), "{examined:#?}");
        checks
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.on(&self.options, format!("drop database {} with (force)", self.name));
    }
}

const WAIT: &str = r#"
name: wait
version: 1.0.0
steps:
  - name: wait
    handler: command
    with: { program: sh, args: [-c, "echo on >> begun; until test -e go; do sleep 0.05; done; echo done >> ended"] }
"#;

#[test]
fn a_server_is_migrated_by_hand_and_serves_many() {
    let server = Server::new();
    let place = &server.place;
    place.write("wait.yaml", WAIT);
    for command in [["run", "wait.yaml"], ["task", "list"]] {
        assert!(place.tasker(&command).with(3).stderr.contains("run `tasker migrate`"));
    }
    assert_eq!(server.wrong_checks(1), ["schema"]);
    assert_eq!(
        place.tasker(&["migrate", "--json"]).with(0).json()["migrations"],
        json!(Vec::from_iter(1..=SCHEMA_VERSION))
    );
    let runs: Vec<Running> = (0..2).map(|_| place.start(&["run", "wait.yaml"])).collect();
    place.wait_for_lines("begun", 2);
    assert_eq!(place.tasker(&["task", "list", "--json"]).with(0).json().as_array().unwrap().len(), 2);
    place.write("go", "");
    for run in runs {
        run.end().with(0);
    }
    assert_eq!(server.wrong_checks(0), [""; 0]);
    assert!(!place.path(".tasker").exists());
}

#[test]
fn a_worker_runs_programs_when_it_may_and_drains_at_sigterm() {
    let server = Server::new();
    let place = &server.place;
    place.write("wait.yaml", WAIT);
    place.tasker(&["migrate"]).with(0);
    // registers it, and leaves a task behind
    let run = place.start(&["run", "wait.yaml"]);
    place.wait_for_lines("begun", 1);
    run.signal("INT");
    let task = run.end().with(130).task_id();

    // what came later is done, and the program was not started
    place.write(
        "quick.yaml",
        "name: quick\nversion: 1.0.0\nsteps:\n  - name: quick\n    handler: transform\n    with: { value: 1 }\n",
    );
    place.tasker(&["run", "quick.yaml"]).with(0);
    let cautious = place.start(&["worker"]);
    server.sql("select tasker.submit_task('default', 'quick', '{}', (select version from tasker.named_tasks where name = 'quick'))");
    let complete = ["task", "list", "--state", "complete", "--json"];
    wait_for("the quick task", || place.tasker(&complete).json().as_array().unwrap().len() == 2);
    cautious.signal("TERM");
    assert!(cautious.end().with(0).stderr.contains("serving http, render, sleep, transform"));
    assert_eq!(place.lines("begun").len(), 1);

    let worker = place.start(&["worker", "--allow-command", "--concurrency", "2"]);
    place.wait_for_lines("begun", 2);
    worker.signal("TERM");
    place.write("go", "");
    assert!(worker.end().with(0).stderr.contains("drained"));
    assert_eq!(place.lines("ended"), ["done"]);
    assert_eq!(place.tasker(&["task", "show", &task, "--json"]).with(0).json()["status"], "complete");
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_helps() {
    let server = Server::new();
    let place = &server.place;
    place.write("wait.yaml", WAIT);
    place.tasker(&["migrate"]).with(0);
    let run = place.start(&["run", "wait.yaml"]);
    place.wait_for_lines("begun", 1);
    run.signal("KILL");
    let task = run.end().task_id();
    place.write("go", "");
    assert_eq!(server.wrong_checks(0), [""; 0]);

    server.sql("update tasker.leases set lease_expires_at = now() - interval '1 minute'");
    assert_eq!(server.wrong_checks(1), ["unreaped"]);
    server.sql("delete from tasker.leases");
    assert_eq!(server.wrong_checks(1), ["divergences"]);
    let said = place.tasker(&["doctor"]).with(1).stdout;
    assert!(
        said.contains("lease without a running step") && said.contains(&format!("tasker task cancel {task}")),
        "{said}"
    );

    place.tasker(&["task", "cancel", &task]).with(0);
    server.sql("update tasker.schema_objects set content_hash = 'another'");
    assert_eq!(server.wrong_checks(1), ["schema"]);
    place.tasker(&["migrate"]).with(0);
    assert_eq!(server.wrong_checks(0), [""; 0]);
}

#[test]
fn bench_measures_each_figure_beside_its_floor_and_leaves_nothing_behind() {
    let server = Server::new();
    let page = server.place.path("bench.html");
    let page = page.to_str().unwrap();
    let measured = server
        .place
        .tasker(&["bench", "--rounds", "2", "--tasks", "100", "--only", "diamonds", "--page", page, "--json"])
        .with(0);
    let figures = measured.json();
    let figure = &figures[0];
    assert_eq!(
        (figure["name"].as_str(), figure["floor_is"].as_str()),
        (Some("diamonds, steps"), Some("the bare engine"))
    );
    for what in ["ours", "floor"] {
        let values = figure[what].as_array().unwrap();
        assert!(values.len() == 2 && values.iter().all(|value| value.as_f64().unwrap() > 0.0), "{figure}");
    }
    assert!(std::fs::read_to_string(page).unwrap().contains("<h2>diamonds, steps</h2>"));
    let table = server.place.tasker(&["bench", "--rounds", "1", "--tasks", "100", "--only", "reads"]).with(0);
    assert!(
        table.stdout.contains("at least") && table.stdout.contains("read summary of 100 steps, p50"),
        "{}",
        table.stdout
    );
    let long = server
        .place
        .tasker(&["bench", "--rounds", "1", "--long", "10000", "--only", "beside an old", "--json"])
        .with(0);
    let figures = long.json();
    let named = |figure: &serde_json::Value| figure["name"].as_str().unwrap().starts_with("beside an old snapshot");
    assert!(figures.as_array().unwrap().iter().filter(|figure| named(figure)).count() == 4, "{figures}");
    // both what a step leaves on the disk, and what becomes of the engine beside much of it
    let stored = ["bench", "--rounds", "1", "--tasks", "100", "--long", "10000", "--only", "stor", "--json"];
    let figures = server.place.tasker(&stored).with(0).json();
    for name in ["stored bytes a step, vacuumed", "much stored, steps", "much stored, pages of readiness"] {
        assert!(figures.as_array().unwrap().iter().any(|figure| figure["name"] == name), "{name}: {figures}");
    }
    // its databases are gone
    let left = server
        .psql()
        .args(["-Atc", "select count(*) from pg_database where datname ~ '^tasker_bench_'"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout).trim(), "0");
}

#[test]
fn bench_needs_a_server() {
    let place = Place::new();
    let refused = place.tasker(&["bench"]).with(2);
    let unknown =
        place.with_env(&["bench", "--only", "dimonds"], &[("DATABASE_URL", "postgres://127.0.0.1:1/x")]).with(2);
    assert!(
        unknown.stderr.contains("no group of figures has `dimonds` in its name; there are: chain of 4; submit;"),
        "{}",
        unknown.stderr
    );
    assert!(
        refused.stderr.contains("bench measures a server: give --database, or set DATABASE_URL"),
        "{}",
        refused.stderr
    );
}

/// A release is registered, found, and submitted by name; the same key gives the same task; lists have what was asked for.
#[test]
fn tasks_are_submitted_and_found_by_name() {
    let server = Server::new();
    let place = &server.place;
    place.write(
        "two.yaml",
        "name: two\nnamespace: shop\nversion: 1.2.0\ndescription: Two steps\ninput: {type: object, required: [n]}\nsteps:\n- {name: a, handler: transform, with: {value: 1}}\n- {name: b, handler: transform, depends_on: [a], with: {value: 2}}\n",
    );
    place.tasker(&["migrate"]).with(0);
    place.tasker(&["workflow", "register", "two.yaml"]).with(0);
    let listed = place.tasker(&["workflow", "list", "--namespace", "shop"]).with(0).stdout;
    assert!(listed.contains("shop.two") && listed.contains("Two steps"), "{listed}");
    let shown = place.tasker(&["workflow", "show", "shop.two", "--json"]).with(0).json();
    assert_eq!((&shown["version"], &shown["execution_order"]), (&json!("1.2.0"), &json!([["a"], ["b"]])));
    assert!(place.tasker(&["workflow", "show", "shop.two@1.2.0"]).with(0).stdout.contains("transform"));
    let submit = |more: &[&str]| {
        let words = [
            "task",
            "submit",
            "shop.two",
            "--input",
            "{\"n\": 1}",
            "--idempotency-key",
            "k",
            "--tag",
            "region=eu",
            "--json",
        ];
        place.tasker(&[&words[..], more].concat())
    };
    let first = submit(&[]).with(0).json();
    assert_eq!(first["existing"], false);
    assert_eq!(submit(&[]).with(0).json(), json!({ "task_id": first["task_id"], "existing": true }));
    let other = submit(&["--priority", "high"]).with(2);
    assert!(other.stderr.contains("idempotency key"), "{other:#?}");
    let found = |words: &[&str]| {
        let listed = place.tasker(&[&["task", "list", "--json"], words].concat()).with(0).json();
        listed.as_array().unwrap().len()
    };
    assert_eq!((found(&["--tag", "region=eu"]), found(&["--tag", "region=us"])), (1, 0));
    assert_eq!((found(&["--execution-status", "has_ready_steps"]), found(&["--namespace", "depot"])), (1, 0));
    let picture = place.tasker(&["diagram", first["task_id"].as_str().unwrap(), "--format", "mermaid"]).with(0).stdout;
    assert!(picture.contains("s0[\"a<br/>ready\"]:::ready") && picture.contains("s0 --> s1"), "{picture}");
    assert!(place.tasker(&["diagram", "two.yaml"]).with(0).stdout.starts_with("<svg "));
    place.tasker(&["diagram", "shop.two", "--output", "two.svg"]).with(0);
    assert!(place.path("two.svg").is_file());
    for (words, code) in [
        (&["task", "submit", "shop.two", "--input", "[]"][..], 2),
        (&["task", "submit", "shop.two", "--input", "{"], 2),
        (&["task", "submit", "shop.two"], 2),
        (&["task", "submit", "shop.three"], 2),
        (&["task", "submit", "shop.two", "--tag", "x"], 2),
        (&["task", "submit", "shop.two", "--run-at", "tomorrow"], 2),
        (&["workflow", "show", "shop.three"], 2),
        (&["diagram", "nothing.yaml"], 2),
    ] {
        let refused = place.tasker(words).with(code);
        assert!(refused.stderr.starts_with("error: "), "{words:?}: {refused:#?}");
    }
}
