//! GraphiQL, a page to ask GraphQL from: its files are in the binary, and nothing comes from elsewhere. For `tasker dev` only.

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

/// What the page may load and run. GraphiQL's editor sets styles as it goes, and its fonts are in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    /// Whether it is packed: every browser unpacks gzip.
    is_packed: bool,
    bytes: &'static [u8],
}

macro_rules! file {
    ($path:literal, $kind:literal, $file:literal) => {
        File { path: $path, kind: $kind, is_packed: false, bytes: include_bytes!(concat!("graphiql/", $file)) }
    };
    ($path:literal, $kind:literal, packed $file:literal) => {
        File { is_packed: true, ..file!($path, $kind, $file) }
    };
}

const FILES: [File; 7] = [
    file!("/graphiql", "text/html; charset=utf-8", "index.html"),
    file!("/graphiql/start.css", "text/css; charset=utf-8", "start.css"),
    file!("/graphiql/start.js", "text/javascript; charset=utf-8", "start.js"),
    file!("/graphiql/graphiql.min.css", "text/css; charset=utf-8", packed "graphiql.min.css.gz"),
    file!("/graphiql/graphiql.min.js", "text/javascript; charset=utf-8", packed "graphiql.min.js.gz"),
    file!("/graphiql/react.production.min.js", "text/javascript; charset=utf-8", packed "react.production.min.js.gz"),
    file!("/graphiql/react-dom.production.min.js", "text/javascript; charset=utf-8", packed "react-dom.production.min.js.gz"),
];

impl IntoResponse for &'static File {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::CONTENT_TYPE, self.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-cache"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.is_packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        (headers, self.bytes).into_response()
    }
}

/// The page and its files.
pub(crate) fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, file| router.route(file.path, get(async move || file)))
}
