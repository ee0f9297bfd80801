//! Events as they happen, as server-sent events: CloudEvents, with what the views say of the task and the step.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response, Sse,
        sse::{self, KeepAlive},
    },
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tasker::{
    Error,
    events::{Batch, Cursor, Event, Payload, Subscription, Transition},
};
use tokio::time::{Interval, MissedTickBehavior};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    App,
    access::{Caller, KNOWN},
    answer::Query,
    problem::Problem,
};

/// How often a connection on which nothing happens is shown to be alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only of this task.
    task_id: Option<Uuid>,
    /// Only of tasks of this namespace.
    namespace: Option<String>,
    /// Only of these kinds, with commas between them: `task.failed,step.failed`; `task` and `step` are all of theirs.
    kind: Option<String>,
    /// What follows this event's id, or `beginning`; from now on where it is left out. A `Last-Event-ID` stands before it.
    after: Option<String>,
}

/// An event, as a CloudEvent.
#[derive(Serialize, ToSchema)]
pub(crate) struct CloudEvent<'a> {
    /// `1.0`.
    specversion: &'static str,
    /// The event's number, its task, and its step's number.
    id: String,
    /// `/v1/named_tasks/`, the namespace, the workflow and the version.
    source: String,
    /// What happened: `step.complete`, `task.failed`, ..
    r#type: &'a str,
    /// The task's or the step's id.
    subject: Uuid,
    /// When.
    time: chrono::DateTime<chrono::Utc>,
    /// `application/json`.
    datacontenttype: &'static str,
    /// The transition, and what the views say since.
    data: Data<'a>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Data<'a> {
    /// What happened.
    transition: &'a Transition,
    /// The task's execution context, with its workflow's names and its tags.
    #[schema(value_type = Object)]
    task: &'a RawValue,
    /// The step's readiness, with its parents' names as `dependencies`; `null`: it happened to the task itself.
    #[schema(value_type = Option<Object>)]
    step: Option<&'a RawValue>,
}

/// Follow what happens
///
/// Every transition of every task and step, once, no effect before its cause. Each event's `id` is where to go on after it: a client that comes back with
/// it as `Last-Event-ID` misses nothing. `410`: the id is of a history that a restored dump or a failover has ended.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "follow_events", security(("key" = ["read"])), tag = "events",
    params(Which, ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen")),
    responses(
        (status = 200, description = "Server-sent events, their data a CloudEvent", content_type = "text/event-stream", body = CloudEvent),
        (status = 410, description = "The id is of an ended history", content_type = "application/problem+json", body = Problem), Problem
    )
)]
pub(crate) async fn stream(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?").to_owned()).filter(|id| !id.is_empty());
    let store = app.tasker.store();
    if let (Some(task), Some(names)) = (which.task_id, caller.namespaces())
        && store.tasks_within(&[task], names).await?.is_empty()
    {
        return Err(super::tasks::unknown(task));
    }
    let after: Option<Cursor> = match last.or(which.after).as_deref() {
        None | Some("") => Some(store.events_now().await?),
        Some("beginning") => None,
        Some(id) => {
            let cursor = id.parse()?;
            // refused now rather than in the middle of the answer (of no task: nothing is read)
            store.read_events(Some(&cursor), Some(Uuid::nil()), 1).await?;
            Some(cursor)
        }
    };
    let kinds: Option<Vec<String>> =
        which.kind.map(|kinds| kinds.split(',').map(|kind| kind.trim().to_owned()).collect());
    let is_known = |kind: &String| matches!(kind.split('.').next(), Some("task" | "step"));
    if kinds.as_ref().is_some_and(|kinds| !kinds.iter().all(is_known)) {
        return Err(Problem::bad(
            "bad_query",
            "kind is task, step, or words such as task.failed and step.complete, with commas between them",
        ));
    }
    let mut checks = tokio::time::interval_at(tokio::time::Instant::now() + KNOWN, KNOWN);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let following = Following {
        events: app.tasker.follow(after, which.task_id),
        namespace: which.namespace,
        caller,
        kinds,
        app: app.clone(),
        is_told: false,
        checks,
    };
    let messages = stream::unfold(following, |mut following| async move {
        let batch = following.next().await?;
        Some((stream::iter(batch.into_iter().map(Ok::<_, Infallible>)), following))
    });
    let messages = futures_util::StreamExt::flatten(messages);
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// Who follows, and what of it concerns him.
struct Following {
    events: Subscription,
    namespace: Option<String>,
    caller: Caller,
    kinds: Option<Vec<String>>,
    app: App,
    /// Whether the client knows where it is.
    is_told: bool,
    /// When the key is asked for again, however much happens.
    checks: Interval,
}

/// What is asked of a task's payload here.
#[derive(Deserialize)]
struct Names {
    namespace: String,
    workflow: String,
    version: String,
}

impl Following {
    /// The next messages. `None`: the server ends, or the database is gone; the client comes back with the last id.
    async fn next(&mut self) -> Option<Vec<sse::Event>> {
        if !self.is_told {
            // a client that loses its connection before anything concerns it comes back to here
            self.is_told = true;
            if let Some(place) = self.events.place() {
                return Some(vec![sse::Event::default().id(place.as_str())]);
            }
        }
        loop {
            let batch = tokio::select! {
                biased;
                () = self.app.stop.cancelled() => return None,
                _ = self.checks.tick() => None,
                batch = self.events.next() => Some(batch),
            };
            match batch {
                // a key that is good for nothing any more ends what it began
                None => {
                    if !self.caller.is_still_good(&self.app).await {
                        return None;
                    }
                }
                Some(Ok(batch)) => {
                    let mut messages = self.messages(&batch);
                    if messages.is_empty() {
                        messages.push(sse::Event::default().id(batch.next.as_str()));
                    }
                    return Some(messages);
                }
                Some(Err(error)) => {
                    if !matches!(error, Error::Database(_)) {
                        tracing::warn!("events cannot be followed: {error}");
                    }
                    return None;
                }
            }
        }
    }

    fn messages(&self, batch: &Arc<Batch>) -> Vec<sse::Event> {
        let of = |payload: &'_ Payload| (payload.task_id, payload.step_number);
        let payloads: HashMap<(Uuid, Option<i32>), &RawValue> =
            batch.payloads.iter().map(|payload| (of(payload), &*payload.json)).collect();
        let names: HashMap<Uuid, Names> = batch
            .payloads
            .iter()
            .filter(|payload| payload.step_number.is_none())
            .filter_map(|payload| Some((payload.task_id, serde_json::from_str(payload.json.get()).ok()?)))
            .collect();
        batch.events.iter().filter_map(|event| self.message(event, &payloads, names.get(&event.task_id)?)).collect()
    }

    fn message(
        &self,
        event: &Event,
        payloads: &HashMap<(Uuid, Option<i32>), &RawValue>,
        names: &Names,
    ) -> Option<sse::Event> {
        let is_wanted = |kinds: &Vec<String>| {
            kinds
                .iter()
                .any(|kind| event.kind == *kind || event.kind.split_once('.').is_some_and(|(whose, _)| whose == kind))
        };
        if !self.kinds.as_ref().is_none_or(is_wanted)
            || self.namespace.as_ref().is_some_and(|name| *name != names.namespace)
            || !self.caller.is_within(&names.namespace)
        {
            return None;
        }
        let Names { namespace, workflow, version } = names;
        let message = CloudEvent {
            specversion: "1.0",
            id: format!("{}/{}/{}", event.number, event.task_id, event.step_number.unwrap_or(-1)),
            source: format!("/v1/named_tasks/{namespace}/{workflow}/{version}"),
            r#type: &event.kind,
            subject: event.workflow_step_id.unwrap_or(event.task_id),
            time: event.at,
            datacontenttype: "application/json",
            data: Data {
                transition: event,
                task: payloads.get(&(event.task_id, None))?,
                step: event.step_number.and_then(|step| payloads.get(&(event.task_id, Some(step))).copied()),
            },
        };
        sse::Event::default().id(event.cursor.as_str()).event(&event.kind).json_data(message).ok()
    }
}
