//! What the routes are, as a document: it changes only when somebody says so.

use std::collections::BTreeSet;

use expect_test::expect_file;
use serde_json::Value;

use crate::support::with_doors;

#[test]
fn the_document_is_the_one_that_was_agreed_on() {
    with_doors(async |doors| {
        let document = doors.get("/openapi.json").await.ok();
        expect_file!["../../openapi.json"].assert_eq(&format!("{document:#}\n"));
        assert_eq!(document["openapi"], "3.1.0");
        // every reference leads somewhere, every route has a sentence, and every thing in it is described
        let mut wrong = BTreeSet::new();
        walk(&document, &document, &mut wrong);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for (name, schema) in schemas {
            for (property, value) in schema["properties"].as_object().into_iter().flatten() {
                let is_said =
                    value["description"].is_string() || value["$ref"].is_string() || value["oneOf"].is_array();
                if !is_said {
                    wrong.insert(format!("{name}.{property} is not described"));
                }
            }
        }
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if !operation["summary"].is_string() || !operation["operationId"].is_string() {
                    wrong.insert(format!("{method} {path} does not say what it does"));
                }
                if operation["responses"]["503"].is_null() {
                    wrong.insert(format!("{method} {path} does not say what goes wrong"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

/// Everything that the document has stands on the page, every link on it leads somewhere, and nothing comes from elsewhere.
#[test]
fn the_page_has_what_the_document_has_and_loads_nothing() {
    with_doors(async |doors| {
        let document = doors.get("/openapi.json").await.ok();
        let page = doors.get("/docs").await;
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline'"), "{policy}");
        let page = String::from_utf8(page.body).unwrap();
        for word in ["<script", "http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(word), "the page has {word}");
        }
        let ids: BTreeSet<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let links = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next());
        let mut wrong: BTreeSet<String> =
            links.filter(|link| !ids.contains(link)).map(|link| format!("#{link} leads nowhere")).collect();
        let mut has = |what: &str, id: &str| {
            if !ids.contains(id) {
                wrong.insert(format!("{what} is not on the page"));
            }
        };
        for methods in document["paths"].as_object().unwrap().values() {
            for operation in methods.as_object().unwrap().values() {
                let id = operation["operationId"].as_str().unwrap();
                has(id, id);
            }
        }
        for name in
            document["components"]["schemas"].as_object().unwrap().keys().filter(|name| !name.starts_with("Page_"))
        {
            has(name, &format!("schema-{name}"));
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(page.contains("<p class=\"may\">For operator, admin.</p>") && page.contains("unique_while_live"));
    });
}

fn walk(value: &Value, document: &Value, wrong: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str)
                && document.pointer(reference.trim_start_matches('#')).is_none()
            {
                wrong.insert(format!("{reference} leads nowhere"));
            }
            members.values().for_each(|value| walk(value, document, wrong));
        }
        Value::Array(items) => items.iter().for_each(|value| walk(value, document, wrong)),
        _ => {}
    }
}
