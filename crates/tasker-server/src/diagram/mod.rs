//! Pictures of graphs: of a workflow, or of a task with its steps' states; as SVG, Mermaid, DOT, or JSON with the places of everything.
//!
//! Where things lie follows from the workflow's graph alone, and is worked out once for each version: a state that changes moves nothing.

mod layout;
mod svg;
mod text;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use tasker::{
    Error, Tasker,
    readiness::StepReadinessStatus,
    store::{Graph, GraphNode},
    workflow::Definition,
};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use uuid::Uuid;

pub use layout::Layout;

/// How many layouts are kept at hand.
const KEPT: usize = 200;
/// Of how many steps a state is read at most.
const MAX_STEPS: i64 = 100_000;
/// How many edges a picture has at most, where others ask for it.
const MAX_EDGES: usize = 200_000;

/// What a picture is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema, async_graphql::Enum)]
#[serde(rename_all = "snake_case")]
#[graphql(name = "DiagramFormat", rename_items = "snake_case")]
pub enum Format {
    /// An image.
    #[default]
    Svg,
    /// Text that Mermaid draws.
    Mermaid,
    /// Text that Graphviz draws.
    Dot,
    /// The nodes with their places, and the edges.
    Json,
}

impl Format {
    /// The type of such a picture's text.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Svg => "image/svg+xml",
            Format::Mermaid => "text/plain; charset=utf-8",
            Format::Dot => "text/vnd.graphviz; charset=utf-8",
            Format::Json => "application/json",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Format, String> {
        match word {
            "svg" => Ok(Format::Svg),
            "mermaid" => Ok(Format::Mermaid),
            "dot" => Ok(Format::Dot),
            "json" => Ok(Format::Json),
            _ => Err("it is svg, mermaid, dot or json".into()),
        }
    }
}

/// A step's state in one word: `ready` where it may be claimed now.
fn word(step: &StepReadinessStatus) -> &'static str {
    if step.ready_for_execution { "ready" } else { step.current_state.as_str() }
}

/// A graph with its layout.
pub struct Drawn {
    graph: Graph,
    layout: Layout,
}

/// The layouts that are at hand, by workflow, and whose turn it is to draw.
#[derive(Clone)]
pub struct Layouts {
    kept: Arc<RwLock<HashMap<i32, Arc<Drawn>>>>,
    turns: Arc<Semaphore>,
}

impl Default for Layouts {
    fn default() -> Self {
        Layouts { kept: Arc::default(), turns: Arc::new(Semaphore::new(1)) }
    }
}

impl Layouts {
    /// A picture of a workflow's version.
    ///
    /// # Errors
    /// [`Error::Refused`] (`unknown_workflow`, `too_many`), [`Error::Database`].
    pub async fn of_workflow(&self, tasker: &Tasker, named_task_id: i32, format: Format) -> Result<String, Error> {
        let drawn = self.drawn(tasker, named_task_id).await?;
        self.apart(move || write(&drawn, None, format)).await
    }

    /// A picture of a task, with its steps' states. Two statements whatever its size; three more when the workflow is drawn for the first time.
    ///
    /// # Errors
    /// [`Error::Refused`] (`unknown_task`, `too_many`), [`Error::Database`].
    pub async fn of_task(&self, tasker: &Tasker, task_id: Uuid, format: Format) -> Result<String, Error> {
        let store = tasker.store();
        let Some((named_task_id, _)) = store.workflow_of(task_id).await? else {
            return Err(Error::Refused { code: "unknown_task".into(), message: format!("there is no task {task_id}") });
        };
        let drawn = self.drawn(tasker, named_task_id).await?;
        let steps = StepReadinessStatus::for_tasks(store, &[task_id], MAX_STEPS).await?;
        self.apart(move || write(&drawn, Some(&steps), format)).await
    }

    async fn drawn(&self, tasker: &Tasker, named_task_id: i32) -> Result<Arc<Drawn>, Error> {
        if let Some(drawn) = self.kept.read().unwrap_or_else(PoisonError::into_inner).get(&named_task_id) {
            return Ok(drawn.clone());
        }
        let graph = tasker.store().graph(named_task_id).await?;
        if graph.edges.len() > MAX_EDGES {
            let message = format!("this graph has {} edges, and a picture has at most {MAX_EDGES}", graph.edges.len());
            return Err(Error::Refused { code: "too_many".into(), message });
        }
        let drawn = self.apart(move || Arc::new(draw(graph))).await?;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(named_task_id, drawn.clone());
        Ok(drawn)
    }

    /// A large graph takes some time: one after the other, and on a thread on which nobody waits for anything else.
    async fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let turn = self.turns.clone().acquire_owned().await;
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        worked
            .await
            .map_err(|_| Error::Refused { code: "bad_diagram".into(), message: "this graph cannot be drawn".into() })
    }
}

/// A picture of a definition.
pub fn of_definition(definition: &Definition, format: Format) -> String {
    let levels = definition.levels();
    let nodes = definition.steps.iter().zip(&levels).map(|(step, level)| GraphNode {
        name: step.name.clone(),
        handler: step.handler.clone(),
        level: level.max_depth_from_root as usize,
    });
    let edges = definition.steps.iter().enumerate();
    let graph = Graph {
        title: format!("{}.{} {}", definition.namespace, definition.name, definition.version),
        nodes: nodes.collect(),
        edges: edges.flat_map(|(to, step)| step.parents.iter().map(move |from| (*from as usize, to))).collect(),
    };
    write(&draw(graph), None, format)
}

fn draw(graph: Graph) -> Drawn {
    Drawn { layout: Layout::of(&graph), graph }
}

fn write(Drawn { graph, layout }: &Drawn, standings: Option<&[StepReadinessStatus]>, format: Format) -> String {
    match format {
        Format::Svg => svg::write(graph, layout, standings),
        Format::Mermaid => text::mermaid(graph, standings),
        Format::Dot => text::dot(graph, standings),
        Format::Json => text::json(graph, layout, standings),
    }
}
