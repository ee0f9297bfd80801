//! A Tasker server over HTTP: what is asked of it, asked again where that is safe, and in words what it does not answer.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER},
    redirect::Policy,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    ending::Failure,
    output::{one_line, quoted, tell},
};

/// The options that choose a server.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// A Tasker server's URL: ask it over HTTP, and no database [default: TASKER_SERVER]. Its key is read from TASKER_KEY, or from --key-file
    #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["database", "folder"])]
    pub server: Option<String>,
    /// The file that holds the key for the server [default: the variable TASKER_KEY has the key itself]. A key is no argument: those can be
    /// seen by everybody on the machine
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// How long a connection may take to be made, and how long the server may say nothing: it gives a request up after 30 s, and a stream is
/// shown to be alive every 15 s.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(45);
/// How long one that is busy, or whose answer was lost, is asked again.
const PATIENCE: Duration = Duration::from_secs(20);
const JSON: &str = "application/json";
/// How long it is left alone before it is, where it does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// A server, and what is shown to it.
#[derive(Clone, Debug)]
pub struct Server {
    url: Url,
    key: Option<HeaderValue>,
    key_file: Option<PathBuf>,
    client: Client,
}

/// A request, but for the server.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, HeaderValue)>,
    body: Option<String>,
    /// Of what type a good answer is.
    kind: &'static str,
    /// Whether twice is as once.
    is_repeatable: bool,
}

impl Ask {
    /// Asks for what is there.
    pub fn get(path: &[&str]) -> Ask {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        Ask {
            method: Method::GET,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            kind: JSON,
            is_repeatable: true,
        }
    }

    /// Asks for something to be done, once.
    pub fn post(path: &[&str], body: &impl Serialize) -> Result<Ask, Failure> {
        let body = serde_json::to_string(body).map_err(|why| Failure::unable(format!("it cannot be asked: {why}")))?;
        Ok(Ask { method: Method::POST, body: Some(body), is_repeatable: false, ..Ask::get(path) })
    }

    /// With a parameter behind the question mark, where it has a value.
    pub fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Ask {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Whose answer is of another type than JSON.
    pub fn of_type(self, kind: &'static str) -> Ask {
        Ask { kind, ..self }
    }

    /// With a header.
    pub fn header(mut self, name: &'static str, value: HeaderValue) -> Ask {
        self.headers.push((name, value));
        self
    }

    /// Asked twice it is done once.
    pub fn repeatable(mut self) -> Ask {
        self.is_repeatable = true;
        self
    }
}

/// An answer's text, and whether the request had to be sent more than once.
pub struct Answer {
    pub text: String,
    pub is_repeated: bool,
    url: Url,
}

impl Answer {
    /// As what it has to be.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.text).map_err(|why| {
            let text = one_line(&self.text, 200);
            Failure::unable(format!(
                "{} answers, but not as this program's server does ({why}): {text:?}; is --server (TASKER_SERVER) right, and of the same version?",
                self.url
            ))
        })
    }
}

/// Why there is no answer.
enum Failed {
    /// It may be asked again after so long.
    Busy(Duration, Failure),
    /// Nobody is there.
    Unreached(Failure),
    /// It was asked, and nobody knows what became of it.
    Lost(Failure),
    /// This is its answer.
    Refused(Failure),
}

impl Server {
    /// From what the command line and the environment say. Nothing is asked yet.
    pub fn new(url: &str, key_file: Option<&PathBuf>) -> Result<Server, Failure> {
        let url = read_url(url)
            .map_err(|why| Failure::misused(format!("--server (TASKER_SERVER) is no server's URL: {why}")))?;
        // an application's own choice stands
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("tasker/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .referer(false)
            .redirect(Policy::none());
        if url.host_str().is_some_and(is_loopback) {
            client = client.no_proxy();
        }
        let client =
            client.build().map_err(|why| Failure::unable(format!("HTTP cannot be spoken: {}", cause(&why))))?;
        Ok(Server { url, key: key(key_file)?, key_file: key_file.cloned(), client })
    }

    /// The options that lead to it, for a command line to paste.
    pub fn options(&self) -> String {
        let key = self.key_file.as_ref().map(|file| format!(" --key-file {}", quoted(&file.to_string_lossy())));
        format!("--server {}{}", quoted(self.url()), key.unwrap_or_default())
    }

    /// Its URL, as it is given to `--server`.
    pub fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Asks, again where that is safe and may help, and gives the answer as what it has to be.
    pub async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Failure> {
        self.answer(&ask).await?.read()
    }

    /// Asks, again where that is safe and may help.
    pub async fn answer(&self, ask: &Ask) -> Result<Answer, Failure> {
        let until = Instant::now() + PATIENCE;
        let mut is_repeated = false;
        loop {
            let (pause, failure) = match self.once(ask).await {
                Ok((url, text)) => return Ok(Answer { url, text, is_repeated }),
                Err(Failed::Busy(pause, failure)) => (pause, failure),
                // that it is gone is news only where it was there
                Err(Failed::Unreached(failure)) if is_repeated => (PAUSE, failure),
                // who only asks can ask again himself
                Err(Failed::Lost(failure)) if ask.method == Method::GET => return Err(failure),
                Err(Failed::Lost(failure)) if ask.is_repeatable => (PAUSE, failure),
                Err(Failed::Lost(failure)) => return Err(failure.or_done()),
                Err(Failed::Unreached(failure) | Failed::Refused(failure)) => return Err(failure),
            };
            if Instant::now() + pause > until {
                return Err(failure);
            }
            tell(format_args!("{}; it is asked again", failure.message));
            tokio::time::sleep(pause).await;
            is_repeated = true;
        }
    }

    async fn once(&self, ask: &Ask) -> Result<(Url, String), Failed> {
        let (url, response) = self.send(ask).await?;
        let text = response.text().await.map_err(|error| self.failed(&error))?;
        Ok((url, text))
    }

    /// Asks once, and gives a good answer's head.
    pub async fn stream(&self, ask: &Ask) -> Result<Response, Failure> {
        match self.send(ask).await {
            Ok((_, response)) => Ok(response),
            Err(Failed::Busy(_, why) | Failed::Unreached(why) | Failed::Lost(why) | Failed::Refused(why)) => Err(why),
        }
    }

    async fn send(&self, ask: &Ask) -> Result<(Url, Response), Failed> {
        let (url, request) = self.request(ask);
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        if response.status().is_success() && content_type(&response).starts_with(ask.kind) {
            return Ok((url, response));
        }
        Err(refused(&url, response, ask.is_repeatable).await)
    }

    fn request(&self, ask: &Ask) -> (Url, RequestBuilder) {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(&ask.path);
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let mut request = self.client.request(ask.method.clone(), url.clone());
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key);
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &ask.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        url.set_query(None);
        (url, request)
    }

    /// What it means that nothing came.
    pub fn lost(&self, error: &reqwest::Error) -> Failure {
        match self.failed(error) {
            Failed::Busy(_, why) | Failed::Unreached(why) | Failed::Lost(why) | Failed::Refused(why) => why,
        }
    }

    fn failed(&self, error: &reqwest::Error) -> Failed {
        let (url, cause) = (self.url(), cause(error));
        if error.is_connect() {
            let message = format!(
                "{url} cannot be reached: {cause}; does `tasker serve` run there, and is --server (TASKER_SERVER) right?"
            );
            return Failed::Unreached(Failure::unable(message));
        }
        if error.is_timeout() {
            return Failed::Lost(Failure::unable(format!(
                "{url} says nothing for {} s: is it a Tasker server?",
                SILENCE.as_secs()
            )));
        }
        Failed::Lost(Failure::unable(format!(
            "{url} ended the connection without an answer ({cause}): is it a Tasker server, and does it run?"
        )))
    }
}

impl Failure {
    /// What was asked for may have been done.
    fn or_done(self) -> Failure {
        let message =
            format!("{}\nwhat was asked for may have been done or not: look with `tasker task show`", self.message);
        Failure { message, ..self }
    }
}

/// The problem that a server tells of.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
    code: String,
}

async fn refused(url: &Url, response: Response, is_repeatable: bool) -> Failed {
    let status = response.status();
    let header =
        |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let (wait, place) = (header(RETRY_AFTER), header(LOCATION));
    let pause = wait.and_then(|seconds| seconds.parse().ok()).map_or(PAUSE, Duration::from_secs);
    let is_problem = content_type(&response).starts_with("application/problem+json");
    let text = response.text().await.unwrap_or_default();
    let problem = if is_problem { serde_json::from_str::<Problem>(&text).ok() } else { None };
    let failure = match problem {
        Some(Problem { title, detail, code }) => match status.as_u16() {
            // what it says is what the database would have
            400 | 404 | 409 | 410 | 413 | 415 | 422 if code != "unknown_route" => Failure::misused(detail),
            401 => Failure::unable(format!(
                "{url} answers 401 {title}: {detail}; a key goes into the variable TASKER_KEY, or into a file for --key-file"
            )),
            404 => Failure::unable(format!("{url} answers 404 {title}: {detail}; is --server (TASKER_SERVER) right?")),
            number => Failure::unable(format!("{url} answers {number} {title}: {detail}")),
        }
        .coded(&code),
        None => match place {
            Some(place) if status.is_redirection() => {
                Failure::unable(format!("{url} answers {status}, and leads to {place}: give --server (TASKER_SERVER) the URL behind that"))
            }
            _ => alien(url, status, &text),
        },
    };
    match status {
        // nothing was done
        StatusCode::TOO_MANY_REQUESTS => Failed::Busy(pause, failure),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT if is_repeatable => {
            Failed::Busy(pause, failure)
        }
        // a proxy knows less than the server, which says it itself
        status if status.is_server_error() && !is_repeatable && failure.code.is_none() => {
            Failed::Refused(failure.or_done())
        }
        _ => Failed::Refused(failure),
    }
}

/// An answer that no Tasker server gives.
fn alien(url: &Url, status: StatusCode, text: &str) -> Failure {
    let text = match one_line(text, 80) {
        text if text.is_empty() => "nothing".into(),
        text => format!("{text:?}"),
    };
    Failure::unable(format!(
        "{url} answers {status} with {text}, as no Tasker server does: is --server (TASKER_SERVER) right?"
    ))
}

fn content_type(response: &Response) -> String {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.unwrap_or_default().to_ascii_lowercase()
}

/// What lies at the bottom of an error.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A server's URL, with or without the `/v1` that the server says itself.
fn read_url(text: &str) -> Result<Url, String> {
    let Some((scheme, _)) = text.split_once("://") else {
        return Err(format!("`{text}` has no scheme; perhaps http://{text}"));
    };
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err(format!(
            "it begins with http:// or https://, and not with {scheme}://; a database is given to --database"
        ));
    }
    let mut url = Url::parse(text).map_err(|why| format!("`{text}`: {why}"))?;
    // not repeated: it may be a password
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a key does not stand in it: it goes into the variable TASKER_KEY, or into a file for --key-file".into()
        );
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The key from the file, or from the environment.
fn key(file: Option<&PathBuf>) -> Result<Option<HeaderValue>, Failure> {
    let (text, place) = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|why| Failure::misused(format!("--key-file: {} cannot be read: {why}", file.display())))?;
            (text, format!("the file {}", file.display()))
        }
        None => (std::env::var("TASKER_KEY").unwrap_or_default(), "TASKER_KEY".into()),
    };
    let text = text.trim();
    if text.is_empty() && file.is_none() {
        return Ok(None);
    }
    let is_key = text.starts_with("tasker_") && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    let value = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| is_key);
    let mut value = value.ok_or_else(|| Failure::misused(format!("{place} holds no key: one begins with tasker_")))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_url_is_taken_as_people_write_it() {
        let asked = |url: &str| {
            let server = Server { url: read_url(url).unwrap(), key: None, key_file: None, client: Client::new() };
            let ask = Ask::get(&["named_tasks", "shop", "a/b", "1.0.0+c"])
                .with("name", Some("x y&z"))
                .with("before", None::<i32>);
            let request = server.request(&ask).1.build().unwrap();
            (server.url().to_owned(), request.url().as_str().to_owned())
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let path = "/v1/named_tasks/shop/a%2Fb/1.0.0+c?name=x+y%26z";
        for (url, named) in [
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://localhost:8080/v1", "http://localhost:8080"),
            ("HTTPS://Tasker.example/v1/", "https://tasker.example"),
            ("https://host/behind/a/proxy/?x#y", "https://host/behind/a/proxy"),
        ] {
            assert_eq!(asked(url), (named.to_owned(), format!("{named}{path}")));
        }
        assert!(["localhost", "127.0.0.1", "127.8.0.1", "[::1]"].iter().all(|host| is_loopback(host)));
        assert!(["localhost.example", "10.0.0.1", "[::2]"].iter().all(|host| !is_loopback(host)));
    }
}
