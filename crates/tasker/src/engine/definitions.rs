//! What attempts of all tasks have in common: the definitions of their workflows, and the handlers of this process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::Mutex;

use super::batch;
use crate::{
    handlers::{Handler, StepError},
    store::{LoadedWorkflow, Store},
    template::Secrets,
};

/// Definitions that are kept at hand.
const MAX_WORKFLOWS: usize = 100;

/// The workflows that a worker has met, and what it serves.
pub(super) struct Definitions {
    store: Store,
    handlers: BTreeMap<String, Arc<dyn Handler>>,
    pub(super) secrets: Secrets,
    workflows: Mutex<HashMap<i32, Arc<LoadedWorkflow>>>,
}

impl Definitions {
    pub(super) fn new(store: Store, handlers: BTreeMap<String, Arc<dyn Handler>>, secrets: Secrets) -> Definitions {
        Definitions { store, handlers, secrets, workflows: Mutex::default() }
    }

    /// A step's workflow and handler. The definition is fetched once; a database that is away for a moment costs no attempt.
    pub(super) async fn find(
        &self,
        named_task_id: i32,
        step_number: i32,
    ) -> Result<(Arc<LoadedWorkflow>, Arc<dyn Handler>), StepError> {
        let mut workflows = self.workflows.lock().await;
        let workflow = match workflows.get(&named_task_id) {
            Some(workflow) => workflow.clone(),
            None => {
                let load = || self.store.load_workflow(named_task_id);
                let workflow = Arc::new(batch::with_patience(load).await.map_err(|error| {
                    StepError::new(format!("the workflow's definition could not be read: {error}")).kind("database")
                })?);
                if workflows.len() >= MAX_WORKFLOWS {
                    // what runs has its own share of it
                    workflows.clear();
                }
                workflows.insert(named_task_id, workflow.clone());
                workflow
            }
        };
        drop(workflows);
        let name = workflow.nodes.get(step_number as usize).map(|node| node.handler.as_str()).unwrap_or_default();
        match self.handlers.get(name).cloned() {
            Some(handler) => Ok((workflow, handler)),
            None => Err(StepError::fatal(format!("this worker has no handler `{name}`")).kind("unknown_handler")),
        }
    }
}
