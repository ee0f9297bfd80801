//! The picture as text that others draw.

use std::fmt::Write;

use serde_json::{Value, json};

use tasker::{readiness::StepReadinessStatus, store::Graph};

use super::{Layout, layout::HEIGHT, word};

/// States and their colours: the box, and its frame.
const COLOURS: [(&str, &str, &str); 8] = [
    ("pending", "#f6f8fa", "#8c959f"),
    ("ready", "#fff8c5", "#9a6700"),
    ("in_progress", "#ddf4ff", "#0969da"),
    ("complete", "#dafbe1", "#1a7f37"),
    ("failed", "#ffebe9", "#cf222e"),
    ("cancelled", "#eaeef2", "#57606a"),
    ("resolved_manually", "#dafbe1", "#1a7f37"),
    ("skipped", "#eaeef2", "#8c959f"),
];

/// Mermaid's flowchart.
pub(super) fn mermaid(graph: &Graph, standings: Option<&[StepReadinessStatus]>) -> String {
    let mut out = format!("---\ntitle: {}\n---\nflowchart TD\n", json!(graph.title));
    // Mermaid's own sign for a quotation mark
    let quoted = |text: &str| text.replace('"', "#quot;").replace(['\n', '\r'], " ");
    for (number, node) in graph.nodes.iter().enumerate() {
        let word = standings.and_then(|standings| standings.get(number)).map(word);
        let state = word.map(|word| format!("<br/>{word}")).unwrap_or_default();
        let class = word.map(|word| format!(":::{word}")).unwrap_or_default();
        let _ = writeln!(out, "  s{number}[\"{}{state}\"]{class}", quoted(&node.name));
    }
    for (from, to) in &graph.edges {
        let _ = writeln!(out, "  s{from} --> s{to}");
    }
    if standings.is_some() {
        for (word, fill, stroke) in COLOURS {
            let _ = writeln!(out, "  classDef {word} fill:{fill},stroke:{stroke},color:#1c2128");
        }
    }
    out
}

/// Graphviz's language.
pub(super) fn dot(graph: &Graph, standings: Option<&[StepReadinessStatus]>) -> String {
    let quoted =
        |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " "));
    let mut out = format!(
        "digraph {} {{\n  rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fillcolor=\"#f6f8fa\", fontname=\"sans-serif\"];\n",
        quoted(&graph.title)
    );
    for (number, node) in graph.nodes.iter().enumerate() {
        let word = standings.and_then(|standings| standings.get(number)).map(word);
        let colours = word.and_then(|word| COLOURS.iter().find(|(known, ..)| *known == word));
        let label = quoted(&node.name);
        let _ = match (word, colours) {
            (Some(word), Some((_, fill, stroke))) => writeln!(
                out,
                "  {number} [label={}\\n{word}\", fillcolor=\"{fill}\", color=\"{stroke}\"];",
                label.trim_end_matches('"')
            ),
            _ => writeln!(out, "  {number} [label={label}];"),
        };
    }
    for (from, to) in &graph.edges {
        let _ = writeln!(out, "  {from} -> {to};");
    }
    out + "}\n"
}

/// Everything with its place.
pub(super) fn json(graph: &Graph, layout: &Layout, standings: Option<&[StepReadinessStatus]>) -> String {
    let node = |number: usize| {
        let (node, (x, y, width)) = (&graph.nodes[number], layout.places[number]);
        let mut told = json!({
            "step_number": number, "name": node.name, "handler": node.handler, "level": node.level, "x": x, "y": y, "width": width, "height": HEIGHT,
        });
        if let Some(standing) = standings.and_then(|standings| standings.get(number)) {
            told["current_state"] = json!(standing.current_state);
            told["ready_for_execution"] = json!(standing.ready_for_execution);
            told["blocking_reason"] = json!(standing.blocking_reason);
            told["attempts"] = json!(standing.attempts);
            told["retry_limit"] = json!(standing.retry_limit);
        }
        told
    };
    let nodes: Vec<Value> = (0..graph.nodes.len()).map(node).collect();
    let edges: Vec<Value> = graph.edges.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
    json!({ "title": graph.title, "width": layout.width, "height": layout.height, "nodes": nodes, "edges": edges })
        .to_string()
}
