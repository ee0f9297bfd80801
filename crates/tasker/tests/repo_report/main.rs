//! The example `repo_report` gives a report for any folder: its steps are run here in order, with the built-in
//! handlers and without a database, over repositories of every odd kind.

mod page;
mod repository;

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use self::{
    page::{definition, report, report_with, root},
    repository::{Repository, git, tools, which},
};

#[tokio::test]
async fn this_repository_has_a_report_with_every_part() {
    let page = report(&root()).await;
    for part in ["Files", "Largest folders", "Dependencies", "How deep", "Most used", "In several versions"] {
        page.shows(part);
    }
    assert!(page.result("dependencies", "/direct").as_u64() >= Some(10));
    assert_eq!(page.result("dependencies", "/chain/0").as_str().map(|name| name.starts_with("tasker")), Some(true));
    assert_eq!(page.result("files", "/languages/0/name"), "Rust");
}

#[tokio::test]
async fn history_is_counted() {
    let repository = Repository::new();
    repository.commit("Ann", "2024-01-01T10:00:00+0000", &[("src/main.rs", "fn main() {}\n"), ("gone", "x")]);
    repository.commit("Ann", "2024-01-02T10:00:00+0000", &[("src/main.rs", "fn main() {\n}\n")]);
    fs::remove_file(repository.path().join("gone")).unwrap();
    repository.commit("Bo", "2024-03-01T23:00:00-0500", &[("README.md", "Read\nme\n\n")]);
    repository.git(["tag", "v1.0"]);
    let page = report(repository.path()).await;
    assert_eq!(page.result("commits", "/total"), 3);
    assert_eq!(
        (page.result("commits", "/first"), page.result("commits", "/last")),
        (json!("2024-01-01"), json!("2024-03-02"))
    );
    assert_eq!(page.result("commits", "/unit"), "day");
    assert_eq!(page.result("commits", "/series/1"), json!(["2024-01-02", 1]));
    assert_eq!(page.result("commits", "/series").as_array().unwrap().len(), 62);
    assert_eq!(page.result("commits", "/week/4/23"), 1, "Friday at 23, by Bo's clock");
    assert_eq!(page.result("authors", "/top/0/name"), "Ann");
    assert_eq!(page.result("authors", "/half"), 1);
    assert_eq!(
        page.result("changes", "/top/0"),
        json!({ "path": "gone", "changes": 2, "last": "2024-03-02", "gone": true })
    );
    assert_eq!(page.result("releases", "/latest/0/name"), "v1.0");
    assert_eq!(page.result("files", "/lines"), 5);
    page.shows("3 commits by 2 authors from 2024-01-01 to 2024-03-02. 2 files, ");
    page.notes(&["There is no Cargo.toml here, so there is no dependency graph."]);
}

#[tokio::test]
async fn a_repository_without_a_commit_has_its_files() {
    let repository = Repository::new();
    repository.write("main.rs", "fn main() {}\n");
    repository.write(".gitignore", "ignored\n");
    repository.write("ignored/file", "x");
    repository.write(".tasker/data", "x");
    let page = report(repository.path()).await;
    assert_eq!(page.result("files", "/total"), 2);
    page.notes(&[
        "This repository has no commit yet.",
        "There is no Cargo.toml here, so there is no dependency graph.",
    ]);
    assert!(!page.html.contains("<h2>History</h2>"));
}

#[tokio::test]
async fn a_plain_folder_has_its_files_and_an_empty_one_a_page() {
    let folder = TempDir::new().unwrap();
    let page = report(folder.path()).await;
    assert_eq!(page.result("files", "/total"), 0);
    fs::create_dir_all(folder.path().join("node_modules/left-pad")).unwrap();
    fs::write(folder.path().join("node_modules/left-pad/index.js"), "x").unwrap();
    fs::write(folder.path().join("script.py"), "print()\nprint()\n").unwrap();
    let page = report(folder.path()).await;
    assert_eq!((page.result("files", "/total"), page.result("files", "/lines")), (json!(1), json!(2)));
    page.notes(&[
        "This folder is no git repository.",
        "All files are counted, but for folders called .git, .tasker, target and node_modules.",
        "There is no Cargo.toml here, so there is no dependency graph.",
    ]);
}

#[tokio::test]
async fn odd_names_are_counted_and_harmless() {
    let repository = Repository::new();
    let names: [&[u8]; 12] = [
        b"with space.rs",
        b"quote\".rs",
        b"apostrophe's.rs",
        b"new\nline.rs",
        b"tab\t.rs",
        b"not utf-8 \xff\xfe.rs",
        b"-rf",
        b"--help.rs",
        b"<script>alert(1)</script>.html",
        b"back\\slash.rs",
        "größe.rs".as_bytes(),
        b"{{ 7 * 7 }}.rs",
    ];
    for name in names {
        let path = repository.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "one\ntwo\n").unwrap();
    }
    repository.commit("Tom & <b>\"Jerry\"", "2024-01-01T10:00:00+0000", &[("$(touch pwned)/`id`.rs", "x\n")]);
    repository.git(["commit", "-q", "--allow-empty", "-m", "</td><script>alert(2)</script> {{ 7 * 7 }}\ttab"]);
    let page = report(repository.path()).await;
    assert_eq!(page.result("files", "/total"), 13);
    assert_eq!(page.result("changes", "/files"), 13);
    for name in [
        "quote&quot;.rs",
        "&lt;script&gt;alert(1)&lt;",
        "not utf-8 \u{fffd}\u{fffd}.rs",
        "größe.rs",
        "{{ 7 * 7 }}.rs",
        "$(touch pwned)&#x2f;`id`.rs",
    ] {
        page.shows(name);
    }
    let changed = page.result("changes", "/top");
    let changed: Vec<&str> = changed.as_array().unwrap().iter().filter_map(|file| file["path"].as_str()).collect();
    assert!(
        changed.contains(&"new\nline.rs") && changed.contains(&"tab\t.rs") && changed.contains(&"back\\slash.rs"),
        "{changed:?}"
    );
    assert!(!page.html.contains("<script") && !page.html.contains("<b>"));
    assert!(!repository.path().join("pwned").exists());
}

#[tokio::test]
async fn what_is_no_plain_file_is_not_opened() {
    let inner = Repository::new();
    inner.commit("Ann", "2024-01-01T10:00:00+0000", &[("inner.rs", "x\n")]);
    let repository = Repository::new();
    repository.write("blob.png", "\0\n\n\n");
    symlink("/dev/zero", repository.path().join("endless")).unwrap();
    symlink("nowhere", repository.path().join("broken")).unwrap();
    repository.git([
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        inner.path().to_str().unwrap(),
        "sub",
    ]);
    repository.commit("Ann", "2024-01-01T10:00:00+0000", &[("main.rs", "x\n")]);
    fs::remove_file(repository.path().join("main.rs")).unwrap();
    assert!(Command::new("mkfifo").arg(repository.path().join("pipe")).status().unwrap().success());
    let page = report(repository.path()).await;
    assert_eq!(page.result("files", "/total"), 2, "the picture and .gitmodules");
    let pictures = json!({ "name": "Images", "files": 1, "size": "4 B", "has_lines": false, "lines": "0", "share": "0.00", "from": "100.00" });
    assert_eq!(page.result("files", "/languages/1"), pictures);
    page.notes(&["1 submodule is not looked into.", "There is no Cargo.toml here, so there is no dependency graph."]);
}

#[tokio::test]
async fn clones_that_lack_something_say_so() {
    let repository = Repository::new();
    for day in 1..4 {
        repository.commit("Ann", &format!("2024-01-0{day}T10:00:00+0000"), &[("sub/file.rs", &"x\n".repeat(day))]);
    }
    let folder = TempDir::new().unwrap();
    let url = format!("file://{}", repository.path().display());
    git(folder.path(), ["clone", "-q", "--depth", "1", &url, "shallow"]);
    git(folder.path(), ["clone", "-q", "--bare", &url, "bare"]);
    let page = report(&folder.path().join("shallow")).await;
    assert_eq!(page.result("commits", "/total"), 1);
    page.shows("This is a shallow clone: the history before 2024-01-03 is not here.");
    let page = report(&folder.path().join("bare")).await;
    assert_eq!(page.result("commits", "/total"), 3);
    page.shows("This is a bare repository: it has no files to look at.");
    // An object is lost.
    let object = repository.output(["rev-parse", "HEAD~1"]);
    fs::remove_file(repository.path().join(format!(".git/objects/{}/{}", &object[..2], &object[2..]))).unwrap();
    let page = report(repository.path()).await;
    assert_eq!(page.result("files", "/total"), 1);
    page.shows("git could not read the whole history: its figures are too low.");
}

#[tokio::test]
async fn a_folder_in_a_repository_is_reported_alone() {
    let repository = Repository::new();
    repository.commit(
        "Ann",
        "2024-01-01T10:00:00+0000",
        &[("a/-b.rs", "x\n"), ("c.rs", "x\n"), (".gitignore", "/out\n")],
    );
    repository.commit("Ann", "2024-01-02T10:00:00+0000", &[("c.rs", "y\n")]);
    let page = report(&repository.path().join("a")).await;
    assert_eq!((page.result("commits", "/total"), page.result("files", "/total")), (json!(1), json!(1)));
    assert_eq!(page.result("changes", "/top/0/path"), "-b.rs");
    assert_eq!(page.result("changes", "/top/0/gone"), false);
    page.shows("This folder is a part of a larger repository");
    repository.write("out/file.rs", "x\n");
    let page = report(&repository.path().join("out")).await;
    assert_eq!(page.result("files", "/total"), 1);
    page.shows("The repository around this folder keeps nothing of it.");
}

const MANIFEST: &str = "[package]\nname = \"top\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[dependencies]\n";
const LOCKFILE: &str = r#"version = 4

[[package]]
name = "leaf"
version = "1.0.0"
source = "registry+https://example.org/index"

[[package]]
name = "leaf"
version = "2.0.0"
source = "registry+https://example.org/index"

[[package]]
name = "middle"
version = "0.1.0"
source = "registry+https://example.org/index"
checksum = "00"
dependencies = [
 "leaf 2.0.0",
]

[[package]]
name = "top"
version = "1.0.0"
dependencies = [
 "leaf 1.0.0",
 "middle",
]
"#;

#[tokio::test]
async fn crates_are_resolved_by_cargo_where_it_can() {
    let folder = TempDir::new().unwrap();
    let package = |name: &str, dependencies: &str| {
        let at = folder.path().join(name);
        fs::create_dir_all(at.join("src")).unwrap();
        fs::write(at.join("src/lib.rs"), "").unwrap();
        fs::write(at.join("Cargo.toml"), MANIFEST.replace("top", name) + dependencies).unwrap();
    };
    package("leaf", "");
    package("middle", "leaf = { path = \"../leaf\" }\n[workspace]\n");
    package("top", "middle = { path = \"../middle\" }\n[workspace]\n");
    let lock = Command::new("cargo")
        .args(["generate-lockfile", "--offline", "-q"])
        .current_dir(folder.path().join("top"))
        .status();
    assert!(lock.unwrap().success());
    let page = report(&folder.path().join("top")).await;
    assert_eq!(page.result("metadata", "/resolved"), true);
    assert_eq!(page.result("dependencies", "/chain"), json!(["top 1.0.0", "middle 1.0.0", "leaf 1.0.0"]));
    assert_eq!(page.result("dependencies", "/depths"), json!([1, 1]));
    assert_eq!(page.result("dependencies", "/heavy/0"), json!({ "name": "middle", "version": "1.0.0", "brings": 1 }));
    assert_eq!(page.result("dependencies", "/licences/0"), json!({ "name": "not said", "crates": 3 }));
    page.shows("From cargo metadata, for all platforms.");
}

#[tokio::test]
async fn crates_that_cargo_cannot_resolve_are_shown_as_far_as_they_are_known() {
    let repository = Repository::new();
    repository.write("src/lib.rs", "");
    repository.write("Cargo.toml", &format!("{MANIFEST}leaf = \"1\"\nmiddle = \"0.1\"\n"));
    let page = report(repository.path()).await;
    assert_eq!(page.result("dependencies", "/direct"), 2);
    page.shows("cargo could not resolve the dependencies, so only those that the manifests name are shown.");
    assert!(!repository.path().join("Cargo.lock").exists(), "the report changes nothing");

    repository.write("Cargo.lock", LOCKFILE);
    let page = report(repository.path()).await;
    assert_eq!(page.result("dependencies", "/total"), 3);
    assert_eq!(page.result("dependencies", "/duplicate_list"), json!([{ "name": "leaf", "versions": "1.0.0, 2.0.0" }]));
    assert_eq!(page.result("dependencies", "/chain"), json!(["top 1.0.0", "middle 0.1.0", "leaf 2.0.0"]));
    page.shows("cargo could not resolve the dependencies, so they are as Cargo.lock has them.");

    repository.write("Cargo.toml", "[package\n");
    let page = report(repository.path()).await;
    assert_eq!(page.result("dependencies", "/total"), 3);
    fs::remove_file(repository.path().join("Cargo.lock")).unwrap();
    let page = report(repository.path()).await;
    assert_eq!(page.results["dependencies"], Value::Null);
    page.shows("cargo could not resolve the dependencies.");
    page.shows("unclosed table");
}

#[tokio::test]
async fn without_git_and_cargo_there_is_a_report_too() {
    let repository = Repository::new();
    repository.commit("Ann", "2024-01-01T10:00:00+0000", &[("Cargo.toml", MANIFEST), ("Cargo.lock", LOCKFILE)]);
    let tools = tools(&["sh", "awk", "sed", "wc", "xargs", "find", "head", "date"]);
    let page = report_with(repository.path(), Some(tools.path())).await.unwrap();
    assert_eq!((page.result("files", "/total"), page.result("dependencies", "/total")), (json!(2), json!(3)));
    page.shows("git is not installed here.");
    page.shows("It says: cargo is not installed here.");
}

#[tokio::test]
async fn every_awk_gives_the_same_figures() {
    let repository = Repository::new();
    for number in 0..40 {
        let path = format!("folder {}/file\t{number}.rs", number % 7);
        let text = format!("line {number}\n").repeat(number + 1);
        let date = format!("20{:02}-0{}-1{}T0{}:00:00+0100", number % 20, number % 9 + 1, number % 10, number % 8);
        repository.commit(&format!("Änn {}", number % 3), &date, &[(&path, &text), ("Cargo.lock", LOCKFILE)]);
    }
    let figures = async |awk: Option<&Path>| {
        let path = awk.map(|awk| {
            let tools = tools(&["sh", "git", "sed", "wc", "xargs", "find", "head", "date"]);
            fs::copy(awk, tools.path().join("awk")).unwrap();
            tools
        });
        let mut page = report_with(repository.path(), path.as_ref().map(TempDir::path)).await.unwrap();
        for step in ["repository", "report"] {
            page.results.remove(step);
        }
        page.results
    };
    let usual = figures(None).await;
    assert_eq!(usual["commits"]["unit"], "month");
    for name in ["mawk", "gawk", "original-awk", "busybox"] {
        let Some(awk) = which(name) else { continue };
        assert_eq!(figures(Some(&awk)).await, usual, "{name}");
    }
}

#[tokio::test]
async fn a_path_that_is_no_folder_is_refused() {
    let folder = TempDir::new().unwrap();
    let error = report_with(&folder.path().join("absent"), None).await.unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("cwd_not_found", Some(false)), "{error}");
}

#[test]
fn the_output_is_a_page() {
    let definition = definition();
    assert_eq!(
        definition.check_input(&json!({})).unwrap(),
        json!({ "path": ".", "output": ".tasker/repo_report.html" })
    );
    assert!(definition.check_input(&json!({ "output": "report" })).is_err(), "it would not be escaped as HTML");
}
