//! Templates: what they may say, and what is refused before anything runs.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use super::*;

fn scope() -> Scope {
    let input = json!({
        "name": "Ada", "count": 3, "big": 9_007_199_254_740_993_i64, "rate": 0.5, "yes": true, "none": null,
        "list": [1, 2, 3], "customer": {"id": "c-1"}, "html": "<b>&</b>", "text": "{\"a\": [1]}",
    });
    let results = [("count_lines", json!({"lines": 12, "files": ["b", "a"]})), ("plain", json!("text"))];
    let results: BTreeMap<String, Box<RawValue>> =
        results.into_iter().map(|(name, result)| (name.to_string(), to_raw_value(&result).unwrap())).collect();
    Scope::new(Arc::from(to_raw_value(&input).unwrap()), Arc::new(results))
}

fn rendered(with: Json) -> String {
    match render(&with, &[], &scope()) {
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    }
}

/// A template, and what it renders to (as JSON) or why not.
const CASES: &[(&str, &str)] = &[
    // One expression keeps its type.
    ("{{ input.count }}", "3"),
    ("{{input.count + 1}}", "4"),
    ("{{- input.count -}}", "3"),
    ("{{ input.big }}", "9007199254740993"),
    ("{{ input.rate }}", "0.5"),
    ("{{ 10 / 4 }}", "2.5"),
    ("{{ 10 // 4 }}", "2"),
    ("{{ input.yes }}", "true"),
    ("{{ input.none }}", "null"),
    ("{{ input.customer }}", r#"{"id":"c-1"}"#),
    ("{{ input.list[1:] }}", "[2,3]"),
    ("{{ input.list|reverse }}", "[3,2,1]"),
    ("{{ {'z': 1, 'a': [input.name]} }}", r#"{"z":1,"a":["Ada"]}"#),
    ("{{ {1: 2} }}", r#"{"1":2}"#),
    ("{{ steps.count_lines.result.lines }}", "12"),
    ("{{ steps['count_lines']['result'].files|sort }}", r#"["a","b"]"#),
    ("{{ [steps.count_lines.result.lines, input.count]|max + 1 }}", "13"),
    ("{{ steps.plain.result }}", r#""text""#),
    ("{{ '}}' }}", r#""}}""#),
    ("{{ 'a' if input.yes else 'b' }}", r#""a""#),
    ("{{ 'a' if not input.yes }}", "null"),
    ("{{ input.missing|default('x') }}", r#""x""#),
    ("{{ input.missing is defined }}", "false"),
    ("{{ input.text|fromjson }}", r#"{"a":[1]}"#),
    ("{{ 9223372036854775807 + 1 }}", "9223372036854775808"),
    ("{{ -9223372036854775807 - 1 }}", "-9223372036854775808"),
    // Everything else is text.
    ("", r#""""#),
    ("no template { } at all", r#""no template { } at all""#),
    ("{{ input.count }} lines", r#""3 lines""#),
    ("{{ input.count }}{{ input.count }}", r#""33""#),
    ("{{ input.count }}\n", r#""3\n""#),
    (" {{ input.count }}", r#"" 3""#),
    ("yes={{ input.yes }} none={{ input.none }}", r#""yes=true none=null""#),
    ("{{ input.customer }} {{ input.list }}", r#""{\"id\":\"c-1\"} [1,2,3]""#),
    ("{% for x in input.list %}{{ x }}{{ ',' if not loop.last }}{% endfor %}", r#""1,2,3""#),
    ("{% if input.yes %}on{% endif %}", r#""on""#),
    ("{% set x = input.count * 2 %}{{ x }}", r#""6""#),
    ("{# nothing #}", r#""""#),
    ("{% raw %}{{ x }}{% endraw %}", r#""{{ x }}""#),
    ("{{ input.html }}!", r#""<b>&</b>!""#),
    // Errors name the place and what is missing.
    ("{{ input.nmae }}", "with: `input.nmae` is undefined; did you mean `input.name`?"),
    ("hello {{ input.nmae }}", "with: `input.nmae` is undefined; did you mean `input.name`?"),
    ("{{ input.zzz }}", "with: `input.zzz` is undefined"),
    ("{{ input.customer.name.first }}", "with: `input.customer.name` is undefined"),
    (
        "{{ steps.count_lines.result.line }}",
        "with: `steps.count_lines.result.line` is undefined; did you mean `steps.count_lines.result.lines`?",
    ),
    ("{{ steps.other.result }}", "with: `steps.other` is undefined"),
    ("{{ output }}", "with: `output` is undefined"),
    ("{{ [1, input.zzz] }}", "with[1]: this part of the value is undefined"),
    ("{{ {'a': {'b': input.zzz}} }}", "with.a.b: this part of the value is undefined"),
    (
        "{{ input.count + input.zzz }}",
        "with: tried to use + operator on unsupported types number and undefined (`input.zzz` is undefined)",
    ),
    ("{{ input.count|nope }}", "with: filter nope is unknown"),
    ("{{ input.name|fromjson }}", "with: the text is not JSON: expected value at line 1 column 1"),
    ("{{ input.count", "with: syntax error: unexpected end of input, expected end of variable block"),
    ("{{ 1 / 0 }}", "with: unable to calculate 1 / 0"),
    ("{{ 1e308 * 10 }}", "with: inf is not a number that JSON can hold: integers have 64 bits, others are finite"),
    (
        "{{ 2 ** 64 }}",
        "with: 18446744073709551616 is not a number that JSON can hold: integers have 64 bits, others are finite",
    ),
    (
        "{{ range }}",
        "with: the value is a plain object, which JSON does not have (minijinja::functions::builtins::range)",
    ),
];

#[test]
fn a_string_renders_to_its_value_or_says_why_not() {
    for (source, expected) in CASES {
        assert_eq!(rendered(json!(source)), *expected, "{source}");
    }
}

#[test]
fn every_string_in_a_with_is_a_template_and_its_place_is_named() {
    let with = json!({"args": ["a", "{{ input.count }}", {"x": "{{ input.name }}"}], "n": 1, "{{ key }}": null});
    assert_eq!(rendered(with), r#"{"args":["a",3,{"x":"Ada"}],"n":1,"{{ key }}":null}"#);
    let with = json!({"args": ["a", "{{ input.zzz }}"]});
    assert_eq!(rendered(with), "with.args[1]: `input.zzz` is undefined");
}

#[test]
fn raw_keys_stay_as_they_are() {
    let with = json!({"template": "{{ input.zzz }}", "path": "{{ input.name }}"});
    let value = render(&with, &["template"], &scope()).unwrap();
    assert_eq!(value, json!({"template": "{{ input.zzz }}", "path": "Ada"}));
}

#[test]
fn an_expression_sees_the_variables_that_were_added() {
    let output = to_raw_value(&json!({"commits": [{"id": 7}]})).unwrap();
    let scope = scope().and("output", &output);
    let root = Place::Root;
    let place = root.member("with");
    let select = |source: &str| {
        evaluate(place.member("select"), source, &scope)
            .map_or_else(|error| error.to_string(), |value| value.to_string())
    };
    assert_eq!(select("output.commits[0].id"), "7");
    assert_eq!(select("{{ output.commits[0].id }}"), "7");
    assert_eq!(select("output.commit"), "with.select: `output.commit` is undefined; did you mean `output.commits`?");
    assert_eq!(select("output..x"), "with.select: syntax error: unexpected `.`, expected identifier or integer");
}

#[test]
fn values_are_escaped_by_the_name_of_the_file() {
    let source = "<p>{{ input.html }}{{ input.html|safe }}\n{{ input.customer }}</p>\n";
    assert_eq!(
        render_text("report.html", source, &scope()).unwrap(),
        "<p>&lt;b&gt;&amp;&lt;&#x2f;b&gt;<b>&</b>\n{&quot;id&quot;:&quot;c-1&quot;}</p>\n"
    );
    assert_eq!(render_text("report.txt", source, &scope()).unwrap(), "<p><b>&</b><b>&</b>\n{\"id\":\"c-1\"}</p>\n");
    let error = render_text("report.html", "one\n{{ input.zzz }}\n", &scope()).unwrap_err();
    assert_eq!(error.to_string(), "report.html: line 2: `input.zzz` is undefined");
}

/// Runs in a thread with the stack of a tokio worker, so that a recursion without a bound would end the test.
fn refused(source: String) -> String {
    let render = move || rendered(json!(source));
    std::thread::Builder::new().stack_size(2 << 20).spawn(render).unwrap().join().unwrap()
}

#[test]
fn work_output_and_depth_are_bounded() {
    let fuel = "with: it costs more work than a template may (1000000 units)";
    let nested_loops = "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}";
    assert_eq!(refused(nested_loops.into()), fuel);
    assert_eq!(refused("{{ 'x' * 1000000000 }}".into()), fuel);
    let doubling = format!("{{% set a = 'xx' %}}{}{{{{ a }}}}", "{% set a = a ~ a %}".repeat(40));
    assert_eq!(refused(doubling), fuel);
    let large = "with: the rendered value is larger than 1048576 bytes";
    assert_eq!(refused("{{ 'x' * 1048577 }}".into()), large);
    assert_eq!(refused("a{{ 'x' * 1048576 }}".into()), large);
    assert_eq!(refused("a{{ range(99999)|list }}{{ range(99999)|list }}".into()), large);
    let chain = "with: the expression is too long: break it up with `{% set %}` or in a step of its own";
    for link in [" + 1", ".a", "[0:]", "|abs", "|batch(1)", " ** 1", " if 1 else 1", "~'a'", " and 1", "()"] {
        assert_eq!(refused(format!("{{{{ 1{} }}}}", link.repeat(20_000))), chain, "{link}");
    }
    for link in ["-", "not ", "[", "("] {
        assert_eq!(refused(format!("{{{{ {}1 }}}}", link.repeat(20_000))), chain, "{link}");
    }
    let deep = "with: syntax error: template exceeds maximum recursion limits";
    assert_eq!(refused(format!("{{{{ {}1{} }}}}", "[".repeat(200), "]".repeat(200))), deep);
    assert_eq!(refused("{% if 1 %}".repeat(20_000)), deep);
    let elif = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}{% if 0 %}{% endif %}".repeat(20_000));
    assert_eq!(refused(elif), "with: there are too many `elif`");
    let sets = format!("{{% set a = 1 %}}{}", "{% set a = [a] %}".repeat(20_000));
    assert_eq!(refused(sets), "with: there are too many lists, objects, calls and filters in `set` blocks");
    let recursive = "{% for x in [1] recursive %}{{ loop([[x]]) }}{% endfor %}";
    assert_eq!(refused(recursive.into()), "with: loops cannot be recursive");
    assert_eq!(refused("{{ namespace() }}".into()), "with: namespace is unknown");
    let sets = format!("{{% set a = 1 %}}{}{{{{ a }}}} ", "{% set a = [a] %}".repeat(900));
    assert!(refused(sets).contains("nested more than 64 levels deep"));
    let sets = format!("{{% set a = 1 %}}{}{{{{ a|tojson|length }}}}!", "{% set a = [a] %}".repeat(900));
    assert!(!refused(sets).is_empty());
}

#[test]
fn a_file_above_its_limit_is_an_error() {
    let error = render_text("a.txt", "{% for i in range(17) %}{{ 'x' * 1000000 }}{% endfor %}", &scope()).unwrap_err();
    assert_eq!(error.to_string(), "a.txt: the text has 17000000 bytes, more than 16777216");
}

fn analysed(source: &str, form: Form, more: &[&str]) -> String {
    let analysis = analyse(source, form, more);
    let references = analysis.references.iter().map(|it| format!("{}@{}", it.step, it.offset));
    let faults = analysis.faults.iter().map(|it| format!("{} @{}", it.message, it.offset));
    references.chain(faults).collect::<Vec<_>>().join(" | ")
}

#[test]
fn a_template_says_which_steps_it_needs() {
    let cases = [
        ("no steps.a.result here", ""),
        ("{{ steps.a.result.d }}", "a@3"),
        ("{{ steps['a'][\"result\"].d + steps.b.result }}", "a@3 | b@28"),
        ("x {{ input.steps.a }} {{ {'steps': 1}.steps }}", ""),
        ("{% for x in steps.a.result %}{{ x.steps }}{% endfor %}{{ input.list[:steps.b.result] }}", "a@12 | b@69"),
        ("{% raw %}{{ steps.a.result }}{% endraw %}{# {{ steps.b.result }} #}", ""),
        ("{{ 'steps.a.result' }}", ""),
        ("{{ steps.a.result[0:1] }}", "a@3"),
    ];
    for (source, expected) in cases {
        assert_eq!(analysed(source, Form::Text, &[]), expected, "{source}");
    }
    assert_eq!(analysed("output[steps.a.result]", Form::Expression, &["output"]), "a@7");
}

#[test]
fn what_is_wrong_with_a_template_is_said_before_it_runs() {
    let follow = "`steps` must be followed by the name of a step, as in `steps.NAME.result`, so that what a template \
                  needs is known beforehand";
    let cases = [
        ("{{ steps|items }}", format!("{follow} @3")),
        ("{{ steps[input.x].result }}", format!("{follow} @3")),
        ("{% set s = steps %}{{ s.a }}", format!("{follow} @11")),
        ("{% for steps in [1] %}{% endfor %}", format!("{follow} @7")),
        ("{{ steps.a }}", "a step has nothing but its `result`; write `steps.a.result` @3".into()),
        ("{{ steps.a.output }}", "a step has nothing but its `result`; write `steps.a.result.output`? @3".into()),
        ("{{ inptu.x }}", "unknown variable `inptu`; did you mean `input`? @3".into()),
        (
            "a {{ secrets.X }}",
            "`secrets` are for `http`, `command` and functions: what comes of this template is kept @5".into(),
        ),
        ("{{ input.x|nope|upper }}", "unknown filter `nope` @11".into()),
        ("{{ input.x is not nope }}", "unknown test `nope` after `is` @18".into()),
        ("{{ input.x is not defined and input.y is none }}", String::new()),
        ("{% filter nope %}{% endfilter %}", "unknown filter `nope` @10".into()),
        ("{{ range(3)|list + dict(a=1).a + loop }}", String::new()),
        ("{{ [1, }}", "syntax error: unexpected `}` @7".into()),
        ("ab {{ 1 +* 2 }}", "syntax error: unexpected `*` @9".into()),
        ("{% if true %}", "syntax error: unexpected end of input, expected end of block @11".into()),
        ("{% include 'x' %}", "syntax error: unknown statement include @3".into()),
        ("{{ 'abc }}", "syntax error: unexpected end of string @10".into()),
        ("{% for x in [1] recursive %}{% endfor %}", "loops cannot be recursive @16".into()),
        ("{{ output }}", "unknown variable `output`; there are `input` and `steps` @3".into()),
    ];
    for (source, expected) in cases {
        assert_eq!(analysed(source, Form::Text, &[]), expected, "{source}");
    }
    assert_eq!(
        analysed("outptu.x", Form::Expression, &["output"]),
        "unknown variable `outptu`; did you mean `output`? @0"
    );
}

#[test]
fn the_deepest_json_passes_through_in_a_small_stack() {
    let nested = |leaf: &str| format!("{}{leaf}{}", r#"{"a":"#.repeat(60), "}".repeat(60));
    let with: Json = serde_json::from_str(&nested(r#""{{ input.b }}""#)).unwrap();
    let input = RawValue::from_string(format!(r#"{{"b": {}}}"#, nested("1"))).unwrap();
    let scope = Scope::new(Arc::from(input), Arc::default());
    let render =
        |with: Json| render(&with, &[], &scope).map_or_else(|error| error.to_string(), |value| value.to_string());
    assert_eq!(render(json!("{{ input.b }}")), nested("1"));
    assert_eq!(render(json!("{{ input.b|tojson|fromjson }}")), nested("1"));
    assert_eq!(render(json!("x{{ input.b }}")), json!(format!("x{}", nested("1"))).to_string());
    assert!(render(with).ends_with("the value is nested more than 64 levels deep"));
}
