//! The handler `http` makes a request. Its result has the `status`, the `headers` (their names in lower case) and the `body`: JSON where
//! that is what came, else text.
//!
//! Whatever is worth another attempt is retried: no answer, the statuses 408, 425, 429 and 5xx (when the far side says `Retry-After`, then).
//! Every attempt sends the same `Idempotency-Key`, so that the far side can tell a repetition from a second order.

mod address;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SET_COOKIE},
    redirect::Policy,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::address::{Guard, Refused};
use super::{Attempt, BoxFuture, Handler, Outcome, StepError, Text, arguments_of, with_invalid};
use crate::json;

/// How long a connection may take to be made, and how long the far side may say nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(60);
/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;
/// How much of an unwelcome answer stands in the error, in characters.
const EXCERPT: usize = 500;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Makes requests; see the module's text.
pub(super) struct Http {
    guard: Guard,
    client: Result<Client, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Option<Text>>,
    #[serde(default)]
    query: BTreeMap<String, Option<Text>>,
    #[serde(default)]
    body: Value,
    expect: Option<Vec<Text>>,
}

impl Http {
    /// `allow_private_hosts`: hosts that are not on the public internet, too, and through the proxy that the environment names.
    pub(super) fn new(allow_private_hosts: bool) -> Http {
        Http::guarded(if allow_private_hosts { Guard::none() } else { Guard::public() }, allow_private_hosts)
    }

    fn guarded(guard: Guard, allow_proxy: bool) -> Http {
        // an application's own choice stands
        let _ = rustls::crypto::ring::default_provider().install_default();
        let redirects = guard.clone();
        let follow = Policy::custom(move |hop| {
            if hop.previous().len() > MAX_REDIRECTS {
                return hop.error(format!("more than {MAX_REDIRECTS} redirects"));
            }
            match redirects.check(hop.url()) {
                Ok(()) => hop.follow(),
                Err(refused) => hop.error(refused),
            }
        });
        let mut client = Client::builder()
            .user_agent(concat!("tasker/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            .referer(false)
            .redirect(follow)
            .dns_resolver(guard.clone());
        if !allow_proxy {
            // it would resolve the name itself
            client = client.no_proxy();
        }
        Http { guard, client: client.build().map_err(|error| chain(&error)) }
    }
}

impl Handler for Http {
    fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>> {
        let (guard, client) = (self.guard.clone(), self.client.clone());
        Box::pin(async move {
            let client = client.map_err(|error| StepError::fatal(error).kind("http_failed"))?;
            let request = Request::of(&attempt, &guard)?;
            let name = request.name.clone();
            let response = request.send(&client).await?;
            answer(response.0, &response.1, &name).await
        })
    }
}

/// A request, and the statuses that it hopes for.
struct Request {
    /// For people: without query and password.
    name: Arc<str>,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<String>,
    expect: Vec<Statuses>,
}

impl Request {
    fn of(attempt: &Attempt, guard: &Guard) -> Result<Request, StepError> {
        let With { method, url, headers, query, body, expect } = arguments_of("http", &attempt.with)?;
        let invalid = |reason: String| with_invalid("http", reason);
        let method = method.unwrap_or_else(|| if body.is_null() { "GET" } else { "POST" }.into());
        let method: Method = method.parse().map_err(|_| invalid(format!("`{method}` is no method")))?;
        let mut url = Url::parse(&url).map_err(|error| invalid(format!("`url`: {error}")))?;
        guard.check(&url).map_err(|refused| refuse(&refused))?;
        if query.values().any(Option::is_some) {
            let given = query.iter().filter_map(|(name, value)| Some((name, value.as_ref()?.0.as_str())));
            url.query_pairs_mut().extend_pairs(given);
        }
        let mut sent = HeaderMap::new();
        let body = match body {
            Value::Null => None,
            Value::String(text) => {
                sent.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
                Some(text)
            }
            value => {
                sent.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Some(value.to_string())
            }
        };
        let key = HeaderValue::from_str(&attempt.idempotency_key());
        sent.insert(IDEMPOTENCY_KEY, key.map_err(|error| invalid(error.to_string()))?);
        for (name, value) in headers {
            let known: HeaderName = name.parse().map_err(|_| invalid(format!("`{name}` is no header's name")))?;
            match value {
                None => drop(sent.remove(known)),
                Some(Text(value)) => {
                    let value =
                        value.parse().map_err(|_| invalid(format!("the header `{name}` cannot have this value")))?;
                    sent.insert(known, value);
                }
            }
        }
        let expect = match expect {
            None => vec![Statuses::Class(2)],
            Some(words) => {
                words.iter().map(|Text(word)| Statuses::read(word)).collect::<Option<_>>().ok_or_else(|| {
                    invalid("`expect` is a list of statuses such as 200, or of classes such as `2xx`".into())
                })?
            }
        };
        let mut name = url.clone();
        name.set_query(None);
        name.set_fragment(None);
        let _ = (name.set_username(""), name.set_password(None));
        Ok(Request { name: format!("{method} {name}").into(), method, url, headers: sent, body, expect })
    }

    async fn send(self, client: &Client) -> Result<(Response, Vec<Statuses>), StepError> {
        let mut request = client.request(self.method, self.url).headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| failed(error, &self.name))?;
        Ok((response, self.expect))
    }
}

/// Statuses that are hoped for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Statuses {
    One(u16),
    /// The first digit.
    Class(u16),
}

impl Statuses {
    /// Reads `200` or `2xx`.
    pub(super) fn read(word: &str) -> Option<Statuses> {
        match word.strip_suffix("xx") {
            Some(class) => class.parse().ok().filter(|class| (1..=5).contains(class)).map(Statuses::Class),
            None => word.parse().ok().filter(|status| (100..=599).contains(status)).map(Statuses::One),
        }
    }

    fn has(self, status: StatusCode) -> bool {
        match self {
            Statuses::One(one) => status.as_u16() == one,
            Statuses::Class(class) => status.as_u16() / 100 == class,
        }
    }
}

/// What came back, as a result or as an error.
async fn answer(response: Response, expect: &[Statuses], name: &str) -> Result<Outcome, StepError> {
    let (status, headers) = (response.status(), response.headers().clone());
    if !expect.iter().any(|statuses| statuses.has(status)) {
        let body = read(response, name).await.unwrap_or_default();
        let excerpt =
            json::clean(&String::from_utf8_lossy(&body).chars().take(EXCERPT).collect::<String>(), EXCERPT * 4);
        let message = format!("{name} answered {status}{}{excerpt}", if excerpt.is_empty() { "" } else { ": " });
        let may_pass = matches!(status.as_u16(), 408 | 425 | 429 | 500..=599);
        let error = match retry_after(&headers) {
            _ if !may_pass => StepError::fatal(message),
            Some(delay) => StepError::retry_after(delay, message),
            None => StepError::new(message),
        };
        return Err(error.kind("http_status"));
    }
    let body = read(response, name).await?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let unreadable = |reason: String, error: &str| StepError::fatal(format!("{name}: {reason}")).kind(error);
    let is_json = kind == "application/json" || kind.ends_with("+json");
    let text = String::from_utf8(body).map_err(|_| {
        unreadable(format!("its answer is no text in UTF-8 (`content-type: {content_type}`)"), "response_not_text")
    })?;
    let body = match (is_json, text.is_empty()) {
        (_, true) => Value::Null,
        (true, false) => serde_json::from_str(&text).map_err(|error| {
            unreadable(format!("its answer is not the JSON that it says it is: {error}"), "response_invalid")
        })?,
        (false, false) => Value::String(text),
    };
    Outcome::complete(&json!({ "status": status.as_u16(), "headers": told(&headers), "body": body }))
}

/// The answer's headers, but for cookies, which are secrets.
fn told(headers: &HeaderMap) -> Map<String, Value> {
    let mut told = Map::new();
    for name in headers.keys().filter(|name| **name != SET_COOKIE) {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        told.insert(name.to_string(), values.join(", ").into());
    }
    told
}

/// The body, of at most as many bytes as a result may have.
async fn read(mut response: Response, name: &str) -> Result<Vec<u8>, StepError> {
    let too_large = || {
        let at_most = json::MAX_BYTES;
        StepError::fatal(format!("{name}: its answer is larger than {at_most} bytes")).kind("response_too_large")
    };
    let said = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|length| length > json::MAX_BYTES) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(error, name))? {
        body.extend_from_slice(&chunk);
        if body.len() > json::MAX_BYTES {
            return Err(too_large());
        }
    }
    Ok(body)
}

/// How long the far side asks to be left alone: in seconds, or until a date by its own clock (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let asked = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    Some(httpdate::parse_http_date(asked).ok()?.duration_since(now).unwrap_or_default())
}

/// No answer, or none to its end.
fn failed(error: reqwest::Error, name: &str) -> StepError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return refuse(refused);
        }
        cause = error.source();
    }
    let is_redirect = error.is_redirect();
    let message = format!("{name}: {}", chain(&error.without_url()));
    match is_redirect {
        true => StepError::fatal(message).kind("http_failed"),
        false => StepError::new(message).kind("http_failed"),
    }
}

fn refuse(refused: &Refused) -> StepError {
    StepError::fatal(format!("the request is not made: {refused}")).kind("address_refused")
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message += &format!(": {error}");
        cause = error.source();
    }
    message
}
