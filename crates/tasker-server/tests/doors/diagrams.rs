//! Pictures: what is on them, and that a large graph is drawn, too.

use std::{fs, path::Path};

use expect_test::expect;
use serde_json::json;
use tasker::workflow::Definition;
use tasker_server::diagram::{Format, of_definition};

use crate::support::{wide, with_doors};

const PARCEL: &str = "
name: parcel
namespace: shop
version: 1.0.0
steps:
- { name: pack, handler: app.pack }
- { name: weigh, handler: app.weigh }
- { name: send, handler: app.send, depends_on: [pack, weigh] }
";

#[test]
fn a_task_is_drawn_with_its_states_in_every_format() {
    with_doors(async |doors| {
        doors.register(PARCEL).await.ok();
        doors.play(&["app.pack", "app.weigh", "app.send"], "app.weigh");
        let task = doors.submit("parcel", json!({})).await;
        doors.db.run_until_idle().await.unwrap();
        let drawn = async |format: &str| {
            let answer = doors.get(&format!("/v1/tasks/{task}/diagram?format={format}")).await;
            answer.ok_status(format);
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            (answer.header("content-type").to_owned(), String::from_utf8(answer.body).unwrap())
        };
        let (kind, mermaid) = drawn("mermaid").await;
        assert_eq!(kind, "text/plain; charset=utf-8");
        expect![[r#"
            ---
            title: "shop.parcel 1.0.0"
            ---
            flowchart TD
              s0["pack<br/>complete"]:::complete
              s1["weigh<br/>failed"]:::failed
              s2["send<br/>pending"]:::pending
              s0 --> s2
              s1 --> s2
              classDef pending fill:#f6f8fa,stroke:#8c959f,color:#1c2128
              classDef ready fill:#fff8c5,stroke:#9a6700,color:#1c2128
              classDef in_progress fill:#ddf4ff,stroke:#0969da,color:#1c2128
              classDef complete fill:#dafbe1,stroke:#1a7f37,color:#1c2128
              classDef failed fill:#ffebe9,stroke:#cf222e,color:#1c2128
              classDef cancelled fill:#eaeef2,stroke:#57606a,color:#1c2128
              classDef resolved_manually fill:#dafbe1,stroke:#1a7f37,color:#1c2128
              classDef skipped fill:#eaeef2,stroke:#8c959f,color:#1c2128
        "#]]
        .assert_eq(&mermaid);
        let (kind, dot) = drawn("dot").await;
        assert_eq!(kind, "text/vnd.graphviz; charset=utf-8");
        expect![[r##"
            digraph "shop.parcel 1.0.0" {
              rankdir=TB;
              node [shape=box, style="rounded,filled", fillcolor="#f6f8fa", fontname="sans-serif"];
              0 [label="pack\ncomplete", fillcolor="#dafbe1", color="#1a7f37"];
              1 [label="weigh\nfailed", fillcolor="#ffebe9", color="#cf222e"];
              2 [label="send\npending", fillcolor="#f6f8fa", color="#8c959f"];
              0 -> 2;
              1 -> 2;
            }
        "##]]
        .assert_eq(&dot);
        let json = doors.get(&format!("/v1/tasks/{task}/diagram?format=json")).await.ok();
        let weigh = &json["nodes"][1];
        assert_eq!((&weigh["current_state"], &weigh["blocking_reason"]), (&json!("failed"), &json!("not_retryable")));
        assert_eq!(json["edges"], json!([{ "from": 0, "to": 2 }, { "from": 1, "to": 2 }]));
        let (kind, svg) = drawn("svg").await;
        assert_eq!(kind, "image/svg+xml");
        assert!(
            svg.contains("class=\"n failed\"")
                && svg.contains("\u{2717} failed 1/3")
                && svg.contains("\u{2713} complete"),
            "{svg}"
        );
        // without states
        let plain = doors.get("/v1/named_tasks/shop/parcel/1.0.0/diagram?format=mermaid").await;
        assert!(String::from_utf8(plain.body).unwrap().contains("s0[\"pack\"]\n"));
        for (path, status, code) in [
            ("/v1/named_tasks/shop/parcel/9.0.0/diagram".to_owned(), 404, "unknown_workflow"),
            ("/v1/tasks/01900000-0000-7000-8000-000000000000/diagram".into(), 404, "unknown_task"),
            (format!("/v1/tasks/{task}/diagram?format=png"), 422, "bad_query"),
        ] {
            assert_eq!(doors.get(&path).await.refusal(), (status, code.to_owned()), "{path}");
        }
    });
}

/// The points of an edge's line, close to each other: `M`, then `C` and `V`.
fn points(line: &str) -> Vec<(f64, f64)> {
    let (mut points, mut at) = (Vec::new(), (0.0, 0.0));
    for part in line.split(['M', 'C', 'V']) {
        let numbers: Vec<f64> = part.split_whitespace().map(|number| number.parse().unwrap()).collect();
        match numbers[..] {
            [] => {}
            [y] => points.extend((0..=8).map(|n| (at.0, at.1 + (y - at.1) * f64::from(n) / 8.0))),
            [x, y] => points.push((x, y)),
            [x1, y1, x2, y2, x, y] => points.extend((0..=16).map(|n| {
                let t = f64::from(n) / 16.0;
                let of = |a: f64, b: f64, c: f64, d: f64| {
                    let s = 1.0 - t;
                    s * s * s * a + 3.0 * s * s * t * b + 3.0 * s * t * t * c + t * t * t * d
                };
                (of(at.0, x1, x2, x), of(at.1, y1, y2, y))
            })),
            _ => panic!("{line}"),
        }
        at = points.last().copied().unwrap_or(at);
    }
    points
}

/// A chain of which the last waits for all: its edges pass half a million levels, and go straight.
#[test]
fn edges_that_pass_too_many_levels_go_straight() {
    let step = |n: usize| match n {
        0 => "[]".to_owned(),
        999 => format!("[{}]", (0..999).map(|p| format!("s{p}")).collect::<Vec<_>>().join(", ")),
        _ => format!("[s{}]", n - 1),
    };
    let steps: String =
        (0..1000).map(|n| format!("- {{name: s{n}, handler: app.do, depends_on: {}}}\n", step(n))).collect();
    let yaml = format!("name: fan\nversion: 1.0.0\nsteps:\n{steps}");
    let svg = of_definition(&Definition::from_yaml("a test", yaml.as_bytes(), None, &[]).unwrap(), Format::Svg);
    let lines = svg.lines().filter(|line| line.contains("class=\"e\""));
    assert!(lines.clone().all(|line| !line.contains('V')));
    assert_eq!(lines.count(), 998 + 999);
}

/// No two nodes lie over each other, parents lie above their children, no edge runs behind a node, and everything lies within the picture.
fn check(definition: &Definition) {
    let drawn: serde_json::Value = serde_json::from_str(&of_definition(definition, Format::Json)).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let nodes: Vec<(f64, f64, f64)> = drawn["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (number(&node["x"]), number(&node["y"]), number(&node["width"])))
        .collect();
    let name = &definition.name;
    assert_eq!(nodes.len(), definition.steps.len(), "{name}");
    let (width, height) = (number(&drawn["width"]), number(&drawn["height"]));
    let is_inside =
        |(x, y, w): &(f64, f64, f64)| x - w / 2.0 >= 0.0 && x + w / 2.0 <= width && *y >= 0.0 && y + 20.0 <= height;
    assert!(nodes.iter().all(is_inside), "{name}: something lies outside");
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by(|a, b| (nodes[*a].1, nodes[*a].0).partial_cmp(&(nodes[*b].1, nodes[*b].0)).unwrap());
    for pair in order.windows(2) {
        let ((x, y, w), (next_x, next_y, next_w)) = (nodes[pair[0]], nodes[pair[1]]);
        assert!(y != next_y || x + w / 2.0 < next_x - next_w / 2.0, "{name}: {pair:?} lie over each other");
    }
    for (to, step) in definition.steps.iter().enumerate() {
        assert!(
            step.parents.iter().all(|from| nodes[*from as usize].1 < nodes[to].1),
            "{name}: {to} stands above a parent"
        );
    }
    let svg = of_definition(definition, Format::Svg);
    let lines = svg.lines().filter(|line| line.contains("class=\"e\""));
    let mut seen = 0;
    for line in lines.filter_map(|line| line.split(" d=\"").nth(1)?.split('"').next()) {
        for (x, y) in points(line) {
            let behind =
                nodes.iter().position(|node| (y - node.1).abs() < 19.5 && (x - node.0).abs() < node.2 / 2.0 - 0.5);
            assert_eq!(behind, None, "{name}: {line} runs behind a node");
            assert!((0.0..=width).contains(&x), "{name}: {line} lies outside");
        }
        seen += 1;
    }
    assert_eq!(seen, definition.steps.iter().map(|step| step.parents.len()).sum::<usize>(), "{name}");
}

#[test]
fn everything_has_a_place_of_its_own() {
    let of =
        |yaml: &str| Definition::from_yaml("a test", yaml.as_bytes(), None, &[]).unwrap_or_else(|why| panic!("{why}"));
    check(&of(PARCEL));
    for steps in [3, 50, 1000] {
        check(&of(&wide("wide", steps)));
    }
    // a chain; many that stand alone; layers of which each step waits for all before it
    let head = |name: &str| format!("name: {name}\nversion: 1.0.0\nsteps:\n");
    let step = |n: usize, parents: &[String]| {
        format!("- {{name: s{n}, handler: app.do, depends_on: [{}]}}\n", parents.join(", "))
    };
    let chain: String =
        (0..1000).map(|n| step(n, &(n.saturating_sub(1)..n).map(|p| format!("s{p}")).collect::<Vec<_>>())).collect();
    check(&of(&(head("chain") + &chain)));
    // of which each waits for steps far above it, too
    let far: String = (0..300)
        .map(|n| {
            step(
                n,
                &[10, 13].iter().filter(|back| n >= **back).map(|back| format!("s{}", n - back)).collect::<Vec<_>>(),
            )
        })
        .collect();
    check(&of(&(head("far") + &far)));
    let first: String = (0..40)
        .map(|n| step(n, &(0..n.min(1)).chain((1..n).rev().take(1)).map(|p| format!("s{p}")).collect::<Vec<_>>()))
        .collect();
    check(&of(&(head("first") + &first)));
    let alone: String = (0..1000).map(|n| step(n, &[])).collect();
    check(&of(&(head("alone") + &alone)));
    let dense: String = (0..1000)
        .map(|n| step(n, &(n.saturating_sub(n % 50 + 50)..n - n % 50).map(|p| format!("s{p}")).collect::<Vec<_>>()))
        .collect();
    check(&of(&(head("dense") + &dense)));
}

#[test]
fn the_examples_are_drawn() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut drawn = 0;
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let files = if entry.path().is_dir() {
            fs::read_dir(entry.path()).unwrap().flatten().map(|e| e.path()).collect()
        } else {
            vec![entry.path()]
        };
        for file in files.into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "yaml")) {
            check(&Definition::from_file(&file, &[]).unwrap_or_else(|why| panic!("{why}")));
            drawn += 1;
        }
    }
    assert!(drawn >= 4, "{drawn}");
}
