//! Workflows written in Rust, run by real workers: results go from parents to children, as the types that they are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tasker::{
    Settings, StepError, Submission, Tasker,
    handlers::Context,
    workflow::{Definition, Draft, DraftStep, Step, Workflow},
};
use tokio::sync::Notify;

use crate::support::{Running, does, nothing, raw, sketch, soon, with_real_clock};

#[derive(Deserialize)]
struct Order {
    id: u64,
    items: Vec<String>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Hold {
    order: u64,
    places: Vec<(String, u32)>,
}

#[derive(Serialize, Deserialize)]
enum Receipt {
    Paid { cents: i64 },
}

const RESERVE: Step<Hold> = Step::named("reserve");
const CHARGE: Step<Receipt> = Step::named("charge");
const INFORM: Step<()> = Step::named("inform");
const SHIP: Step<String> = Step::named("ship");

async fn reserve(cx: Context<Order>) -> Result<Hold, StepError> {
    let places = cx.input.items.iter().zip(1..).map(|(item, place)| (item.clone(), place)).collect();
    Ok(Hold { order: cx.input.id, places })
}

async fn charge(cx: Context<Order>) -> Result<Receipt, StepError> {
    let hold = cx.result(RESERVE)?;
    Ok(Receipt::Paid { cents: 250 * hold.places.len() as i64 })
}

async fn inform(cx: Context<Order>) -> Result<(), StepError> {
    assert_eq!(cx.result(RESERVE)?.order, cx.input.id);
    Ok(())
}

async fn ship(cx: Context<Order>) -> Result<String, StepError> {
    cx.result(INFORM)?;
    let Receipt::Paid { cents } = cx.result(CHARGE)?;
    Ok(format!("{} cents, {}", cents, cx.idempotency_key()))
}

#[test]
fn a_diamond_of_async_functions_hands_typed_results_on() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let fulfil = Workflow::<Order>::new("shop", "fulfil_order", "1.0.0")
            .step(RESERVE, reserve)
            .step(CHARGE, charge)
            .after(RESERVE)
            .step(INFORM, inform)
            .after(RESERVE)
            .step(SHIP, ship)
            .after(CHARGE)
            .after(INFORM);
        tasker.register(&fulfil).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        let input = json!({ "id": 18446744073709551615u64, "items": ["tea", "ink"] });
        let task = tasker.submit("shop", "fulfil_order", &input, Submission::default()).await.unwrap().task_id;
        db.until_task(task, "complete").await;
        assert_eq!(db.result_of(task, 0).await, r#"{"order":18446744073709551615,"places":[["tea",1],["ink",2]]}"#);
        assert_eq!(db.result_of(task, 1).await, r#"{"Paid":{"cents":500}}"#);
        assert_eq!(db.result_of(task, 2).await, "null");
        assert_eq!(db.result_of(task, 3).await, format!(r#""500 cents, {task}:ship:0""#));
        worker.stop().await;
    });
}

/// A workflow of `count` parts between a first step and a sum.
fn fan(count: usize) -> Definition {
    let step = |name: String, handler: &str, parents: Vec<String>| DraftStep {
        name,
        handler: Some(handler.into()),
        depends_on: parents.into_iter().collect(),
        ..DraftStep::default()
    };
    let parts: Vec<String> = (0..count).map(|part| format!("part_{part}")).collect();
    let mut steps = vec![step("first".into(), "test.number", vec![])];
    steps.extend(parts.iter().map(|part| step(part.clone(), "test.number", vec!["first".into()])));
    steps.push(step("sum".into(), "test.sum", parts));
    let draft =
        Draft { namespace: "test".into(), name: "fan".into(), version: "1.0.0".into(), steps, ..Draft::default() };
    Definition::check(draft, &[]).unwrap()
}

/// A step's number by its name, and the sum of all parents' results.
fn number_and_sum(tasker: &Tasker) {
    tasker.handle(
        "test.number",
        does(async |attempt| {
            let number: u64 = attempt.step_name.strip_prefix("part_").unwrap_or("0").parse()?;
            tasker::Outcome::complete(&number)
        }),
    );
    tasker.handle(
        "test.sum",
        does(async |attempt| {
            let numbers = attempt.results.values().map(|result| result.get().parse());
            let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
            tasker::Outcome::complete(&json!([numbers.len(), numbers.iter().sum::<u64>()]))
        }),
    );
}

#[test]
fn five_hundred_parts_run_beside_each_other_and_all_of_them_reach_the_sum() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        number_and_sum(&tasker);
        let fan = tasker.register_definition(&fan(500)).await.unwrap();
        let workers = [Running::start(&tasker, Settings::default()), Running::start(&tasker, Settings::default())];
        let task = tasker.submit_version(fan, &json!({}), Submission::default()).await.unwrap().task_id;
        db.until_task(task, "complete").await;
        assert_eq!(db.result_of(task, 501).await, "[500,124750]");
        let attempts: i64 = db.value("select count(*) from tasker.workflow_step_attempts").await;
        assert_eq!(attempts, 502);
        for worker in workers {
            worker.stop().await;
        }
    });
}

#[test]
fn a_chain_of_fifty_counts_to_fifty() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let names: Vec<String> = (0..50).map(|n| format!("s{n}[handler=next]")).collect();
        let chain = tasker.register_definition(&sketch(&names.join(" > "))).await.unwrap();
        tasker.handle(
            "test.next",
            does(async |attempt| {
                let before: u64 = attempt.results.values().map(|result| result.get().parse().unwrap_or(0)).sum();
                tasker::Outcome::complete(&(before + 1))
            }),
        );
        let worker = Running::start(&tasker, Settings::default());
        let task = tasker.submit_version(chain, &json!({}), Submission::default()).await.unwrap().task_id;
        db.until_task(task, "complete").await;
        assert_eq!(db.result_of(task, 49).await, "50");
        worker.stop().await;
    });
}

#[test]
fn results_that_are_too_large_to_travel_with_the_claim_are_fetched() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let fan = tasker.register_definition(&sketch("a, b, c, d, e, f > join")).await.unwrap();
        let megabyte = format!("\"{}\"", "x".repeat((1 << 20) - 2));
        for name in ["a", "b", "c", "d", "e", "f", "join"] {
            let megabyte = megabyte.clone();
            let handler = does(move |attempt| {
                let lengths: Vec<usize> = attempt.results.values().map(|result| result.get().len()).collect();
                let result = if lengths.is_empty() { raw(&megabyte) } else { raw(&format!("{lengths:?}")) };
                async move { Ok(tasker::Outcome::Complete(result)) }
            });
            tasker.handle(format!("{}.{name}", handler_prefix("a, b, c, d, e, f > join")), handler);
        }
        let worker = Running::start(&tasker, Settings::default());
        let task = tasker.submit_version(fan, &json!({}), Submission::default()).await.unwrap().task_id;
        db.until_task(task, "complete").await;
        assert_eq!(db.result_of(task, 6).await, format!("{:?}", [1 << 20; 6]));
        worker.stop().await;
    });
}

/// What the handlers of a sketch's steps are called before the step's name.
fn handler_prefix(line: &str) -> String {
    let definition = sketch(line);
    format!("{}.{}", definition.namespace, definition.name)
}

#[test]
fn the_result_of_a_step_that_is_no_parent_is_a_fatal_error() {
    const A: Step<u32> = Step::named("a");
    const B: Step<u32> = Step::named("b");
    const C: Step<u32> = Step::named("c");
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = Workflow::<Value>::new("test", "grandchild", "1.0.0")
            .step(A, async |_: Context<Value>| Ok(1))
            .step(B, async |cx: Context<Value>| cx.result(A))
            .after(A)
            .step(C, async |cx: Context<Value>| cx.result(A))
            .after(B);
        tasker.register(&workflow).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        let task = tasker.submit("test", "grandchild", &json!({}), Submission::default()).await.unwrap().task_id;
        db.until_task(task, "failed").await;
        let expected = "a complete 1/3\nb complete 1/3\nc failed 1/3 unknown_result: step `c` asks for the result of `a`, \
                        which it does not come directly after";
        assert_eq!(db.ends(task).await, expected);
        worker.stop().await;
    });
}

#[test]
fn a_result_of_another_type_is_a_fatal_error() {
    const A: Step<String> = Step::named("a");
    const B: Step<String> = Step::named("b");
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = Workflow::<Value>::new("test", "other_type", "1.0.0")
            .step(A, async |_: Context<Value>| Ok("text".to_string()))
            .step(B, async |cx: Context<Value>| cx.result(A))
            .after(A);
        tasker.register(&workflow).await.unwrap();
        let task = tasker.submit("test", "other_type", &json!({}), Submission::default()).await.unwrap().task_id;
        // a person gave what the handler would never give
        db.resolve_step(tasker::step_id(task, 0), &raw("17"), Default::default()).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        db.until_task(task, "failed").await;
        let ends = db.ends(task).await;
        assert!(ends.contains("b failed 1/3 unexpected_result: the result of `a` is not what `b` expects"), "{ends}");
        worker.stop().await;
    });
}

#[test]
fn two_workers_with_different_handlers_share_a_workflow_and_nobody_takes_what_it_cannot_run() {
    with_real_clock(async |db| {
        let (left, right) = (db.tasker().await, db.tasker().await);
        let workflow = left
            .register_definition(&sketch(
                "a[handler=left] > b[handler=right] > c[handler=left], d[handler=right] > e[handler=nobody]",
            ))
            .await
            .unwrap();
        left.handle("test.left", nothing());
        right.handle("test.right", nothing());
        let workers = [Running::start(&left, Settings::default()), Running::start(&right, Settings::default())];
        let task = left.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
        db.until(&format!(
            "select array_agg(v.name order by v.name) = '{{e}}' from tasker.step_readiness_statuses v where v.task_id = '{task}' and v.ready_for_execution"
        ))
        .await;
        db.until(&format!("select count(*) = 4 from tasker.step_results where task_id = '{task}'")).await;
        let served: Vec<String> = db
            .column(&format!(
                "select s.name || ' ' || (select string_agg(h.name, ' ' order by h.name) from tasker.workers w, tasker.handlers h
                   where w.worker_id = a.worker_id and h.handler_id = any(w.handler_ids))
                 from tasker.workflow_step_attempts a join tasker.workflow_steps s on s.task_id = a.task_id and s.step_number = a.step_number
                 where a.task_id = '{task}' order by 1"
            ))
            .await;
        assert_eq!(served, ["a test.left", "b test.right", "c test.left", "d test.right"]);
        // who comes later with the handler takes it
        let nobody = db.tasker().await;
        nobody.handle("test.nobody", nothing());
        let third = Running::start(&nobody, Settings::default());
        db.until_task(task, "complete").await;
        for worker in workers.into_iter().chain([third]) {
            worker.stop().await;
        }
    });
}

#[test]
fn a_template_that_fails_fails_its_step_for_good_and_no_other() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let file = "
name: templates
namespace: test
version: 1.0.0
steps:
  - { name: good, handler: test.echo, with: { value: '{{ input.a }}' } }
  - { name: bad, handler: test.echo, with: { value: '{{ input.a / input.b }}' } }
  - { name: endless, handler: test.echo, with: { value: '{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}' } }
  - { name: after, handler: test.echo, depends_on: [good], with: { value: '{{ steps.good.result }}!' } }
";
        let definition = Definition::from_yaml("templates.yaml", file.as_bytes(), None, &["test.echo"]).unwrap();
        let workflow = tasker.register_definition(&definition).await.unwrap();
        tasker.handle("test.echo", does(async |attempt| tasker::Outcome::complete(&attempt.with["value"])));
        let worker = Running::start(&tasker, Settings::default());
        let input = json!({ "a": 1, "b": { "not": "a number" } });
        let task = tasker.submit_version(workflow, &input, Submission::default()).await.unwrap().task_id;
        db.until_task(task, "failed").await;
        let ends = db.ends(task).await;
        let lines: Vec<&str> = ends.lines().collect();
        assert_eq!(lines[0], "good complete 1/3");
        assert!(lines[1].starts_with("bad failed 1/3 template_error: "), "{ends}");
        assert!(lines[2].starts_with("endless failed 1/3 template_error: "), "{ends}");
        assert_eq!(lines[3], "after complete 1/3");
        assert_eq!(db.result_of(task, 3).await, "\"1!\"");
        worker.stop().await;
    });
}

#[test]
fn an_input_that_came_by_sql_is_checked_at_the_first_claim_and_completed_with_defaults() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let file = "
name: inputs
namespace: test
version: 1.0.0
input: { type: object, properties: { count: { type: integer, default: 7 }, name: { type: string } }, required: [name] }
steps:
  - { name: a, handler: test.echo, with: { value: '{{ input.count }}' } }
";
        let definition = Definition::from_yaml("inputs.yaml", file.as_bytes(), None, &["test.echo"]).unwrap();
        tasker.register_definition(&definition).await.unwrap();
        tasker.handle("test.echo", does(async |attempt| tasker::Outcome::complete(&attempt.with["value"])));
        let worker = Running::start(&tasker, Settings::default());
        let submit = async |context: &str| {
            db.value::<uuid::Uuid>(&format!("select tasker.submit_task('test', 'inputs', '{context}')")).await
        };
        let (good, bad, none) =
            (submit(r#"{"name":"x"}"#).await, submit(r#"{"name":1,"count":"many"}"#).await, submit("[]").await);
        tasker.wake();
        db.until_task(good, "complete").await;
        assert_eq!(db.result_of(good, 0).await, "7");
        for task in [bad, none] {
            db.until_task(task, "failed").await;
            let ends = db.ends(task).await;
            assert!(ends.starts_with("a failed 1/3 input_invalid: "), "{ends}");
        }
        assert!(db.ends(bad).await.contains("count") && db.ends(bad).await.contains("name"));
        // the doors in Rust refuse it before anything is written
        let refused = tasker.submit("test", "inputs", &json!({ "name": 1 }), Submission::default()).await.unwrap_err();
        assert_eq!(refused.code(), "json");
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 3);
        worker.stop().await;
    });
}

#[test]
fn a_function_whose_input_is_another_fails_for_good() {
    const A: Step<u64> = Step::named("a");
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow =
            Workflow::<Order>::new("test", "orders", "1.0.0").step(A, async |cx: Context<Order>| Ok(cx.input.id));
        tasker.register(&workflow).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        let task = tasker.submit("test", "orders", &json!({ "id": -1 }), Submission::default()).await.unwrap().task_id;
        db.until_task(task, "failed").await;
        let ends = db.ends(task).await;
        assert!(
            ends.starts_with("a failed 1/3 input_invalid: the task's input is not what this step expects"),
            "{ends}"
        );
        worker.stop().await;
    });
}

#[test]
fn a_running_task_keeps_the_version_with_which_it_began() {
    const A: Step<String> = Step::named("a");
    const B: Step<String> = Step::named("b");
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let one = {
            let (begun, go_on) = (begun.clone(), go_on.clone());
            let a = move |_: Context<Value>| {
                let (begun, go_on) = (begun.clone(), go_on.clone());
                async move {
                    begun.notify_one();
                    go_on.notified().await;
                    Ok("a".to_string())
                }
            };
            Workflow::<Value>::new("test", "versions", "1.0.0")
                .step(A, a)
                .step(B, async |_: Context<Value>| Ok("b".to_string()))
                .after(A)
        };
        tasker.register(&one).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        let task = tasker.submit("test", "versions", &json!({}), Submission::default()).await.unwrap().task_id;
        soon("the first step", begun.notified()).await;
        let two =
            Workflow::<Value>::new("test", "versions", "1.0.1").step(B, async |_: Context<Value>| Ok("2".to_string()));
        let second = db.tasker().await;
        second.register(&two).await.unwrap();
        let later = second.submit("test", "versions", &json!({}), Submission::default()).await.unwrap().task_id;
        go_on.notify_one();
        db.until_task(task, "complete").await;
        db.until_task(later, "complete").await;
        assert_eq!(
            db.value::<i64>(&format!("select count(*) from tasker.workflow_steps where task_id = '{task}'")).await,
            2
        );
        assert_eq!(
            db.value::<i64>(&format!("select count(*) from tasker.workflow_steps where task_id = '{later}'")).await,
            1
        );
        worker.stop().await;
    });
}
