//! The guide says what is true: its workflows load, its queries run, and the chapter on SQL knows every column.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use tasker::workflow::Definition;

use crate::support::{Play, with_database};

/// The chapters, by file name, and the README.
fn chapters() -> BTreeMap<String, String> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../docs/src"].iter().collect();
    let mut chapters: BTreeMap<String, String> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    chapters.insert("README.md".into(), fs::read_to_string(folder.join("../../README.md")).unwrap());
    chapters
}

/// The blocks of a language, with the chapter that they are in.
fn blocks(language: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    for (name, text) in chapters() {
        let mut rest = text.as_str();
        while let Some((_, after)) = rest.split_once(&format!("```{language}\n")) {
            let (block, after) = after.split_once("```").unwrap();
            blocks.push((name.clone(), block.to_string()));
            rest = after;
        }
    }
    assert!(!blocks.is_empty(), "there is no {language} in the guide");
    blocks
}

#[test]
fn its_workflows_are_valid() {
    for (chapter, text) in blocks("yaml") {
        let loaded = Definition::from_yaml(&chapter, text.as_bytes(), None, &[]);
        assert!(loaded.is_ok(), "{chapter}:\n{}\n{text}", loaded.unwrap_err());
    }
}

#[test]
fn its_queries_run() {
    with_database(async |db| {
        db.run("create schema shop; select tasker.begin_event_epoch()").await;
        let mut play = Play::of(db, "a > b").await;
        play.live("submit").await;
        let name = format!("'test', '{}'", play.definition.name);
        for (chapter, sql) in blocks("sql") {
            // the README's placeholders stand for a task and a step
            let sql = sql
                .replace("'shop', 'fulfil_order'", &name)
                .replace("explain_step('..')", &format!("explain_step('{}')", play.step("b")))
                .replace(":'task'", &format!("'{}'", play.task()))
                .replace(":'step'", &format!("'{}'", play.step("b")))
                .replace("'..'", &format!("'{}'", play.task()));
            let ran = tasker::sqlx::raw_sql(tasker::sqlx::AssertSqlSafe(sql.clone())).execute(db.pool()).await;
            assert!(ran.is_ok(), "{chapter}: {}\n{sql}", ran.unwrap_err());
        }
        db.run("select count(tasker.cancel_task(task_id)) from tasker.tasks").await;
    });
}

#[test]
fn it_describes_every_column_of_every_view_as_the_database_does() {
    with_database(async |db| {
        let chapter = chapters().remove("sql.md").unwrap();
        let rows: Vec<String> = db
            .column(
                "select format('%s|| `%s` | %s | %s |', c.relname, a.attname, replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz'),
                   replace(col_description(c.oid, a.attnum), 'tasker.tasker.', 'tasker.'))
                 from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0
                 where c.relnamespace = 'tasker'::regnamespace and c.relkind = 'v' order by 1",
            )
            .await;
        let mut missing = BTreeSet::new();
        for row in rows {
            let (view, line) = row.split_once("||").map(|(view, line)| (view, format!("|{line}"))).unwrap();
            let line = line.replace("tasker.step_state", "step_state").replace("tasker.task_state", "task_state");
            let section =
                chapter.split(&format!("### `{view}`\n")).nth(1).unwrap_or_default().split("\n### ").next().unwrap();
            // a summary has the columns of the execution context, too
            let known = section.contains(&line) || (view == "task_workflow_summaries" && chapter.contains(&line));
            if !known {
                missing.insert(format!("{view}: {line}"));
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    });
}

#[test]
fn its_chapters_are_listed_and_their_links_lead_somewhere() {
    let chapters = chapters();
    let summary = &chapters["SUMMARY.md"];
    for (name, text) in &chapters {
        let listed = ["SUMMARY.md", "README.md"].contains(&name.as_str()) || summary.contains(&format!("({name})"));
        assert!(listed, "{name} is not in the summary");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_chapter = link.ends_with(".md") && !link.contains('/');
            let known =
                chapters.contains_key(link) || ["ARCHITECTURE.md", "CONVENTIONS.md", "CHANGELOG.md"].contains(&link);
            assert!(!is_chapter || known, "{name}: the link to {link} leads nowhere");
        }
    }
}
