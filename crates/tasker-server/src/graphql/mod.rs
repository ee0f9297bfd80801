//! GraphQL at `/graphql`: what REST gives and does, asked for in one query. A query is judged before anything of it is done (`limits`), what it loads is loaded
//! for many at once (`loads`), and what it does is done by the functions that REST calls (`acts`). Mutations come by POST and in JSON only, which no page of
//! another site can send; subscriptions are server-sent events of the graphql-sse protocol (distinct connections), so that they pass the same door as
//! everything else.

pub(crate) mod graphiql;
mod limits;
mod loaders;
mod loads;
mod mutation;
mod named_task;
mod query;
mod scalars;
mod subscription;
mod task;
mod workflow_step;

use std::{convert::Infallible, time::Duration};

use async_graphql::{
    Name, PathSegment, Response as Answer, Schema, ServerError, TypeDirective, Value, Variables, indexmap::IndexMap,
    parser::types::OperationType,
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{
        IntoResponse, Response, Sse,
        sse::{self, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

pub(crate) use self::scalars::Json;
use self::{limits::Permissions, loaders::Loads, mutation::Mutation, query::Query, subscription::Subscription};
use crate::{App, access::Caller, answer, problem::Problem, rest::HEARTBEAT};

/// After how long a query that is not done is given up. What changes something has as long as every request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The type of an answer whose status tells, too, whether the query could be done.
const RESPONSE: &str = "application/graphql-response+json";

/// The schema, and what each of its root fields takes.
pub(crate) struct Graphql {
    schema: Schema<Query, Mutation, Subscription>,
    permissions: Permissions,
}

/// The permission that a field takes.
#[TypeDirective(location = "FieldDefinition")]
fn takes(permission: String) {}

impl Default for Graphql {
    fn default() -> Graphql {
        // what comes in and what goes out are types of their own here, and one in the schema
        let schema = Schema::build_with_ignore_name_conflicts(Query, Mutation, Subscription, ["JSON"])
            .limit_complexity(limits::MAX_COMPLEXITY)
            .disable_suggestions()
            .finish();
        Graphql { permissions: Permissions::of(&schema.sdl()), schema }
    }
}

/// The schema in GraphQL's own language.
pub fn schema() -> String {
    Graphql::default().schema.sdl_with_options(async_graphql::SDLExportOptions::new().prefer_single_line_descriptions())
}

/// A query, as it comes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    /// The text of the query.
    query: String,
    /// Which of its operations is meant, where there are several.
    operation_name: Option<String>,
    /// Values of the query's variables.
    #[schema(value_type = Option<Object>)]
    variables: Option<Box<RawValue>>,
}

/// Ask in GraphQL
///
/// Queries and mutations; subscriptions, and whatever else, as server-sent events (`next`, `complete`) where `text/event-stream` is accepted. Each root
/// field's permission stands in the schema beside it.
#[utoipa::path(
    post, path = "/graphql", operation_id = "graphql", security(("key" = ["read"])), tag = "graphql", request_body = Asked,
    responses(
        (status = 200, description = "The answer: data, and errors with a stable code in their extensions", content((Object = "application/json"), (Object = "application/graphql-response+json"), (String = "text/event-stream"))),
        (status = 400, description = "The query cannot be done", body = Object),
        (status = 401, description = "A key is missing, or is none", body = Object),
        (status = 403, description = "The key's role does not allow it", body = Object),
        (status = 413, description = "The body is too large", body = Object),
        (status = 415, description = "The body is of another type", body = Object),
        (status = 422, description = "The body is no query", body = Object),
        (status = 503, description = "The database does not answer: ask again after Retry-After", body = Object)
    )
)]
pub(crate) async fn answer(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let accepts = Accepts::of(request.headers());
    let text = answer::json_text(request, &()).await?;
    let asked: Asked = answer::read(text.get())?;
    if asked.variables.as_ref().is_some_and(|variables| !variables.get().starts_with('{')) {
        return Err(Problem::bad("bad_body", "the body: variables is an object"));
    }
    let prepared = match prepare(&app, &caller, &asked) {
        Ok(prepared) => prepared,
        Err(problem) => return Ok(accepts.one(refusal(&problem))),
    };
    let (request, operation) = prepared;
    let schema = app.graphql.schema.clone();
    let loads = Loads::new(app, caller);
    let request = request.data(loads.clone());
    if operation == OperationType::Subscription {
        if accepts.events {
            return Ok(follow(schema.execute_stream(request), &loads).await);
        }
        let detail = "a subscription is answered as server-sent events: Accept: text/event-stream";
        return Ok(accepts.one(refusal(&Problem::bad("bad_query", detail))));
    }
    let execution = loads.drive(schema.execute(request));
    let done = match operation {
        OperationType::Mutation => execution.await,
        _ => tokio::time::timeout(PATIENCE, execution).await.unwrap_or_else(|_| {
            let detail = format!("a query is done within {} s: ask for less at once", PATIENCE.as_secs());
            refusal(&Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", detail))
        }),
    };
    Ok(accepts.one(done))
}

/// Judges a query, and makes ready what does it.
fn prepare(app: &App, caller: &Caller, asked: &Asked) -> Result<(async_graphql::Request, OperationType), Problem> {
    limits::text(&asked.query)?;
    let document = async_graphql::parser::parse_query(&asked.query)
        .map_err(|why| Problem::bad("bad_query", format!("the query cannot be read: {why}")))?;
    let operation_name = asked.operation_name.as_deref();
    let operation = limits::document(&document, operation_name, &app.graphql.permissions, caller)?;
    let variables = match &asked.variables {
        None => Variables::default(),
        Some(text) => {
            limits::numbers(text.get())?;
            answer::read::<Option<Variables>>(text.get())?.unwrap_or_default()
        }
    };
    let mut request = async_graphql::Request::new(asked.query.clone()).variables(variables);
    request.set_parsed_query(document);
    if let Some(name) = operation_name {
        request = request.operation_name(name);
    }
    Ok((request, operation))
}

/// In what an answer may be written.
struct Accepts {
    events: bool,
    response: bool,
}

impl Accepts {
    fn of(headers: &HeaderMap) -> Accepts {
        let accepts = |kind: &str| {
            let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
            let mut kinds = values.flat_map(|value| value.split(','));
            kinds.any(|one| one.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind))
        };
        Accepts { events: accepts("text/event-stream"), response: accepts(RESPONSE) }
    }

    /// One answer.
    fn one(&self, answer: Answer) -> Response {
        let answer = whole(answer);
        if self.events {
            return events(stream::iter([answer]), true);
        }
        let has = |codes: &[&str]| answer.errors.iter().any(|error| codes.contains(&code(error).unwrap_or_default()));
        let is_refused = answer.data == Value::Null && answer.errors.iter().all(|error| error.path.is_empty());
        let status = if has(&["unavailable", "too_slow"]) {
            StatusCode::SERVICE_UNAVAILABLE
        } else if self.response && is_refused && !answer.errors.is_empty() {
            if has(&["forbidden"]) { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST }
        } else {
            StatusCode::OK
        };
        self.write(status, &answer)
    }

    fn write(&self, status: StatusCode, answer: &Answer) -> Response {
        let mut response = (status, axum::Json(answer)).into_response();
        if self.response {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(RESPONSE));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Follows from now on: when the answer's head is sent, it has begun.
async fn follow(mut answers: BoxStream<'static, Answer>, loads: &Loads) -> Response {
    let first = tokio::select! {
        biased;
        first = answers.next() => first.unwrap_or_else(|| refusal(&Problem::bad("bad_query", "this subscription follows nothing"))),
        () = loads.begun.notified() => return events(answers, false),
    };
    events(stream::iter([first]).chain(answers), false)
}

/// Answers as server-sent events. A subscription that ends without an error has lost its server, its database or its key: the connection ends, and the client
/// is not told that this was all.
fn events(answers: impl Stream<Item = Answer> + Send + 'static, is_all: bool) -> Response {
    let messages = answers.flat_map(move |answer| {
        let answer = whole(answer);
        let is_last = is_all || !answer.errors.is_empty();
        let next = sse::Event::default().event("next").json_data(&answer).ok();
        let complete = is_last.then(|| sse::Event::default().event("complete").data(""));
        stream::iter(next.into_iter().chain(complete).map(Ok::<_, Infallible>))
    });
    Sse::new(messages).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

fn refusal(problem: &Problem) -> Answer {
    Answer::from_errors(vec![error(problem)])
}

/// A problem as GraphQL has it.
fn error(problem: &Problem) -> ServerError {
    // of no place in the query
    let told = async_graphql::Error::from(problem.clone());
    ServerError { extensions: told.extensions, ..ServerError::new(told.message, None) }
}

impl From<Problem> for async_graphql::Error {
    fn from(problem: Problem) -> async_graphql::Error {
        let (code, detail) = problem.told();
        let mut error = async_graphql::Error::new(detail);
        error.extensions.get_or_insert_default().set("code", code);
        error
    }
}

fn code(error: &ServerError) -> Option<&str> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => Some(code),
        _ => None,
    }
}

/// Gives each error a code (those of the validation have none), and each field that failed its null.
fn whole(mut answer: Answer) -> Answer {
    for error in &mut answer.errors {
        set_null(&mut answer.data, &error.path);
        if code(error).is_none() {
            let code = if error.message == "Query is too complex." { "too_complex" } else { "bad_query" };
            error.extensions.get_or_insert_default().set("code", code);
        }
    }
    answer
}

/// Sets what stands at a path, and is not there, to null.
fn set_null(data: &mut Value, path: &[PathSegment]) {
    let Some((next, rest)) = path.split_first() else { return };
    match next {
        PathSegment::Field(name) => {
            if *data == Value::Null {
                *data = Value::Object(IndexMap::new());
            }
            if let Value::Object(fields) = data {
                set_null(fields.entry(Name::new(name)).or_insert(Value::Null), rest);
            }
        }
        PathSegment::Index(place) => {
            if let Value::List(items) = data
                && let Some(item) = items.get_mut(*place)
            {
                set_null(item, rest);
            }
        }
    }
}

/// What goes wrong at the door is told in GraphQL's words, too.
pub(crate) async fn speak(request: Request, next: Next) -> Response {
    if request.uri().path() != "/graphql" {
        return next.run(request).await;
    }
    let accepts = Accepts::of(request.headers());
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let mut told = accepts.write(response.status(), &refusal(&problem));
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        if let Some(value) = response.headers_mut().remove(&name) {
            told.headers_mut().insert(name, value);
        }
    }
    told
}
