//! Graphs of real runs and packages go through to their oracle's answer. Their data lie beside the repository, in
//! `../shared/real_dags` or where `TASKER_REAL_DAGS` says; where they are not, that is said.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::Place;

fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real_dags");
    let folder = std::env::var_os("TASKER_REAL_DAGS").map_or(beside, PathBuf::from);
    folder.join("to_yaml.py").is_file().then_some(folder)
}

fn goes_through(name: &str, handler: &str) {
    let Some(data) = data() else {
        eprintln!("skipped: the graphs are neither in ../shared/real_dags nor where TASKER_REAL_DAGS says");
        return;
    };
    let python = |script: &str, args: &[&str]| {
        let output = Command::new("python3")
            .arg("-B")
            .arg(data.join(script))
            .arg(name)
            .args(args)
            .args(["--handler", handler])
            .output();
        let output = output.expect("python3 is installed");
        assert!(
            output.status.success(),
            "{script}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let place = Place::new();
    place.write("graph.yaml", &python("to_yaml.py", &[]));
    let ended = place.tasker(&["run", "graph.yaml", "--json"]).with(0);
    place.write("result.json", &ended.stdout);
    let said = python("check.py", &[place.path("result.json").to_str().unwrap()]);
    assert!(said.ends_with("ok\n"), "{said}");
}

#[test]
fn the_largest_graph_goes_through() {
    goes_through("spellbook_dbt", "transform");
}

#[test]
fn packages_go_through() {
    goes_through("buildroot_packages", "transform");
}

#[test]
fn crates_go_through_as_programs() {
    goes_through("nushell_crates", "command");
}

#[test]
fn a_recorded_run_goes_through_as_timers() {
    goes_through("nfcore_atacseq", "sleep");
}

#[test]
fn a_long_recorded_run_goes_through() {
    goes_through("nfcore_airrflow", "transform");
}
