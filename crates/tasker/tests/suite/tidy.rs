//! The house's own rules, which no compiler checks.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A file of the repository: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All files under `crates/` with this ending.
fn sources(ending: &str) -> Vec<Source> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, ending, found);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut paths = Vec::new();
    walk(&root.join("crates"), ending, &mut paths);
    paths.sort();
    assert!(paths.len() > 10, "found {} files that end in {ending}", paths.len());
    let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
    paths.iter().map(|path| Source { path: name(path), text: fs::read_to_string(path).unwrap() }).collect()
}

/// Whether it is a test: those may be long, and ask the database what they like.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/")
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_module_opens_with_a_paragraph_that_a_newcomer_could_read_aloud() {
    let silent = sources(".rs").into_iter().filter(|file| !file.text.starts_with("//! "));
    none("these do not open with `//!`", silent.map(|file| file.path).collect());
}

/// What a backslash in a literal means is a setting of the server (`standard_conforming_strings`).
#[test]
fn no_function_or_view_has_a_backslash() {
    let with_one = sources(".sql").into_iter().filter(|file| file.path.contains("/sql/") && file.text.contains('\\'));
    none("these have a backslash", with_one.map(|file| file.path).collect());
}

#[test]
fn no_file_holds_two_ideas() {
    let long = [sources(".rs"), sources(".sql")]
        .into_iter()
        .flatten()
        .filter(|file| !is_test(&file.path) && !file.path.contains("/migrations/"));
    let long = long.map(|file| (file.text.lines().count(), file.path)).filter(|(lines, _)| *lines > 500);
    none("these have more than 500 lines", long.map(|(lines, path)| format!("{path}: {lines}")).collect());
}

#[test]
fn only_the_store_and_the_models_of_its_views_speak_sql() {
    // the bench's floors are plain SQL
    const SPEAKERS: [&str; 4] = [
        "crates/tasker/src/store/",
        "crates/tasker/src/context.rs",
        "crates/tasker/src/readiness.rs",
        "crates/tasker-cli/src/bench/",
    ];
    // examples in the documentation are an application's
    let code = |text: &str| text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<String>();
    let speaks =
        |text: &str| ["sqlx::query", "sqlx::raw_sql", "QueryBuilder"].iter().any(|word| code(text).contains(word));
    let strangers = sources(".rs").into_iter().filter(|file| {
        !is_test(&file.path)
            && !file.path.contains("/examples/")
            && !SPEAKERS.iter().any(|speaker| file.path.starts_with(speaker))
            && speaks(&file.text)
    });
    none("these speak SQL", strangers.map(|file| file.path).collect());
}

#[test]
fn every_sql_file_is_used_and_creates_what_its_name_says() {
    let store = |name: &str| fs::read_to_string(root().join("crates/tasker/src/store").join(name)).unwrap();
    let (schema, doctor) = (store("schema.rs"), store("doctor.rs"));
    let mut wrong = Vec::new();
    let ours = |file: &Source| !is_test(&file.path) && !file.path.contains("/bench/");
    for file in sources(".sql").into_iter().filter(ours) {
        let (folder, name) = file.path.trim_end_matches(".sql").rsplit_once('/').unwrap();
        let used = match folder.ends_with("doctor") {
            true => doctor.contains(&format!("\"{name}\" (")),
            false => schema.contains(&format!("{}/{name}.sql\")", folder.trim_start_matches("crates/tasker/"))),
        };
        if !used {
            wrong.push(format!("{} is not used", file.path));
        }
        let kind = match folder.rsplit('/').next() {
            Some("views") => "view",
            Some("functions") => "function",
            _ => continue,
        };
        let created = file.text.lines().filter(|line| line.starts_with("create ")).collect::<Vec<_>>();
        if !matches!(created[..], [one] if one.starts_with(&format!("create {kind} tasker.{name}"))) {
            wrong.push(format!("{} does not create the {kind} {name}, and nothing else", file.path));
        }
    }
    none("SQL files", wrong);
}

#[test]
fn no_test_is_skipped_and_no_warning_is_silenced() {
    // written in two halves, so that this file is not one of them
    let words =
        [concat!("#[", "ignore"), concat!("#[", "allow"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    let found = sources(".rs").into_iter().flat_map(|file| {
        let hits: Vec<String> = words
            .iter()
            .filter(|word| file.text.contains(**word))
            .map(|word| format!("{}: {word}", file.path))
            .collect();
        hits
    });
    none("these", found.collect());
}

#[test]
fn each_crate_knows_only_what_is_below_it() {
    let manifest = fs::read_to_string(root().join("crates/tasker/Cargo.toml")).unwrap();
    let known: BTreeSet<&str> =
        manifest.lines().filter_map(|line| line.split_once([' ', '.'])).map(|(name, _)| name).collect();
    for upward in ["tasker-cli", "tasker-server", "axum", "clap", "indicatif"] {
        assert!(!known.contains(upward), "the engine depends on {upward}");
    }
}

#[test]
fn the_second_engine_cites_every_rule_and_no_other() {
    // a number with a point between: `2.1`
    let is_rule = |word: &str| {
        word.split_once('.').is_some_and(|(chapter, number)| {
            [chapter, number].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    let numbers = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.')).map(|word| word.trim_end_matches('.'));
        words.filter(|word| is_rule(word)).map(str::to_string).collect()
    };
    let text = fs::read_to_string(root().join("docs/src/rules.md")).unwrap();
    let rules = text.lines().filter_map(|line| line.strip_prefix("**")?.split("**").next()).map(str::to_string);
    let comments = |file: &Source| {
        file.text
            .lines()
            .filter_map(|line| line.split_once("//"))
            .map(|(_, comment)| comment.to_string() + "\n")
            .collect::<String>()
    };
    let engine = sources(".rs").into_iter().filter(|file| file.path.contains("tests/suite/reference/"));
    let cited: BTreeSet<String> = engine.flat_map(|file| numbers(&comments(&file))).collect();
    assert_eq!(rules.collect::<BTreeSet<_>>(), cited);
}
