//! The OpenAPI document as a page to read, at `/docs`: written once, when the server starts, with a style of its own, no script, and nothing from elsewhere.

use std::fmt::Write;

use axum::{
    http::{HeaderName, header},
    response::Html,
};
use serde_json::{Map, Value};
use tasker::access::{Permission, Role};
use utoipa::openapi::OpenApi;

use crate::access::SCHEME;

const STYLE: &str = include_str!("docs.css");
/// Its own style, and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the page is sent with.
pub(crate) type Page = ([(HeaderName, &'static str); 2], Html<String>);

/// The page, to be sent.
pub(crate) fn page(document: &OpenApi) -> Page {
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    // plain data of our own
    (headers, Html(write(&serde_json::to_value(document).unwrap_or_default())))
}

/// An operation, where it stands, and what it is.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    said: &'a Value,
}

impl Operation<'_> {
    fn id(&self) -> &str {
        text(&self.said["operationId"])
    }
}

fn write(document: &Value) -> String {
    let operations: Vec<Operation> = members(&document["paths"])
        .flat_map(|(path, methods)| members(methods).map(move |(method, said)| Operation { method, path, said }))
        .collect();
    let title = escaped(text(&document["info"]["title"]));
    let (mut menu, mut main) = (String::new(), String::new());
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = text(&tag["name"]);
        let anchor = name.replace(' ', "-");
        let _ = write!(menu, "<h2><a href=\"#{anchor}\">{}</a></h2><ul>", escaped(name));
        let _ = write!(main, "<section><h2 id=\"{anchor}\">{}</h2>{}", escaped(name), prose(&tag["description"]));
        for operation in operations.iter().filter(|operation| operation.said["tags"][0] == name) {
            let (id, method) = (operation.id(), operation.method);
            let summary = escaped(text(&operation.said["summary"]));
            let _ = write!(menu, "<li><a href=\"#{id}\"><b class=\"{method}\">{method}</b>{summary}</a></li>");
            self::operation(&mut main, operation);
        }
        menu += "</ul>";
        main += "</section>";
    }
    menu += "<h2><a href=\"#schemas\">schemas</a></h2><ul>";
    main += "<section><h2 id=\"schemas\">schemas</h2>";
    for (name, schema) in members(&document["components"]["schemas"]) {
        // a page's things are what is of interest
        if name.starts_with("Page_") {
            continue;
        }
        let _ = write!(menu, "<li><a href=\"#schema-{name}\">{name}</a></li>");
        let _ = write!(main, "<article><h3 id=\"schema-{name}\">{name}</h3>{}", prose(&schema["description"]));
        self::schema(&mut main, schema);
        main += "</article>";
    }
    menu += "</ul>";
    main += "</section>";
    let (version, about) = (escaped(text(&document["info"]["version"])), prose(&document["info"]["description"]));
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><body><nav>{menu}</nav><main><h1>{title} <small>{version}</small></h1>{about}\
         <p>For programs: <a href=\"openapi.json\">openapi.json</a>. A key is sent as <code>Authorization: Bearer tasker_..</code>; a server without \
         keys answers this machine's own programs only. A list is a page: its <code>items</code>, and <code>next</code>, with which the next page is \
         asked for, or <code>null</code>. What goes wrong is a <a href=\"#schema-Problem\">Problem</a>.</p>{main}</main></body></html>\n"
    )
}

fn operation(out: &mut String, operation: &Operation) {
    let Operation { method, path, said } = operation;
    let _ = write!(
        out,
        "<article><h3 id=\"{}\">{}</h3><p class=\"route\"><b class=\"{method}\">{method}</b><code>{}</code></p>{}",
        operation.id(),
        escaped(text(&said["summary"])),
        escaped(path),
        prose(&said["description"])
    );
    if let Some(permission) = said["security"][0][SCHEME][0].as_str().and_then(Permission::of) {
        let roles: Vec<&str> = Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::as_str).collect();
        let who = if roles.len() == Role::ALL.len() { "every key".to_owned() } else { roles.join(", ") };
        let _ = write!(out, "<p class=\"may\">For {who}.</p>");
    }
    let parameters = said["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        *out += "<h4>Parameters</h4><table>";
        for parameter in parameters {
            let place = format!("in the {}", text(&parameter["in"]));
            let about = match prose(&parameter["description"]) {
                about if about.is_empty() => prose(&parameter["schema"]["description"]),
                about => about,
            };
            row(
                out,
                text(&parameter["name"]),
                &kind(&parameter["schema"]),
                parameter["required"] == true,
                &place,
                &about,
            );
        }
        *out += "</table>";
    }
    if said["requestBody"].is_object() {
        let _ = write!(out, "<h4>Body</h4><p>{}</p>", content(&said["requestBody"]["content"]));
    }
    *out += "<h4>Answers</h4><dl>";
    let (good, bad): (Vec<_>, Vec<_>) = members(&said["responses"]).partition(|(status, _)| status.starts_with('2'));
    for (status, response) in good {
        let _ = write!(
            out,
            "<dt>{status}</dt><dd>{} {}</dd>",
            content(&response["content"]),
            marked(text(&response["description"]))
        );
    }
    let bad: Vec<String> = bad
        .iter()
        .map(|(status, response)| {
            format!("<abbr title=\"{}\">{status}</abbr>", escaped(text(&response["description"])))
        })
        .collect();
    let _ =
        write!(out, "<dt>else</dt><dd><a href=\"#schema-Problem\">Problem</a>: {}</dd></dl></article>", bad.join(" "));
}

/// A body's types.
fn content(content: &Value) -> String {
    let one = |(of, said): (&str, &Value)| match kind(&said["schema"]) {
        kind if kind == "string" => format!("<code>{}</code>", escaped(of)),
        kind => format!("{kind} <small>{}</small>", escaped(of)),
    };
    members(content).map(one).collect::<Vec<_>>().join(", or ")
}

fn schema(out: &mut String, schema: &Value) {
    let mut parts = vec![schema];
    for word in ["allOf", "oneOf", "anyOf"] {
        parts.extend(schema[word].as_array().into_iter().flatten());
    }
    for part in parts {
        if part["$ref"].is_string() {
            let _ = write!(out, "<p>All of {}, and:</p>", kind(part));
        }
        if part["enum"].is_array() {
            let _ = write!(out, "<p>{}</p>", kind(part));
        } else if let Some(word) = part["const"].as_str() {
            let _ = write!(out, "<p><code>{}</code>: {}</p>", escaped(word), marked(text(&part["description"])));
        }
        let required: Vec<&str> = part["required"].as_array().into_iter().flatten().map(text).collect();
        if members(&part["properties"]).next().is_some() {
            *out += "<table>";
            for (name, property) in members(&part["properties"]) {
                let about = match prose(&property["description"]) {
                    about if about.is_empty() => prose(&property["oneOf"][0]["description"]),
                    about => about,
                };
                row(out, name, &kind(property), required.contains(&name), "", &about);
            }
            *out += "</table>";
        }
    }
}

fn row(out: &mut String, name: &str, kind: &str, is_required: bool, place: &str, about: &str) {
    let is_said = is_required && place != "in the path";
    let more = [place, if is_said { "required" } else { "" }].into_iter().filter(|word| !word.is_empty());
    let more = more.collect::<Vec<_>>().join(", ");
    let _ = write!(out, "<tr><th><code>{}</code><td>{kind}<br><small>{more}</small><td>{about}", escaped(name));
}

/// A schema in words, with links to those that have a name.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|place| place.rsplit('/').next()) {
        return match name.strip_prefix("Page_") {
            Some(of) => format!("page of <a href=\"#schema-{of}\">{of}</a>"),
            None => format!("<a href=\"#schema-{name}\">{name}</a>"),
        };
    }
    if let Some(words) = schema["enum"].as_array() {
        let words = words.iter().map(|word| format!("<code>{}</code>", escaped(text(word))));
        return words.collect::<Vec<_>>().join(" ");
    }
    if let Some(choices) = ["oneOf", "anyOf", "allOf"].iter().find_map(|word| schema[*word].as_array()) {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::Array(names) => names.iter().map(text).collect(),
        name => vec![text(name)],
    };
    let name = |name: &&str| match (*name, schema["format"].as_str()) {
        ("array", _) => format!("list of {}", kind(&schema["items"])),
        ("string", Some("date-time")) => "instant".into(),
        ("string", Some("uuid")) => "id".into(),
        ("", _) => "any JSON".into(),
        (name, _) => name.to_owned(),
    };
    names.iter().map(name).collect::<Vec<_>>().join(" or ")
}

fn members(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let object: Option<&Map<String, Value>> = object.as_object();
    object.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A description as paragraphs.
fn prose(description: &Value) -> String {
    let paragraphs = text(description).split("\n\n").filter(|paragraph| !paragraph.trim().is_empty());
    paragraphs.map(|paragraph| format!("<p>{}</p>", marked(paragraph))).collect()
}

/// Escaped, and code where there are backticks.
fn marked(text: &str) -> String {
    let mut out = String::new();
    for (n, part) in text.split('`').enumerate() {
        let part = escaped(part);
        out += &if n % 2 == 1 { format!("<code>{part}</code>") } else { part };
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
