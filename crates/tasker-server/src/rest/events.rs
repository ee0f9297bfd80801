//! Events as they happen, as server-sent events: CloudEvents, with what the views say of the task and the step.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response, Sse,
        sse::{self, KeepAlive},
    },
};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tasker::events::{Told, Transition};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    App,
    access::Caller,
    answer::Query,
    following::{Following, Happened, Names, Next, Wanted},
    problem::Problem,
};

/// How often a connection on which nothing happens is shown to be alive.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

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
    let kinds = which.kind.map(|kinds| kinds.split(',').map(|kind| kind.trim().to_owned()).collect());
    let wanted = Wanted { task_id: which.task_id, namespace: which.namespace, kinds, after: last.or(which.after) };
    let following = Following::begin(app, caller, wanted).await?;
    // a client that loses its connection before anything concerns it comes back to here
    let begin = following.place().map(|place| sse::Event::default().id(place.as_str()));
    let messages = stream::unfold(following, |mut following| async move {
        let message = match following.next(message).await? {
            Next::Happened(message) => message,
            Next::Place(place) => sse::Event::default().id(place.as_str()),
        };
        Some((message, following))
    });
    let messages = stream::iter(begin).chain(messages).map(Ok::<_, Infallible>);
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

fn message(happened: Happened<'_>) -> Option<sse::Event> {
    let Happened { told: Told { event, task, step }, names: Names { namespace, workflow, version } } = happened;
    let message = CloudEvent {
        specversion: "1.0",
        id: format!("{}/{}/{}", event.number, event.task_id, event.step_number.unwrap_or(-1)),
        source: format!("/v1/named_tasks/{namespace}/{workflow}/{version}"),
        r#type: &event.kind,
        subject: event.workflow_step_id.unwrap_or(event.task_id),
        time: event.at,
        datacontenttype: "application/json",
        data: Data { transition: event, task, step },
    };
    sse::Event::default().id(event.cursor.as_str()).event(&event.kind).json_data(message).ok()
}
