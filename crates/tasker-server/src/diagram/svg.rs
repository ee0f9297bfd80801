//! The picture as SVG: light and dark as its reader has it, and no state by its colour alone.

use std::fmt::Write;

use tasker::{readiness::StepReadinessStatus, store::Graph};

use super::{
    Layout,
    layout::{HEIGHT, LETTERS},
    word,
};

const STYLE: &str = "\
svg{font:13px system-ui,sans-serif;background:#fff;color:#1c2128}\
.e{fill:none;stroke:#8c959f;stroke-width:1.2}.a{fill:#8c959f}\
.n rect{fill:#f6f8fa;stroke:#8c959f;stroke-width:1.2}.n text{fill:#1c2128;text-anchor:middle}.n .s{font-size:10.5px;fill:#57606a}\
.ready rect{fill:#fff8c5;stroke:#9a6700}.in_progress rect{fill:#ddf4ff;stroke:#0969da;stroke-width:2}\
.complete rect,.resolved_manually rect{fill:#dafbe1;stroke:#1a7f37}.skipped rect{fill:#eaeef2;stroke-dasharray:4 3}\
.failed rect{fill:#ffebe9;stroke:#cf222e;stroke-width:2}.cancelled rect{fill:#eaeef2;stroke:#57606a;stroke-dasharray:2 2}\
@media(prefers-color-scheme:dark){svg{background:#0d1117;color:#e6edf3}.n rect{fill:#161b22}.n text{fill:#e6edf3}.n .s{fill:#9da7b3}\
.ready rect{fill:#341a00}.in_progress rect{fill:#0c2d6b}.complete rect,.resolved_manually rect{fill:#033a16}\
.failed rect{fill:#490202}.skipped rect,.cancelled rect{fill:#21262d}}";

/// Writes it.
pub(super) fn write(graph: &Graph, layout: &Layout, standings: Option<&[StepReadinessStatus]>) -> String {
    let Layout { places, ways, width, height } = layout;
    let title = escaped(&graph.title);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title><style>{STYLE}</style>\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"a\" d=\"M0 0 8 4 0 8z\"/></marker></defs>\n"
    );
    for ((from, to), way) in graph.edges.iter().zip(ways) {
        let ((x, y, _), (to_x, to_y, _)) = (places[*from], places[*to]);
        let mut line = format!("M{x} {}", y + HEIGHT / 2.0);
        let mut last = (x, y + HEIGHT / 2.0);
        // from level to level in a curve, past a level's steps straight
        for (x, y) in way.iter().copied().chain([(to_x, to_y)]) {
            let (above, bend) = (y - HEIGHT / 2.0, (y - HEIGHT / 2.0 - last.1) / 2.0);
            let _ = write!(line, "C{} {} {x} {} {x} {above}", last.0, last.1 + bend, above - bend);
            last = (x, y + HEIGHT / 2.0);
            if y < to_y {
                let _ = write!(line, "V{}", last.1);
            }
        }
        let _ = writeln!(out, "<path class=\"e\" marker-end=\"url(#a)\" d=\"{line}\"/>");
    }
    for (number, (node, (x, y, node_width))) in graph.nodes.iter().zip(places).enumerate() {
        let standing = standings.and_then(|standings| standings.get(number));
        let class = standing.map_or("", word);
        let below = match standing {
            None => node.handler.clone(),
            Some(standing) => below(standing),
        };
        let why = standing.and_then(|standing| standing.blocking_reason.as_deref()).unwrap_or_default();
        let _ = writeln!(
            out,
            "<g class=\"n {class}\" data-step=\"{number}\"><title>{} ({}) {} {why}</title><rect x=\"{}\" y=\"{}\" width=\"{node_width}\" height=\"{HEIGHT}\" rx=\"6\"/>\
             <text x=\"{x}\" y=\"{}\">{}</text><text class=\"s\" x=\"{x}\" y=\"{}\">{}</text></g>",
            escaped(&node.name),
            escaped(&node.handler),
            escaped(&below),
            x - node_width / 2.0,
            y - HEIGHT / 2.0,
            y - 2.0,
            escaped(&short(&node.name, LETTERS)),
            y + 13.0,
            escaped(&short(&below, LETTERS)),
        );
    }
    out + "</svg>\n"
}

/// A step's state in words, with a sign.
fn below(standing: &StepReadinessStatus) -> String {
    let StepReadinessStatus { attempts, retry_limit, blocking_reason, .. } = standing;
    match (word(standing), blocking_reason.as_deref()) {
        ("complete", _) => "\u{2713} complete".into(),
        ("resolved_manually", _) => "\u{2713} resolved manually".into(),
        ("failed", Some("waiting_for_retry")) => format!("\u{21bb} waits for retry {attempts}/{retry_limit}"),
        ("failed", _) => format!("\u{2717} failed {attempts}/{retry_limit}"),
        ("in_progress", _) => format!("\u{25b6} in progress {attempts}/{retry_limit}"),
        ("ready", _) => "\u{25cb} ready".into(),
        ("pending", Some(why)) if why != "dependencies_not_satisfied" => format!("\u{25cb} {}", why.replace('_', " ")),
        ("pending", _) => "\u{25cb} pending".into(),
        (word, _) => format!("\u{2212} {}", word.replace('_', " ")),
    }
}

/// What is too long loses its middle: long names begin alike.
fn short(text: &str, letters: usize) -> String {
    let length = text.chars().count();
    match length > letters {
        true => text
            .chars()
            .take(letters / 3)
            .chain(['\u{2026}'])
            .chain(text.chars().skip(length + 1 + letters / 3 - letters))
            .collect(),
        false => text.to_owned(),
    }
}

/// Text between tags or quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}
