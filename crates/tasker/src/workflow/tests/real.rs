//! Graphs of real runs and packages, where their folder is there: beside the repository, or as the environment says.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use serde_json::{Value, json, value::to_raw_value};

use crate::{
    handlers::raw_keys,
    template::{Scope, render},
    workflow::{Definition, Level},
};

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

fn yaml(folder: &Path, name: &str) -> Vec<u8> {
    let output = Command::new("python3").arg("-B").arg(folder.join("to_yaml.py")).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs a graph of `transform` steps in its order, as a worker would.
fn run(definition: &Definition, levels: &[Level]) -> Vec<Value> {
    let mut order: Vec<usize> = (0..definition.steps.len()).collect();
    order.sort_by_key(|number| levels[*number].max_depth_from_root);
    let mut results = vec![Value::Null; definition.steps.len()];
    let input = Arc::from(to_raw_value(&json!({})).unwrap());
    for number in order {
        let step = &definition.steps[number];
        let needed = step.needs.iter().map(|needed| *needed as usize);
        let needed =
            needed.map(|needed| (definition.steps[needed].name.clone(), to_raw_value(&results[needed]).unwrap()));
        let scope = Scope::new(Arc::clone(&input), Arc::new(needed.collect()));
        let with = render(&step.with, raw_keys(&step.handler), &scope).unwrap_or_else(|error| panic!("{error}"));
        results[number] = with["value"].clone();
    }
    results
}

#[test]
fn real_graphs_load_quickly_and_render_to_their_depths() {
    let Some(folder) = folder() else { return };
    // steps, edges, the longest path's edges, the most parents, the most children
    let graphs = [
        ("buildroot_packages", (3738, 9213, 30, 73, 789)),
        ("nfcore_airrflow", (212, 327, 24, 80, 11)),
        ("nfcore_atacseq", (265, 593, 16, 123, 24)),
        ("nushell_crates", (1035, 3630, 49, 119, 92)),
        ("spellbook_dbt", (8233, 7360, 13, 71, 76)),
    ];
    for (name, shape) in graphs {
        let text = yaml(&folder, name);
        let start = Instant::now();
        let definition = Definition::from_yaml(name, &text, None, &[]).unwrap_or_else(|refused| panic!("{refused}"));
        let levels = definition.levels();
        let loaded = start.elapsed();
        let parents = definition.steps.iter().map(|step| step.parents.len());
        let depth = levels.iter().map(|level| level.max_depth_from_root).max().unwrap();
        let children = levels.iter().map(|level| level.children_count).max().unwrap();
        let found = (definition.steps.len(), parents.clone().sum(), depth, parents.max().unwrap(), children);
        assert_eq!(found, shape, "{name}");
        assert!(loaded.as_secs() < 10, "{name} took {loaded:?}");

        let start = Instant::now();
        for (step, (result, level)) in definition.steps.iter().zip(run(&definition, &levels).iter().zip(&levels)) {
            assert_eq!(result["step"], step.name);
            assert_eq!(result["d"], level.max_depth_from_root + 1, "{name}: {}", step.name);
            assert_eq!(result["parents"].as_object().unwrap().len(), step.parents.len());
            assert_eq!(step.needs, step.parents);
        }
        println!("{name}: loaded in {loaded:?}, rendered in {:?}", start.elapsed());
    }
}
