//! What queries load in batches, in the order in which it is loaded: first what leads on to more, last what leads nowhere. Each kind is as many statements
//! whatever is asked for.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::value::RawValue;
use tasker::{
    context::{TaskExecutionContext, TaskWorkflowSummary},
    events::Transition,
    store::{Cause, History, NamedTask, NamedTaskGraph, StepPage, TaskListItem, WorkflowStep, WorkflowStepAttempt},
    task_of,
};
use tokio::sync::Notify;
use uuid::Uuid;

use super::loads::{Alone, Flush, Kind, Queue, Scope, drive};
use crate::{App, access::Caller, problem::Problem};

/// How many things an answer has at most, its lists taken together.
const MAX_THINGS: usize = 50_000;
/// And how many causes why steps do not run: each is looked for in the whole graph before it.
const MAX_CAUSES: i64 = 10_000;

/// Declares the kinds: what one is, what names it, and how many are loaded.
macro_rules! kinds {
    ($($(#[$doc:meta])* $queue:ident: $kind:ident($key:ty => $thing:ty), |$scope:ident, $keys:ident| $load:block)*) => {
        $(
            $(#[$doc])*
            pub(super) struct $kind;

            impl Kind for $kind {
                type Key = $key;
                type Thing = $thing;

                async fn load($scope: &Scope, $keys: Vec<$key>) -> Result<HashMap<$key, $thing>, Problem> $load
            }
        )*

        /// What one query has loaded, and what it waits for.
        pub(super) struct Loads {
            pub scope: Scope,
            alone: Alone,
            things: AtomicUsize,
            /// Told when a subscription follows.
            pub begun: Notify,
            $(pub $queue: Queue<$kind>,)*
        }

        impl Loads {
            pub fn new(app: App, caller: Caller) -> Arc<Loads> {
                let scope = Scope { app, caller };
                Arc::new(Loads { scope, alone: Alone::default(), things: AtomicUsize::new(0), begun: Notify::new(), $($queue: Queue::default(),)* })
            }

            fn queues(&self) -> Vec<&dyn Flush> {
                vec![$(&self.$queue),*]
            }
        }
    };
}

kinds! {
    /// Steps by their ids. Whoever asks has the task: an edge never leaves it.
    steps: Steps(Uuid => Arc<WorkflowStep>), |scope, keys| {
        let steps = scope.app.tasker.store().workflow_steps_of(&keys).await?;
        Ok(steps.into_iter().map(|step| (step.readiness.workflow_step_id, Arc::new(step))).collect())
    }
    /// Pages of tasks' steps.
    step_pages: StepPages(StepPage => Arc<Vec<Arc<WorkflowStep>>>), |scope, keys| {
        let steps = scope.app.tasker.store().workflow_step_pages(&keys).await?;
        Ok(placed(keys, steps.into_iter().map(|(place, step)| (place, Arc::new(step)))))
    }
    /// Tasks that are there for the caller.
    tasks: Tasks(Uuid => Arc<TaskListItem>), |scope, keys| {
        let tasks = scope.app.tasker.store().tasks_of(&keys, scope.caller.namespaces()).await?;
        Ok(tasks.into_iter().map(|task| (task.task_id, Arc::new(task))).collect())
    }
    /// Workflows' versions.
    named_tasks: NamedTasks(i32 => NamedTask), |scope, keys| {
        let versions = scope.app.tasker.store().named_tasks_of(&keys).await?;
        Ok(versions.into_iter().map(|version| (version.named_task_id, version)).collect())
    }
    /// And their graphs.
    graphs: Graphs(i32 => Arc<NamedTaskGraph>), |scope, keys| {
        let graphs = scope.app.tasker.store().named_task_graphs(&keys).await?;
        Ok(graphs.into_iter().map(|graph| (graph.named_task.named_task_id, Arc::new(graph))).collect())
    }
    /// What tasks are doing.
    execution_contexts: ExecutionContexts(Uuid => TaskExecutionContext), |scope, keys| {
        let contexts = TaskExecutionContext::for_tasks(scope.app.tasker.store(), &keys).await?;
        Ok(contexts.into_iter().map(|context| (context.task_id, context)).collect())
    }
    /// And which steps that concerns.
    summaries: Summaries(Uuid => TaskWorkflowSummary), |scope, keys| {
        let summaries = TaskWorkflowSummary::for_tasks(scope.app.tasker.store(), &keys).await?;
        Ok(summaries.into_iter().map(|summary| (summary.context.task_id, summary)).collect())
    }
    /// Tasks' inputs, as JSON text.
    contexts: Contexts(Uuid => Arc<str>), |scope, keys| {
        let contexts = scope.app.tasker.store().contexts_of(&keys).await?;
        Ok(contexts.into_iter().map(|(task, context)| (task, context.into())).collect())
    }
    /// What happened to tasks and to steps, a page each.
    transitions: Transitions(History => Arc<Vec<Transition>>), |scope, keys| {
        let transitions = scope.app.tasker.store().transitions_of(&keys).await?;
        Ok(placed(keys, transitions))
    }
    /// Steps' attempts.
    attempts: Attempts(Uuid => Arc<Vec<WorkflowStepAttempt>>), |scope, keys| {
        let attempts = scope.app.tasker.store().attempts_of(&keys).await?;
        Ok(grouped(attempts.into_iter().map(|attempt| (attempt.workflow_step_id, attempt))))
    }
    /// Why steps do not run.
    causes: Causes(Uuid => Arc<Vec<Cause>>), |scope, keys| {
        let causes = scope.app.tasker.store().explain_steps(&keys, MAX_CAUSES + 1).await?;
        if causes.len() as i64 > MAX_CAUSES {
            let detail = format!("these steps have more than {MAX_CAUSES} causes: explain fewer");
            return Err(Problem::bad("too_many", detail));
        }
        Ok(grouped(causes))
    }
    /// Steps' results, as they are stored.
    results: Results(Uuid => Arc<RawValue>), |scope, keys| {
        let results = scope.app.tasker.store().results_of(&keys).await?;
        Ok(results.into_iter().map(|(step, result)| (step, Arc::from(result.0))).collect())
    }
}

/// Things under the names that stand at their places.
fn placed<K: Eq + Hash, T>(keys: Vec<K>, things: impl IntoIterator<Item = (usize, T)>) -> HashMap<K, Arc<Vec<T>>> {
    let mut lists: Vec<Vec<T>> = keys.iter().map(|_| Vec::new()).collect();
    for (place, thing) in things {
        lists[place].push(thing);
    }
    keys.into_iter().zip(lists.into_iter().map(Arc::new)).collect()
}

/// Things under their names, in the order in which they came.
fn grouped<K: Eq + Hash, T>(things: impl IntoIterator<Item = (K, T)>) -> HashMap<K, Arc<Vec<T>>> {
    let mut lists: HashMap<K, Vec<T>> = HashMap::new();
    for (key, thing) in things {
        lists.entry(key).or_default().push(thing);
    }
    lists.into_iter().map(|(key, list)| (key, Arc::new(list))).collect()
}

impl Loads {
    /// Runs a query to its end.
    pub async fn drive<F: Future>(&self, query: F) -> F::Output {
        drive(query, &self.scope, &self.queues(), &self.alone).await
    }

    /// Does what is not loaded in batches.
    pub async fn alone<F: Future>(&self, question: F) -> F::Output {
        self.alone.wait(question).await
    }

    /// Something was changed: what is known of it no longer holds.
    pub fn forget(&self) {
        self.queues().iter().for_each(|queue| queue.forget());
    }

    /// Counts what goes into the answer, before it is loaded where that is known.
    ///
    /// # Errors
    /// `too_many`.
    pub fn count(&self, things: usize) -> Result<(), Problem> {
        if self.things.fetch_add(things, Ordering::Relaxed) + things > MAX_THINGS {
            let detail = format!("this answer has more than {MAX_THINGS} things: ask for fewer, or for less of each");
            return Err(Problem::bad("too_many", detail));
        }
        Ok(())
    }

    /// How many more things may go into the answer.
    pub fn left(&self) -> usize {
        MAX_THINGS.saturating_sub(self.things.load(Ordering::Relaxed))
    }

    /// Those of these tasks that are there for the caller, so far as he is limited to some namespaces; each once.
    ///
    /// # Errors
    /// The database's.
    pub async fn there(&self, task_ids: &[Uuid]) -> Result<Vec<Uuid>, Problem> {
        let mut ids = task_ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        if self.scope.caller.namespaces().is_none() {
            return Ok(ids);
        }
        Ok(self.tasks.some(&ids).await?.iter().map(|task| task.task_id).collect())
    }

    /// Refuses a task that is not there for the caller.
    ///
    /// # Errors
    /// `unknown_task`, the database's.
    pub async fn finds_task(&self, task_id: Uuid) -> Result<(), Problem> {
        self.there(&[task_id]).await?.pop().map(|_| ()).ok_or_else(|| Problem::unknown_task(task_id))
    }

    /// Refuses a step of such a task.
    ///
    /// # Errors
    /// `unknown_step`, the database's.
    pub async fn finds_step(&self, id: Uuid) -> Result<(), Problem> {
        self.there(&[task_of(id)]).await?.pop().map(|_| ()).ok_or_else(|| Problem::unknown_step(id))
    }

    /// A task, if it is there for the caller.
    ///
    /// # Errors
    /// `unknown_task`, the database's.
    pub async fn task(&self, task_id: Uuid) -> Result<Arc<TaskListItem>, Problem> {
        self.tasks.one(task_id).await?.ok_or_else(|| Problem::unknown_task(task_id))
    }
}
