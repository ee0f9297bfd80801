//! The graphs that are measured, in both engines' forms.

use std::{
    fmt::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use tasker::{
    Tasker,
    handlers::{Context, function},
    workflow::Definition,
};

use super::Result;

/// A graph: for each step, its parents.
pub struct Graph {
    pub name: String,
    pub parents: Vec<Vec<usize>>,
}

/// The handler of every step.
const HANDLER: &str = "bench.nothing";

/// How often it ran in this process.
static RAN: AtomicUsize = AtomicUsize::new(0);

/// How many attempts were run so far.
pub fn ran() -> usize {
    RAN.load(Ordering::Relaxed)
}

impl Graph {
    /// One after the other.
    pub fn chain(steps: usize) -> Graph {
        let name = format!("chain_of_{steps}");
        Graph { name, parents: (0..steps).map(|step| step.checked_sub(1).into_iter().collect()).collect() }
    }

    /// One, two beside each other, one.
    pub fn diamond() -> Graph {
        Graph { name: "diamond".into(), parents: vec![vec![], vec![0], vec![0], vec![1, 2]] }
    }

    /// So many beside each other, into one.
    pub fn wide(steps: usize) -> Graph {
        let mut parents = vec![Vec::new(); steps];
        parents.push((0..steps).collect());
        Graph { name: format!("wide_{steps}"), parents }
    }

    /// Ten layers of ten, each step after nine of the layer before.
    pub fn layers() -> Graph {
        let parents = |step: usize| match step / 10 {
            0 => Vec::new(),
            layer => (0..9).map(|n| (layer - 1) * 10 + (step + n) % 10).collect(),
        };
        Graph { name: "layers".into(), parents: (0..100).map(parents).collect() }
    }

    /// A thousand steps and about fifty thousand edges: each is after some of the two hundred before it.
    pub fn dense() -> Graph {
        let parents = |step: usize| (1..=56).map(|n| n * 4 - n % 3).filter_map(|back| step.checked_sub(back)).collect();
        Graph { name: "dense".into(), parents: (0..1_000).map(parents).collect() }
    }

    /// So many beside each other.
    pub fn roots(steps: usize) -> Graph {
        Graph { name: format!("roots_{steps}"), parents: vec![Vec::new(); steps] }
    }

    /// Registers it; every step does nothing.
    pub async fn register(&self, tasker: &Tasker) -> Result<i32> {
        let nothing = async |_: Context<Value>| {
            RAN.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        };
        tasker.handle(HANDLER, function(nothing));
        self.register_for(tasker, &format!("handler: {HANDLER}")).await
    }

    /// Registers it; every step is run by such a handler.
    pub async fn register_for(&self, tasker: &Tasker, handler: &str) -> Result<i32> {
        let mut yaml = format!("namespace: bench\nname: {}\nversion: 1.0.0\nsteps:\n", self.name);
        for (step, parents) in self.parents.iter().enumerate() {
            let parents: Vec<String> = parents.iter().map(|parent| format!("s{parent}")).collect();
            writeln!(yaml, "- {{name: s{step}, {handler}, depends_on: [{}]}}", parents.join(","))?;
        }
        let definition = Definition::from_yaml(&self.name, yaml.as_bytes(), None, &[]).map_err(|e| e.to_string())?;
        Ok(tasker.register_definition(&definition).await?)
    }
}
