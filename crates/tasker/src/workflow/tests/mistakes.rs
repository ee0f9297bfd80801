//! What is said about mistakes in workflow files: whole messages with their lines and columns.

use crate::workflow::Definition;

/// A file, and what is wrong with it.
type Case = (&'static str, &'static [&'static str]);

fn check(cases: &[Case]) {
    for (text, expected) in cases {
        let refused = Definition::from_yaml("w.yaml", text.as_bytes(), None, &["known"]);
        let found = refused.map_or_else(|refused| refused.to_string(), |_| "nothing is wrong".into());
        assert_eq!(found, expected.join("\n"), "{text}");
    }
}

#[test]
fn files_that_are_no_workflow_are_refused() {
    check(&[
        ("", &["w.yaml:1:1: the file is empty; a workflow has at least `name`, `version` and `steps`"]),
        ("# nothing\n", &["w.yaml:2:1: the file is empty; a workflow has at least `name`, `version` and `steps`"]),
        (
            "- a\n- b\n",
            &[
                "w.yaml:1:1: a workflow is an object with `name`, `namespace`, `version`, `description`, `input`, `defaults` and `steps`, not a list",
            ],
        ),
        (
            "just text\n",
            &[
                "w.yaml:1:1: a workflow is an object with `name`, `namespace`, `version`, `description`, `input`, `defaults` and `steps`, not the text `just text`",
            ],
        ),
        ("name: a\nversion: 1.0.0\n", &["w.yaml:1:1: `steps` is missing"]),
        ("name: a\nversion: \"1.0.0\"\nsteps: []\n", &["w.yaml:3:8: a workflow has at least one step"]),
        ("name: a\nversion: \"1.0.0\"\nsteps:\n", &["w.yaml:3:6: `steps` must be a list, not nothing"]),
        ("name: a\nversion: \"1.0.0\"\nsteps: {a: 1}\n", &["w.yaml:3:8: `steps` must be a list, not an object"]),
    ]);
}

#[test]
fn wrong_words_and_types_are_refused() {
    check(&[
        (
            "name: a\nversion: 1.10\nsteps: [{name: a, handler: transform, with: {value: 1}}]\n",
            &[r#"w.yaml:2:10: `version` must be text, a semantic version: `version: "1.10.0"`"#],
        ),
        (
            "name: a\nversion: \"1.10\"\nsteps: [{name: a, handler: transform, with: {value: 1}}]\n",
            &["w.yaml:2:10: `version`: `1.10` is not a semantic version such as `1.0.0`; did you mean `1.10.0`?"],
        ),
        (
            "name: a\nversion: v1.2.3\nsteps: [{name: a, handler: transform, with: {value: 1}}]\n",
            &["w.yaml:2:10: `version`: `v1.2.3` is not a semantic version such as `1.0.0`; did you mean `1.2.3`?"],
        ),
        (
            "name: a\nversion: 1.2.3+4\nsteps: [{name: a, handler: transform, with: {value: 1}}]\n",
            &["w.yaml:2:10: `version`: `1.2.3+4` has build metadata (`+4`), which Tasker adds by itself"],
        ),
        (
            "name: My Flow
namespace: Shop
version: 1.0.0
steps: [{name: a-b, handler: transform, with: {value: 1}}]
",
            &[
                "w.yaml:1:7: `name`: `My Flow` is not a name: a name begins with a letter from a to z and goes on with such letters, digits and `_`, 63 in all at most; did you mean `my_flow`?",
                "w.yaml:2:12: `namespace`: `Shop` is not a name: a name begins with a letter from a to z and goes on with such letters, digits and `_`, 63 in all at most; did you mean `shop`?",
                "w.yaml:4:16: a step's name: `a-b` is not a name: a name begins with a letter from a to z and goes on with such letters, digits and `_`, 63 in all at most; did you mean `a_b`?",
            ],
        ),
        (
            "name: 5
version: 1.0.0
description: [x]
steps: [{name: true, handler: transform, with: {value: 1}}]
",
            &[
                r#"w.yaml:1:7: `name` must be text; put it in quotes: "5""#,
                "w.yaml:3:14: `description` must be text, not a list",
                r#"w.yaml:4:16: step number 1: `name` must be text; put it in quotes: "true""#,
            ],
        ),
        (
            r#"name: fulfil
version: 1.0.0
stpes: []
defaults:
  retries: 3
  timeout: 0s
  priority: urgent
  retry: {max_attempts: 0, base_delay: 10m, max_delay: 5}
steps:
  - name: reserve
    handler: comand
    wiht: {}
  - name: charge
    handler: transform
    with: {value: "{{ steps.reserve.result }}"}
    depends_on: reserve
  - name: ship
    handler: transform
    with: {value: 1}
    depends_on: [chrage, ship, reserve, reserve]
    retry: {max_attempts: many, base_delay: 1x, retryable: maybe}
    timeout: 5
    concurrency: {key: "customer..id", limt: 3}
    priority: hihg
  - name: ship
    handler: http
  - handler: known
  - nothing
  - name: last
"#,
            &[
                "w.yaml:3:1: unknown key `stpes`; did you mean `steps`?",
                "w.yaml:5:3: unknown key `retries`; `defaults` has `retry`, `timeout` and `priority`",
                "w.yaml:6:12: `defaults.timeout` must be longer than nothing",
                "w.yaml:7:13: `defaults.priority` must be one of `high`, `normal` and `low`, not the text `urgent`",
                "w.yaml:8:25: `defaults.retry.max_attempts` must be a number from 1 to 1000000, not 0",
                "w.yaml:8:40: `defaults.retry.base_delay` is 10m, above `max_delay`, which is 5m",
                "w.yaml:8:56: `defaults.retry.max_delay`: `5` has no unit; write `5s` or `5ms`",
                "w.yaml:11:14: step `reserve` has the unknown handler `comand`; did you mean `command`?",
                "w.yaml:12:5: step `reserve`: unknown key `wiht`; did you mean `with`?",
                "w.yaml:15:23: step `charge` refers to the result of `reserve`, which need not have run before it; add `reserve` to its `depends_on`",
                "w.yaml:16:17: step `charge`: `depends_on` must be a list; write `[reserve]`",
                "w.yaml:20:18: step `ship` depends on `chrage`, which this workflow does not have; did you mean `charge`?",
                "w.yaml:20:26: step `ship` depends on itself",
                "w.yaml:20:41: step `ship` depends on `reserve` twice",
                "w.yaml:21:27: step `ship`: `retry.max_attempts` must be a number from 1 to 1000000, not the text `many`",
                "w.yaml:21:45: step `ship`: `retry.base_delay`: `1x` has the unknown unit `x`; there are `d`, `h`, `m`, `s` and `ms`",
                "w.yaml:21:60: step `ship`: `retry.retryable` must be `true` or `false`, not the text `maybe`",
                "w.yaml:22:14: step `ship`: `timeout`: `5` has no unit; write `5s` or `5ms`",
                "w.yaml:23:18: step `ship`: `limit` is missing",
                "w.yaml:23:24: step `ship`: a concurrency `key` is a path of members in the input, such as `customer.id`; `` is no member's name",
                "w.yaml:23:40: step `ship`: unknown key `limt`; did you mean `limit`?",
                "w.yaml:24:15: step `ship`: `priority` must be one of `high`, `normal` and `low`, not the text `hihg`; did you mean `high`?",
                "w.yaml:25:5: step `ship`: `http` needs the argument `url`",
                "w.yaml:25:11: there are two steps with the name `ship`",
                "w.yaml:27:5: step number 5: `name` is missing",
                "w.yaml:28:5: step number 6: a step is an object with `name`, `handler`, `with`, `depends_on`, `retry`, `timeout`, `concurrency` and `priority`, not the text `nothing`",
                "w.yaml:29:5: step `last`: `handler` is missing: `command`, `http`, `render`, `sleep` and `transform`, or a function's name, such as `shop.fulfil.ship`",
            ],
        ),
    ]);
}

#[test]
fn wrong_edges_and_templates_are_refused() {
    check(&[
        (
            r#"name: c
version: 1.0.0
steps:
  - {name: a, handler: transform, with: {value: 1}, depends_on: [c]}
  - {name: b, handler: transform, with: {value: 1}, depends_on: [a]}
  - {name: c, handler: transform, with: {value: 1}, depends_on: [x, b]}
  - name: x
    handler: transform
    with: {value: "{{ steps.a.result }}"}
"#,
            &["w.yaml:4:66: these steps depend on each other in a circle: `a` on `c`, `c` on `b`, `b` on `a`"],
        ),
        (
            r#"name: t
version: 1.0.0
steps:
  - name: a
    handler: transform
    with:
      value: "{{ steps.b.result }}"
  - name: b
    handler: transform
    with:
      value: {x: ["{{ steps.a.result }}", "text {{ steps.cc.result }} {{ steps.b.result }}"], "{{ k }}": 1}
    depends_on: [a]
  - name: c
    handler: transform
    depends_on: [b]
    with:
      value: |
        {{ steps.a.result }}
        {% for x in stesp.a.result %}
          {{ x|uper }} {{ steps.nope.result }}
        {% endfor %}
  - name: d
    handler: transform
    with:
      value: "\"{{ 1 +* 2 }}\""
  - name: e
    handler: transform
    with:
      value: '{{ steps|items }}'
  - name: f
    handler: transform
    with:
      value: "{{ input.a"
  - name: g
    handler: known
    with:
      anything: "{{ output }}"
"#,
            &[
                "w.yaml:7:18: step `a` refers to the result of `b`, which need not have run before it; add `b` to its `depends_on`",
                "w.yaml:11:52: step `b` refers to the result of `cc`, which this workflow does not have; did you mean `c`?",
                "w.yaml:11:74: step `b` refers to its own result",
                "w.yaml:11:95: step `b`: a member's name cannot be a template",
                "w.yaml:19:21: step `c`: in its template, unknown variable `stesp`; did you mean `steps`?",
                "w.yaml:20:16: step `c`: in its template, unknown filter `uper`",
                "w.yaml:20:27: step `c` refers to the result of `nope`, which this workflow does not have",
                "w.yaml:25:23: step `d`: in its template, syntax error: unexpected `*`",
                "w.yaml:29:18: step `e`: in its template, `steps` must be followed by the name of a step, as in `steps.NAME.result`, so that what a template needs is known beforehand",
                "w.yaml:33:24: step `f`: in its template, syntax error: unexpected end of input, expected end of variable block",
                "w.yaml:37:21: step `g`: in its template, unknown variable `output`; there are `input`, `steps` and `secrets`",
            ],
        ),
    ]);
}

#[test]
fn wrong_arguments_are_refused() {
    check(&[(
        r#"name: w
version: 1.0.0
steps:
  - name: a
    handler: command
  - name: b
    handler: command
    with: {program: [x], args: one, env: [A], cwd: {}, output: jsn, select: 5, pogram: x}
  - name: c
    handler: command
    with: {program: "{{ input.p }}", args: [1, true, {}], env: {A: [1]}, select: "outptu.x"}
  - name: d
    handler: sleep
    with: {duration: 5, until: tomorrow}
  - name: e
    handler: sleep
    with: {}
  - name: f
    handler: render
    with: {template_file: x.html, path: 1}
  - name: g
    handler: render
    with: {template: "{{ output }}", template_file: x.html}
  - name: h
    handler: transform
    with: [1]
  - name: i
    handler: transform
    with: {value: 123456789012345678901234567890, other: 1}
  - name: j
    handler: command
    with: {program: ls, select: "output.a[steps.x.result]"}
"#,
        &[
            "w.yaml:4:5: step `a`: `command` needs the argument `program`",
            "w.yaml:8:21: step `b`: `program` must be text",
            "w.yaml:8:32: step `b`: `args` must be a list of texts",
            "w.yaml:8:42: step `b`: `env` must be an object of texts",
            "w.yaml:8:52: step `b`: `cwd` must be text",
            "w.yaml:8:64: step `b`: `output` is one of `json`, `lines` and `text`; did you mean `json`?",
            "w.yaml:8:77: step `b`: `select` must be text, an expression such as `output.name`",
            "w.yaml:8:80: step `b`: `command` takes no argument `pogram`; did you mean `program`?",
            "w.yaml:11:44: step `c`: `args` must be a list of texts",
            "w.yaml:11:64: step `c`: `env` must be an object of texts",
            "w.yaml:11:83: step `c`: in its template, unknown variable `outptu`; did you mean `output`?",
            "w.yaml:14:5: step `d`: `sleep` takes either `duration` or `until`",
            "w.yaml:14:22: step `d`: `duration` is a duration: `5` has no unit; write `5s` or `5ms`",
            "w.yaml:14:32: step `d`: `until` is an instant such as `2026-01-31T12:00:00Z`",
            "w.yaml:17:5: step `e`: `sleep` takes either `duration` or `until`",
            "w.yaml:20:27: step `f`: there are no files here; put the text into `template` itself",
            "w.yaml:23:5: step `g`: `render` needs the argument `path`",
            "w.yaml:23:26: step `g`: in its template, unknown variable `output`; there are `input` and `steps`",
            "w.yaml:23:53: step `g`: `render` takes either `template` or `template_file`",
            "w.yaml:26:11: step `h`: the `with` of `transform` is an object of its arguments",
            "w.yaml:29:19: step `i`: the number 123456789012345678901234567890 does not fit into 64 bits; put it in quotes",
            "w.yaml:29:51: step `i`: `transform` takes no argument `other`; it takes `value`",
            "w.yaml:32:43: step `j` refers to the result of `x`, which this workflow does not have",
        ],
    )]);
}

#[test]
fn wrong_schemas_are_refused() {
    check(&[
        (
            r#"name: s
version: 1.0.0
input:
  type: objekt
  properties:
    a: {type: string, minLength: -1}
    b: {pattern: "("}
    c: {$ref: "http://example.com/x"}
steps: [{name: a, handler: transform, with: {value: 1}}]
"#,
            &[
                r#"w.yaml:4:9: `input` is not a JSON Schema: "objekt" is not valid under any of the schemas listed in the 'anyOf' keyword"#,
                "w.yaml:6:34: `input` is not a JSON Schema: -1 is less than the minimum of 0",
            ],
        ),
        (
            r#"name: s
version: 1.0.0
input:
  properties:
    b: {pattern: "("}
steps: [{name: a, handler: transform, with: {value: 1}}]
"#,
            &[r#"w.yaml:5:18: `input` is not a JSON Schema: "(" is not a "regex""#],
        ),
        (
            r#"name: s
version: 1.0.0
input:
  properties:
    c: {$ref: "http://example.com/x"}
steps: [{name: a, handler: transform, with: {value: 1}}]
"#,
            &[
                "w.yaml:4:3: `input` is not a JSON Schema: Resource 'http://example.com/x' is not present in a registry and retrieving it failed: Retrieval is disabled, cannot fetch http://example.com/x",
            ],
        ),
        (
            r#"name: s
version: 1.0.0
input: [1]
steps: [{name: a, handler: transform, with: {value: "a\0b"}}]
"#,
            &[
                r#"w.yaml:3:8: `input` is not a JSON Schema: [1] is not of types "boolean", "object""#,
                "w.yaml:4:45: step `a`: in its `with`, a string in the JSON holds the NUL character, which PostgreSQL cannot store (at byte 11)",
            ],
        ),
    ]);
}

#[test]
fn files_that_are_no_yaml_are_refused() {
    check(&[
        ("name: a\n\tversion: 1\n", &["w.yaml:1:7: this is not YAML: while scanning a plain scalar, found a tab"]),
        ("name: a\nname: b\n", &["w.yaml:2:1: the key `name` is here a second time"]),
        ("name: a\n---\nname: b\n", &["w.yaml:3:1: a file holds one workflow, and here a second document begins"]),
        ("name: [a\n", &["w.yaml:1:7: this is not YAML: unclosed bracket '['"]),
        ("name: *a\n", &["w.yaml:1:7: this alias has no anchor"]),
        ("name: 'a\n", &["w.yaml:1:7: this is not YAML: unclosed quote"]),
        (
            "steps:\n  - name: a\n    with: {value: {{ input.x }}}\n",
            &[r#"w.yaml:3:19: a value that begins with `{{` must stand in quotes: "{{ .. }}""#],
        ),
        (
            "steps:\n  - name: a\n    with:\n      value: {{ input.x }}\n",
            &[r#"w.yaml:4:14: a value that begins with `{{` must stand in quotes: "{{ .. }}""#],
        ),
        ("? [a]\n: b\n", &["w.yaml:1:3: a key must be text"]),
        ("~: b\n", &["w.yaml:1:1: a key must be text"]),
        ("name: .inf\n", &["w.yaml:1:7: a number must be finite and fit into 64 bits"]),
        ("a: &a\n  b: *a\n", &["w.yaml:2:6: an alias stands within its own anchor"]),
        (
            "{a: &a [x,x], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a], c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b], d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c], e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d], f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e], g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f], h: [*g,*g,*g,*g,*g,*g,*g,*g,*g]}",
            &["w.yaml:1:172: this file has too many values: its aliases may stand for 100000 at most"],
        ),
        (
            "name: a
version: 1.0.0
steps:
  - &s {name: a, handler: transform, with: {valeu: 1}}
  - *s
",
            &[
                "w.yaml:4:15: there are two steps with the name `a`",
                "w.yaml:4:38: step `a`: `transform` needs the argument `value`",
                "w.yaml:4:45: step `a`: `transform` takes no argument `valeu`; did you mean `value`?",
            ],
        ),
        (
            "name: a
version: 1.0.0
steps:
  - name: a
    handler: transform
    retry: &r {max_attempts: 0}
    with: {value: 1}
  - name: b
    handler: transform
    retry:
      <<: *r
      base_delay: 1h
    with: {value: 1}
",
            &[
                "w.yaml:6:30: step `a`: `retry.max_attempts` must be a number from 1 to 1000000, not 0",
                "w.yaml:6:30: step `b`: `retry.max_attempts` must be a number from 1 to 1000000, not 0",
                "w.yaml:12:19: step `b`: `retry.base_delay` is 1h, above `max_delay`, which is 5m",
            ],
        ),
        (
            "name: é ü\nversion: 1.0.0\nsteps: [{name: \"x y\", handler: a.b, depends_on: [\"ö\", {}]}]\n",
            &[
                "w.yaml:1:7: `name`: `é ü` is not a name: a name begins with a letter from a to z and goes on with such letters, digits and `_`, 63 in all at most",
                "w.yaml:3:16: a step's name: `x y` is not a name: a name begins with a letter from a to z and goes on with such letters, digits and `_`, 63 in all at most; did you mean `x_y`?",
                "w.yaml:3:50: step `x y` depends on `ö`, which this workflow does not have",
                "w.yaml:3:55: step `x y`: a name in `depends_on` must be text, not an object",
            ],
        ),
    ]);
}

#[test]
fn deep_and_large_files_are_refused() {
    let refused = |text: String| Definition::from_yaml("w.yaml", text.as_bytes(), None, &[]).unwrap_err().to_string();
    assert_eq!(refused(format!("a: {}", "[".repeat(100_000))), "w.yaml:1:75: this is nested too deeply");
    let nested: String = (0..3_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(refused(nested), "w.yaml:73:73: this is nested too deeply");
    let shared = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), "*a,".repeat(100_000));
    assert!(refused(shared).ends_with("this file has too many values: its aliases may stand for 100000 at most"));
}
