//! Who may do what. A route's permission stands in its own declaration (`security`), which is what the document says and what is asked here: a route that
//! declares none is closed. Objects in other namespaces than a key's are not there for its bearer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tasker::{
    access::{ApiKey, Permission, Role},
    is_name,
    store::{AuditRecord, ByHand},
    task_of,
};
use utoipa::openapi::{OpenApi, path::Operation};
use uuid::Uuid;

use crate::{App, problem::Problem};

/// Whether the server asks for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It does not: it answers this machine's own programs only.
    Open,
    /// It does.
    Keys,
}

/// The name of the scheme in the document.
pub(crate) const SCHEME: &str = "key";
/// How long a key that was good is taken for good, and so how late a revocation holds at most.
pub(crate) const KNOWN: Duration = Duration::from_secs(5);
/// Within what time the same is not asked again of one who follows.
pub(crate) const ASKED: Duration = Duration::from_secs(1);
/// How long a reason is at most, in characters: it stands in every transition that it is the reason of.
const MAX_REASON: usize = 2000;
/// How many keys are remembered.
const MAX_KNOWN: usize = 10_000;

/// The doorkeeper.
#[derive(Clone)]
pub(crate) struct Door {
    access: Access,
    /// What each route takes.
    routes: Arc<HashMap<(Method, String), Permission>>,
    known: Arc<Mutex<HashMap<String, (ApiKey, Instant)>>>,
    /// Whether keys whose bearers follow are still good, and when that was asked: once for all who follow with one.
    still_good: Arc<tokio::sync::Mutex<HashMap<Uuid, (bool, Instant)>>>,
}

impl Door {
    /// Reads the routes' declarations.
    pub fn new(access: Access, document: &OpenApi) -> Door {
        let mut routes = HashMap::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in [(Method::GET, &item.get), (Method::POST, &item.post)] {
                if let Some(permission) = operation.as_ref().and_then(permission) {
                    routes.insert((method, path.clone()), permission);
                }
            }
        }
        Door { access, routes: Arc::new(routes), known: Arc::default(), still_good: Arc::default() }
    }

    /// The bearer of the key in the headers.
    async fn bearer(&self, app: &App, headers: &HeaderMap) -> Result<Option<ApiKey>, Problem> {
        if self.access == Access::Open {
            return if is_local(headers) { Ok(None) } else { Err(not_local()) };
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key =
            given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, key)) = key else { return Err(no_key("this needs a key: Authorization: Bearer tasker_..")) };
        let key = key.trim();
        // nothing that is no key at all costs a question
        if !key
            .strip_prefix("tasker_")
            .is_some_and(|rest| rest.len() == 64 && rest.bytes().all(|c| c.is_ascii_hexdigit()))
        {
            return Err(no_key("this is no key: one begins with tasker_ and has 64 hexadecimal digits"));
        }
        let fresh = |(known, since): &(ApiKey, Instant)| (since.elapsed() < KNOWN).then(|| known.clone());
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).and_then(fresh) {
            return Ok(Some(known));
        }
        let Some(found) = app.tasker.store().key(key).await? else {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            return Err(no_key("this key is none, has expired or was revoked"));
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(key.to_owned(), (found.clone(), Instant::now()));
        Ok(Some(found))
    }
}

/// What an operation declares.
fn permission(operation: &Operation) -> Option<Permission> {
    let declared = serde_json::to_value(operation.security.as_ref()?).ok()?;
    Permission::of(declared[0][SCHEME][0].as_str()?)
}

fn not_local() -> Problem {
    let detail =
        "without keys this server answers this machine's own programs only, under localhost or a loopback address";
    Problem::new(StatusCode::FORBIDDEN, "not_local", detail)
}

fn no_key(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

/// Without keys whoever reaches the server may do everything: so only this machine's own programs may. A page in a browser is none of them, whatever
/// name it has found for this address: it cannot choose its Host and its Origin.
fn is_local(headers: &HeaderMap) -> bool {
    let is_local = |host: &str| {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    // what a proxy passes on comes from elsewhere, whatever host it names
    if ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"]
        .iter()
        .any(|name| headers.contains_key(*name))
    {
        return false;
    }
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
    text(header::HOST).is_some_and(is_local) && origin.is_none_or(is_local)
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Caller {
    key: Option<ApiKey>,
}

impl Caller {
    /// The namespaces in which things are there for him; `None`: all.
    pub fn namespaces(&self) -> Option<&[String]> {
        self.key.as_ref()?.namespaces.as_deref()
    }

    /// The same, for a filter.
    pub fn within(&self) -> Option<Vec<String>> {
        self.namespaces().map(<[String]>::to_vec)
    }

    /// What he may.
    pub fn role(&self) -> Role {
        self.key.as_ref().map_or(Role::Admin, |key| key.role)
    }

    /// Refuses what his role does not allow.
    pub fn needs(&self, permission: Permission) -> Result<(), Problem> {
        let role = self.role();
        if role.may(permission) {
            return Ok(());
        }
        let able = Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::as_str);
        let needed = able.collect::<Vec<_>>().join(" or ");
        Err(forbidden(format!("a {role} may not: this takes {needed}")))
    }

    /// Whether things of a namespace are there for him.
    pub fn is_within(&self, namespace: &str) -> bool {
        self.namespaces().is_none_or(|names| names.iter().any(|name| name == namespace))
    }

    /// Whether his key, if he needed one, is still good for something.
    pub async fn is_still_good(&self, app: &App) -> bool {
        let Some(key) = &self.key else { return true };
        let mut asked = app.door.still_good.lock().await;
        match asked.get(&key.api_key_id) {
            Some((is_good, since)) if since.elapsed() < ASKED => *is_good,
            _ => {
                let is_good = app.tasker.store().is_good_key(key.api_key_id).await.unwrap_or(true);
                asked.retain(|_, (_, since)| since.elapsed() < ASKED);
                asked.insert(key.api_key_id, (is_good, Instant::now()));
                is_good
            }
        }
    }

    /// Those of these tasks that are there for him, so far as he is limited to some namespaces.
    pub async fn there(&self, app: &App, task_ids: Vec<Uuid>) -> Result<Vec<Uuid>, Problem> {
        match self.namespaces() {
            None => Ok(task_ids),
            Some(names) => {
                let tasks = app.tasker.store().tasks_of(&task_ids, Some(names)).await?;
                Ok(tasks.iter().map(|task| task.task_id).collect())
            }
        }
    }

    /// Keeps what he asks for, and why; then it may be done.
    pub async fn asks<'a>(
        &'a self,
        app: &App,
        action: &str,
        object: &str,
        reason: Option<&'a str>,
    ) -> Result<ByHand<'a>, Problem> {
        if reason.is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(Problem::bad("bad_reason", format!("a reason has at most {MAX_REASON} characters")));
        }
        let object = tasker::json::clean(object, 1000);
        app.tasker.store().audit(self.record(action, &object, reason)).await?;
        Ok(ByHand { actor: self.actor(), reason })
    }

    /// Who he is in histories and records.
    pub fn actor(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.name.as_str())
    }

    /// What he does, for the audit.
    pub fn record<'a>(&'a self, action: &'a str, object: &'a str, reason: Option<&'a str>) -> AuditRecord<'a> {
        AuditRecord {
            actor: self.actor().unwrap_or("anonymous"),
            api_key_id: self.key.as_ref().map(|key| key.api_key_id),
            action,
            object,
            reason,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // put there by `enter`: a route past it is a defect, and closed
        parts.extensions.get::<Caller>().cloned().ok_or_else(|| forbidden("this route has no doorkeeper"))
    }
}

pub(crate) fn forbidden(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

/// The door of every route.
pub(crate) async fn enter(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(&app, &mut parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => {
            let is_unknown = problem.is(StatusCode::UNAUTHORIZED);
            let mut response = problem.into_response();
            if is_unknown {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

async fn admit(app: &App, parts: &mut Parts) -> Result<Caller, Problem> {
    let key = app.door.bearer(app, &parts.headers).await?;
    let path = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    // HEAD is GET without its body
    let method = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
    let Some(permission) = app.door.routes.get(&(method, path)) else {
        return Err(forbidden("this route declares no permission, and is closed"));
    };
    let caller = Caller { key };
    caller.needs(*permission)?;
    if caller.namespaces().is_some() {
        within(app, parts, &caller).await?;
    }
    Ok(caller)
}

/// What the path names has to be in one of the caller's namespaces; else it is not there.
async fn within(app: &App, parts: &mut Parts, caller: &Caller) -> Result<(), Problem> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params = params.map_err(|_| Problem::bad("bad_path", "the path cannot be read"))?;
    for (name, value) in &params {
        // what is no id the route says itself
        let id = Uuid::try_parse(value).ok();
        match (name, id) {
            ("task_id", Some(id)) if caller.there(app, vec![id]).await?.is_empty() => {
                return Err(Problem::unknown_task(id));
            }
            ("workflow_step_id", Some(id)) if caller.there(app, vec![task_of(id)]).await?.is_empty() => {
                return Err(Problem::unknown_step(id));
            }
            ("namespace", _) if !caller.is_within(value) => {
                let value = if is_name(value) { value } else { "of this name" };
                return Err(Problem::unknown("unknown_workflow", format_args!("workflow in namespace {value}")));
            }
            _ => {}
        }
    }
    Ok(())
}
