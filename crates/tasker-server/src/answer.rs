//! Reading requests and writing answers: what cannot be read is a [`Problem`], and JSON is held to the library's limits.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tasker::json;
use utoipa::ToSchema;

use crate::problem::Problem;

/// How many things a page has unless the caller says otherwise.
pub const PAGE: i64 = 50;
/// And at most.
pub const MAX_PAGE: i64 = 1000;

/// A body in JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        read(json_text(request, state).await?.get()).map(Body)
    }
}

/// A body in JSON, as it came.
pub async fn json_text<S: Send + Sync>(request: Request, state: &S) -> Result<Box<RawValue>, Problem> {
    require(&request, &["application/json"])?;
    let bytes = bytes(request, state).await?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "bad_body", "the body is not UTF-8"))?;
    // no body says nothing
    let text = if text.is_empty() { "{}" } else { text };
    let read = json::check(text).map_err(|why| Problem::bad("json", format!("the body: {why}")))?;
    // a list would do for an object whose members come in their order
    match read.get().starts_with('{') {
        true => Ok(read),
        false => Err(Problem::bad("bad_body", "the body is an object")),
    }
}

/// What a body in JSON says.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|why| Problem::bad("bad_body", format!("the body: {why}")))
}

/// A body's bytes.
pub async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|why: BytesRejection| match why.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than this route takes")
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "bad_body", "the body cannot be read"),
    })
}

/// Refuses a body of another type. One that has none may be empty.
pub fn require(request: &Request, kinds: &[&str]) -> Result<(), Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    let is_empty = axum::body::HttpBody::size_hint(request.body()).exact() == Some(0);
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match essence {
        None if is_empty => Ok(()),
        Some(essence) if kinds.contains(&essence.as_str()) => Ok(()),
        _ => {
            let detail = format!("the body's Content-Type is {}", kinds.join(" or "));
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type", detail))
        }
    }
}

/// What stands behind the question mark.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Query(query.0)).map_err(|why| Problem::bad("bad_query", why.body_text()))
    }
}

/// What stands in the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Path(path.0)).map_err(|why| Problem::bad("bad_path", why.body_text()))
    }
}

/// Things, and where there are more.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The things.
    pub items: Vec<T>,
    /// Asked for with this, the next ones come; `null`: there are none.
    #[schema(nullable)]
    pub next: Option<String>,
}

/// A page and the link to the next.
pub struct Listed<T> {
    page: Page<T>,
    link: Option<String>,
}

impl<T> Listed<T> {
    /// `items` were asked for with one more than `limit`: the one too many says that there are more. `place`: what follows a thing, as the value of
    /// the query's `parameter`.
    pub fn new(
        mut items: Vec<T>,
        limit: i64,
        uri: &axum::http::Uri,
        parameter: &str,
        place: impl Fn(&T) -> String,
    ) -> Listed<T> {
        let is_more = items.len() as i64 > limit;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| is_more).map(place);
        let link = next.as_ref().map(|next| {
            let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
            // a name may be written with escapes
            let read = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
            let names = read.map(|pairs| pairs.0).unwrap_or_default();
            let rest = pairs.zip(names).filter(|(_, (name, _))| name != parameter).map(|(pair, _)| pair.to_owned());
            let query: Vec<String> = rest.chain([format!("{parameter}={next}")]).collect();
            format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))
        });
        Listed { page: Page { items, next }, link }
    }
}

impl<T> Listed<T> {
    /// Whether there is nothing on the page.
    pub fn is_empty(&self) -> bool {
        self.page.items.is_empty()
    }
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.page).into_response();
        if let Some(link) = self.link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// A page's size.
pub fn limit(asked: Option<i64>) -> Result<i64, Problem> {
    match asked.unwrap_or(PAGE) {
        limit @ 1..=MAX_PAGE => Ok(limit),
        _ => Err(Problem::bad("bad_limit", format!("limit is a number from 1 to {MAX_PAGE}"))),
    }
}
