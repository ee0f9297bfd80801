//! Errors as `application/problem+json` (RFC 9457), with the library's stable codes.

use std::{any::Any, collections::BTreeMap};

use axum::{
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tasker::{Error, sqlx};
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, Response as OpenApiResponse, ResponseBuilder},
};
use uuid::Uuid;

/// What went wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:tasker:` and the code.
    r#type: String,
    /// The HTTP status, in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// A stable word: `unknown_task`, `task_not_live`, `idempotency_key_reused`, ..
    code: String,
}

impl Problem {
    /// `code` is a stable word.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
        Problem {
            r#type: format!("urn:tasker:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.into(),
        }
    }

    /// Its stable word, and its sentence.
    pub(crate) fn told(&self) -> (&str, &str) {
        (&self.code, &self.detail)
    }

    /// Whether its status is this one.
    pub(crate) fn is(&self, status: StatusCode) -> bool {
        self.status == status.as_u16()
    }

    /// It may be asked again in a second.
    pub fn unavailable(detail: &str) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", format!("{detail}: ask again in a second"))
    }

    /// A value of the request that cannot be used.
    pub fn bad(code: &str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// There is no such thing.
    pub fn unknown(code: &str, what: impl std::fmt::Display) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, code, format!("there is no {what}"))
    }

    /// There is no such task, or not for whoever asks.
    pub fn unknown_task(task_id: Uuid) -> Problem {
        Problem::unknown("unknown_task", format_args!("task {task_id}"))
    }

    /// There is no such step, or not for whoever asks.
    pub fn unknown_step(id: Uuid) -> Problem {
        Problem::unknown("unknown_step", format_args!("step {id}"))
    }

    /// There is no such workflow, or not for whoever asks.
    pub fn unknown_workflow(namespace: &str, name: &str) -> Problem {
        Problem::unknown("unknown_workflow", format_args!("workflow {namespace}.{name}"))
    }

    fn internal(what: &dyn std::fmt::Display) -> Problem {
        // the client gets a number under which the log has the rest
        let id = Uuid::new_v4();
        tracing::error!("{id}: {what}");
        let detail = format!("this is a defect, or the database's: the server's log has more under {id}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let message = error.to_string();
        match &error {
            Error::Refused { code, .. } => {
                let status = match code.as_str() {
                    "cursor_gone" => StatusCode::GONE,
                    "not_the_primary" => return Problem::unavailable(&message),
                    "isolation_too_high" => return Problem::internal(&message),
                    "too_large" | "too_many" | "idempotency_key_reused" => StatusCode::UNPROCESSABLE_ENTITY,
                    code if code.starts_with("bad_") => StatusCode::UNPROCESSABLE_ENTITY,
                    code if code.starts_with("unknown_") => StatusCode::NOT_FOUND,
                    // the present state is the reason
                    _ => StatusCode::CONFLICT,
                };
                Problem::new(status, code, message)
            }
            Error::Json { .. } | Error::Definition(_) => Problem::bad(error.code(), message),
            Error::Database(sqlx::Error::Database(told)) => {
                let class = told.code().map(|code| code[..2].to_string()).unwrap_or_default();
                match class.as_str() {
                    // a value that PostgreSQL has no room for
                    "22" | "23" | "54" => Problem::bad("bad_value", told.message().to_string()),
                    // it is stopping, starting, full, or gave this up for the sake of another
                    "57" | "53" | "08" | "40" => Problem::unavailable("the database is busy, or restarts"),
                    _ => Problem::internal(&message),
                }
            }
            Error::Database(
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Protocol(_),
            )
            | Error::Unreachable { .. } => Problem::unavailable("the database does not answer"),
            _ => Problem::internal(&message),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        // for a door that speaks otherwise
        response.extensions_mut().insert(self);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Every route may answer so.
impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, RefOr<OpenApiResponse>> {
        let content = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = |what: &str| {
            ResponseBuilder::new().description(what).content("application/problem+json", content()).build()
        };
        [
            ("400", "The request cannot be read"),
            ("401", "A key is missing, or is none"),
            ("403", "The key's role does not allow it"),
            ("404", "There is no such thing"),
            ("409", "The present state does not allow it"),
            ("413", "The body is too large"),
            ("415", "The body is of another type"),
            ("422", "A value cannot be used"),
            ("503", "The database does not answer: ask again after Retry-After"),
        ]
        .map(|(status, what)| (status.to_string(), RefOr::T(response(what))))
        .into()
    }
}

pub(crate) async fn no_route(uri: Uri) -> Problem {
    Problem::unknown("unknown_route", format!("route {}: /openapi.json has them all", uri.path()))
}

pub(crate) async fn no_method(uri: Uri) -> Problem {
    let detail = format!("{} has other methods: see /openapi.json", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_method", detail)
}

pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let what = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
    Problem::internal(&what.unwrap_or_default()).into_response()
}
