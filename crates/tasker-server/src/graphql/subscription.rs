//! What can be followed: the events, from the one reader that reads for all who follow; so whoever follows costs no statements of his own.

use async_graphql::{Context, SimpleObject};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tasker::{access::Permission, context::TaskExecutionContext, events::Told, readiness::StepReadinessStatus};
use uuid::Uuid;

use super::{scalars::loads, takes, task::Transition};
use crate::{
    following::{Following, Happened, Next, Wanted},
    problem::Problem,
};

/// The root of subscriptions.
pub(super) struct Subscription;

/// Something that happened, with what the views say since.
#[derive(SimpleObject)]
pub(super) struct Event {
    /// Where to go on after it.
    cursor: String,
    /// What happened, in one word: `task.complete`, `step.failed`, `task.paused`, ..
    kind: String,
    /// What happened.
    transition: Transition,
    /// The task's execution context, with its workflow's names and its tags.
    task: EventTask,
    /// The step's readiness, with its parents' names; `null`: it happened to the task itself.
    workflow_step: Option<EventStep>,
}

/// A task to which something happened.
#[derive(SimpleObject, Deserialize)]
pub(super) struct EventTask {
    /// What it is doing.
    #[graphql(flatten)]
    #[serde(flatten)]
    context: TaskExecutionContext,
    /// The workflow's namespace.
    namespace: String,
    /// The workflow's name.
    workflow: String,
    /// The workflow's version.
    version: String,
    /// One line for people.
    summary: Option<String>,
    /// Names and values to find it by.
    tags: Option<serde_json::Value>,
}

/// A step to which something happened.
#[derive(SimpleObject, Deserialize)]
pub(super) struct EventStep {
    /// Whether it may run now, and why not.
    #[graphql(flatten)]
    #[serde(flatten)]
    readiness: StepReadinessStatus,
    /// Its parents' names, by step number.
    dependencies: Vec<String>,
}

impl Event {
    fn of(happened: Happened<'_>) -> Option<Event> {
        let Told { event, task, step } = happened.told;
        let written = (
            serde_json::from_str::<EventTask>(task.get()),
            step.map(|step| serde_json::from_str::<EventStep>(step.get())).transpose(),
        );
        let (Ok(task), Ok(workflow_step)) = written else {
            tracing::error!("what the views say of {} cannot be read", event.task_id);
            return None;
        };
        Some(Event {
            cursor: event.cursor.as_str().to_owned(),
            kind: event.kind.clone(),
            transition: Transition { transition: event.transition.clone() },
            task,
            workflow_step,
        })
    }
}

#[async_graphql::Subscription]
impl Subscription {
    /// Every transition of every task and step, once, no effect before its cause.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()))]
    async fn events(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only of this task.")] task_id: Option<Uuid>,
        #[graphql(desc = "Only of tasks of this namespace.")] namespace: Option<String>,
        #[graphql(
            desc = "Only of these kinds: `task.failed`, `step.failed`, ..; `task` and `step` are all of theirs."
        )]
        kinds: Option<Vec<String>>,
        #[graphql(desc = "What follows this event's cursor, or `beginning`; from now on where it is left out.")]
        after: Option<String>,
    ) -> Result<impl Stream<Item = Event>, Problem> {
        let loads = loads(context);
        let scope = &loads.scope;
        let wanted = Wanted { task_id, namespace, kinds, after };
        let following = Following::begin(scope.app.clone(), scope.caller.clone(), wanted).await?;
        loads.begun.notify_one();
        Ok(stream::unfold(following, |mut following| async move {
            loop {
                if let Next::Happened(event) = following.next(Event::of).await? {
                    return Some((event, following));
                }
            }
        }))
    }
}
