//! Every command asks a database or a server, and says the same.

use crate::{
    http::address,
    server::Server,
    support::{Ended, Place, wait_for},
};

const PARCEL: &str = r#"
name: parcel
namespace: shop
version: 1.0.0
description: What is too heavy is a matter for a person.
input: { type: object, required: [grams] }
steps:
  - { name: pack, handler: render, with: { template_file: note.txt, path: "{{ input.grams }}.txt" } }
  - { name: weigh, handler: command, retry: { max_attempts: 1 }, with: { program: sh, args: [-c, "echo too heavy >&2; exit 1"] } }
  - { name: send, handler: transform, depends_on: [pack, weigh], with: { value: 1 } }
"#;

/// What is done one after the other, each on a task of the door's own, `{}`: the words, and the exit code.
const CASES: &[(&str, i32)] = &[
    ("workflow register parcel.yaml", 0),
    ("workflow register parcel.yaml --json", 0),
    ("workflow register other.yaml", 2),
    ("workflow register broken.yaml", 2),
    ("workflow list", 0),
    ("workflow list --namespace shop --name parcel --limit 1 --json", 0),
    ("workflow list --namespace nowhere", 0),
    ("workflow show shop.parcel", 0),
    ("workflow show shop.parcel@1.0.0 --json", 0),
    ("workflow show shop.none", 2),
    ("diagram shop.parcel --format mermaid", 0),
    ("diagram shop.parcel@1.0.0", 0),
    ("diagram shop.none", 2),
    ("diagram {} --format dot", 0),
    ("diagram {} --format json", 0),
    ("diagram parcel.yaml --format dot", 0),
    ("task submit shop.none", 2),
    ("task submit shop.parcel", 2),
    ("task submit shop.parcel --input [1]", 2),
    ("task submit shop.parcel --input {", 2),
    ("task submit shop.parcel --input {\"grams\":1} --summary {}", 0),
    (
        "task submit shop.parcel --input {\"grams\":2} --idempotency-key {} --tag region=eu --priority high --run-at 2030-01-01T00:00:00Z --json",
        0,
    ),
    (
        "task submit shop.parcel --input {\"grams\":2} --idempotency-key {} --tag region=eu --priority high --run-at 2030-01-01T00:00:00Z --json",
        0,
    ),
    ("task submit shop.parcel --input {\"grams\":3} --idempotency-key {}", 2),
    ("task submit shop.parcel --input {\"grams\":1} --unique-while-live {}", 0),
    ("task submit shop.parcel --input {\"grams\":1} --unique-while-live {}", 0),
    ("task list --tag door={}", 0),
    ("task list --tag door={} --json", 0),
    ("task list --state failed --name parcel --namespace shop --limit 1 --tag door={}", 0),
    ("task list --execution-status blocked_by_failures --tag door={}", 0),
    ("task list --execution-status nothing", 2),
    ("task show {}", 0),
    ("task show {} --json", 0),
    ("task show 01a20fe7-19ca-7537-ad02-000000000000", 2),
    ("task watch {}", 1),
    ("task watch 01a20fe7-19ca-7537-ad02-000000000000", 2),
    ("explain {}", 0),
    ("explain {} --json", 0),
    ("explain {} send", 0),
    ("explain {} send --json", 0),
    ("explain {} none", 2),
    ("explain 01a20fe7-19ca-7537-ad02-000000000000 send", 2),
    ("explain 01a20fe7-19ca-7537-ad02-000000000001", 2),
    ("task resolve {} send --result 1", 2),
    ("task resolve {} weigh --result {", 2),
    ("task resolve {} --result 1", 2),
    ("task pause {}", 2),
    ("task retry {} weigh --reason again", 0),
    ("task pause {} --json", 0),
    ("task pause {}", 0),
    ("task show {}", 0),
    ("task resume {}", 0),
    ("task cancel {} weigh", 0),
    ("task cancel {} weigh", 0),
    ("task retry {} --json", 0),
    ("task resolve {} weigh --result {\"by\":\"hand\"} --json", 0),
    ("task cancel {} none", 2),
    ("task cancel {}", 0),
    ("task cancel {}", 0),
    ("task pause {}", 2),
    ("task watch {}", 1),
    ("task watch {} --json", 1),
    ("task resolve {}", 2),
    ("task retry {}", 2),
    ("task cancel 01a20fe7-19ca-7537-ad02-000000000000", 2),
];

/// Without what differs between two tasks: their ids, instants and durations.
fn same(text: &str, task: &str) -> String {
    let text = text.replace(&task[..30], "TASK");
    let is_time = |word: &str| {
        let digits = word.trim_end_matches("ms").trim_end_matches('s');
        word.contains(':') && word.starts_with(|c: char| c.is_ascii_digit())
            || digits.len() < word.len()
                && !digits.is_empty()
                && digits.bytes().all(|c| c.is_ascii_digit() || c == b'.')
    };
    let is_id = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    let word = |word: &str| match word.trim_matches([',', '"', '.', ':', '>', '<']) {
        inner if is_time(inner) => "AT".to_owned(),
        inner if is_id(inner) => "ID".to_owned(),
        _ => word.to_owned(),
    };
    let line = |line: &str| {
        line.split([' ', ',', '/', '"']).filter(|word| !word.is_empty()).map(word).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_command_says_the_same_at_both_doors() {
    let server = Server::new();
    let place = &server.place;
    place.tasker(&["migrate"]).with(0);
    place.write("parcel.yaml", PARCEL);
    place.write("other.yaml", &PARCEL.replace("heavy", "light"));
    place.write("broken.yaml", &PARCEL.replace("[pack, weigh]", "[peck]"));
    place.write("note.txt", "{{ input.grams }} g, from the folder of the file");
    place.tasker(&["workflow", "register", "parcel.yaml"]).with(0);
    let mut served = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let url = format!("http://{}", address(&mut served));
    let worker = place.start(&["worker", "--allow-command"]);
    let tasks = ["here", "there"].map(|door| {
        let tag = format!("door={door}");
        let submit = ["task", "submit", "shop.parcel", "--input", "{\"grams\": 9}", "--tag", &tag];
        let id = place.tasker(&submit).with(0).stdout.trim().to_owned();
        wait_for("it to fail", || place.tasker(&["task", "show", &id]).with(0).stdout.contains("failed, blocked"));
        (id, door)
    });
    worker.signal("TERM");
    worker.end().with(0);
    let mut wrong = Vec::new();
    for (words, code) in CASES {
        let ask = |(task, door): &(String, &str)| {
            let place_of = if words.contains("door={}") { door } else { task.as_str() };
            let words: Vec<String> = words.split(' ').map(|word| word.replace("{}", place_of)).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let Ended { code, stdout, stderr } = match *door {
                "there" => {
                    // whatever it is told, it has no database
                    let variables = [("DATABASE_URL", "postgres://127.0.0.1:1/none"), ("TASKER_SERVER", url.as_str())];
                    place.with_env(&words, &variables)
                }
                _ => place.tasker(&words),
            };
            let same = |text: &str| same(text, task).replace(&format!("door : {door}"), "DOOR");
            (code, same(&stdout), same(&stderr))
        };
        let [here, there] = [&tasks[0], &tasks[1]].map(ask);
        if there != here || there.0 != Some(*code) {
            wrong.push(format!("{words}: {code} wanted\n{there:#?}\n{here:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    served.signal("TERM");
    served.end().with(0);
}

/// What has more than a page has as much at both doors.
#[test]
fn long_lists_are_whole_at_both_doors() {
    let server = Server::new();
    let place = &server.place;
    place.tasker(&["migrate"]).with(0);
    let steps: String =
        (0..1100).map(|n| format!("- {{name: s{n}, handler: transform, with: {{value: {n}}}}}\n")).collect();
    place.write("wide.yaml", &format!("name: wide\nversion: 1.0.0\nsteps:\n{steps}"));
    place.write("one.yaml", "name: one\nversion: 1.0.0\nsteps:\n- {name: a, handler: transform, with: {value: 1}}\n");
    place.tasker(&["workflow", "register", "one.yaml"]).with(0);
    let mut served = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let url = format!("http://{}", address(&mut served));
    place.tasker(&["workflow", "register", "wide.yaml", "--server", &url]).with(0);
    let task = place.tasker(&["task", "submit", "wide", "--server", &url]).with(0).stdout;
    let many = "select count(tasker.submit_task('default', 'one', '{}')) from generate_series(1, 1100)";
    assert!(server.psql().args(["-qc", many]).status().unwrap().success());
    for words in [&["task", "show", task.trim(), "--json"][..], &["task", "list", "--limit", "1050", "--json"]] {
        let (here, there) = (place.tasker(words).with(0), place.tasker(&[words, &["--server", &url]].concat()).with(0));
        assert_eq!(here.stdout, there.stdout);
        let answer = there.json();
        let number = answer["steps"].as_array().or(answer.as_array()).unwrap().len();
        assert_eq!(number, if words.contains(&"list") { 1050 } else { 1100 });
    }
}

/// What is printed for pasting leads to the same door.
#[test]
fn command_lines_to_paste_lead_to_the_same_door() {
    let server = Server::new();
    let place = &server.place;
    place.tasker(&["migrate"]).with(0);
    place.write("note.txt", "");
    place.write("parcel.yaml", PARCEL);
    let run = |variables: &[(&str, &str)]| {
        place.with_env(&["run", "parcel.yaml", "--input", "{\"grams\": 1}"], variables).with(1)
    };
    let task = run(&[]).task_id();
    let mut served = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let url = format!("http://{}", address(&mut served));
    let explained = place.tasker(&["explain", &task, "--server", &format!("{url}/v1/")]).with(0).stdout;
    assert!(explained.contains(&format!("task retry {task} weigh --server {url}\n")), "{explained}");
    // a run is on the database, and so are the lines that it prints, whatever server the environment names
    let ran = run(&[("TASKER_SERVER", "http://127.0.0.1:1")]);
    assert!(ran.to_paste().iter().all(|line| line.contains("--database ")), "{ran:#?}");
    place.paste(ran.to_paste()[0]).with(0);
}

#[test]
fn a_key_comes_from_the_environment_or_from_a_file() {
    let server = Server::new();
    let place = &server.place;
    place.tasker(&["migrate"]).with(0);
    let key = |role: &str| place.tasker(&["key", "create", role, "--role", role]).with(0).stdout.trim().to_owned();
    let (viewer, admin) = (key("viewer"), key("admin"));
    place.write("viewer.key", &format!("{viewer}\n"));
    place.write("one.yaml", "name: one\nversion: 1.0.0\nsteps:\n- {name: a, handler: transform, with: {value: 1}}\n");
    let mut served = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let url = format!("http://{}", address(&mut served));
    let ask = |place: &Place, words: &str, key: &str| {
        place.with_env(&words.split(' ').collect::<Vec<_>>(), &[("TASKER_SERVER", &url), ("TASKER_KEY", key)])
    };
    let none = ask(place, "task list", "").with(3);
    assert!(none.stderr.contains("401 Unauthorized") && none.stderr.contains("TASKER_KEY"), "{none:#?}");
    ask(place, "task list", &viewer).with(0);
    ask(place, "task list --key-file viewer.key", "").with(0);
    let refused = ask(place, "workflow register one.yaml --key-file viewer.key", &admin).with(3);
    assert!(refused.stderr.contains("403 Forbidden: a viewer may not: this takes admin (forbidden)"), "{refused:#?}");
    assert!(!refused.stderr.contains(&viewer));
    ask(place, "workflow register one.yaml", &admin).with(0);
}
