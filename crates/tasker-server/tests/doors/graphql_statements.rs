//! How many statements GraphQL makes: as many for a thousand steps as for ten; and of queries that nobody thought of, at most their depth and a few.

use std::{collections::BTreeMap, env};

use expect_test::expect;
use serde_json::{Value, json};

use crate::{
    statements::{counting, so_far},
    support::{Doors, wide, with_doors},
};

/// What a query makes besides one statement a level: each kind of thing that leads to nothing else (nine statements in all), and what stands beside each other
/// at its root. Those by chance have needed 4.
const BESIDE: usize = 12;

#[test]
fn a_resolver_makes_as_many_statements_for_a_thousand_steps_as_for_ten() {
    let count = counting();
    with_doors(async |doors| {
        let mut counts: Vec<BTreeMap<String, usize>> = Vec::new();
        for (name, size) in [("small", 10), ("large", 1000)] {
            doors.register(&wide(name, size)).await.ok();
            let mut tasks = Vec::new();
            for _ in 0..12 {
                tasks.push(doors.submit(name, json!({})).await);
            }
            let steps = doors.steps(&tasks[0]).await;
            let (task, last) = (&tasks[0], &steps[size - 1]);
            let step_of = |task: &str| format!("{}1", &task[..task.len() - 1]);
            let of_task = |fields: &str| format!("{{ task(taskId: \"{task}\") {{ {fields} }} }}");
            let of_steps = |fields: &str| of_task(&format!("workflowSteps(first: 1000) {{ nodes {{ {fields} }} }}"));
            let of_tasks = |fields: &str| format!("{{ tasks(first: 12) {{ nodes {{ {fields} }} }} }}");
            let act = |field: &str, task: &str, more: &str| {
                format!("mutation {{ {field}(workflowStepId: \"{}\"{more}) {{ state }} }}", step_of(task))
            };
            let act_on_task = |task: &str, verb: &str| {
                format!("mutation {{ actOnTask(taskId: \"{task}\", verb: {verb}) {{ state }} }}")
            };
            let ids = json!(tasks).to_string();
            let mut of_size = BTreeMap::new();
            for (what, query) in [
                ("tasks", "{ tasks(first: 10) { nodes { taskId state } } }".to_owned()),
                ("task", of_task("taskId state")),
                ("task: context", of_task("context")),
                ("task: namedTask", of_task("namedTask { version }")),
                ("task: namedTask: steps", of_task("namedTask { steps { name } executionOrder input }")),
                ("task: executionContext", of_task("executionContext { executionStatus }")),
                ("task: workflowSummary", of_task("workflowSummary { rootStepIds blockingReasons }")),
                ("task: workflowSteps", of_steps("name currentState blockingReason")),
                ("task: workflowSteps by name", of_task("workflowSteps(name: \"last\") { nodes { name } }")),
                ("task: transitions", of_task("transitions { nodes { kind } }")),
                ("steps: parents", of_steps("parents { name }")),
                ("steps: children", of_steps("children { name }")),
                ("steps: task", of_steps("task { state }")),
                ("steps: transitions", of_steps("transitions(first: 10) { nodes { kind } }")),
                ("steps: workflowStepAttempts", of_steps("workflowStepAttempts { outcome }")),
                ("steps: result", of_steps("result")),
                ("a page's steps: explain", of_task("workflowSteps(first: 10) { nodes { explain { cause } } }")),
                (
                    "tasks: everything",
                    of_tasks(
                        "context executionContext { executionStatus } workflowSummary { blockingReasons } namedTask { version } transitions { nodes { kind } } workflowSteps(first: 5) { nodes { name result transitions(first: 5) { nodes { kind } } parents { name } children { name } } }",
                    ),
                ),
                ("workflowStep", format!("{{ workflowStep(workflowStepId: \"{last}\") {{ name currentState }} }}")),
                (
                    "workflowStep: parents, up and down",
                    format!(
                        "{{ workflowStep(workflowStepId: \"{last}\") {{ parents {{ name parents {{ name task {{ state }} }} }} task {{ state }} }} }}"
                    ),
                ),
                ("taskExecutionContexts", format!("{{ taskExecutionContexts(taskIds: {ids}) {{ executionStatus }} }}")),
                ("stepReadinessStatuses", format!("{{ stepReadinessStatuses(taskIds: {ids}) {{ blockingReason }} }}")),
                ("namedTasks", "{ namedTasks { nodes { name } } }".into()),
                ("namedTasks: steps", "{ namedTasks(first: 2) { nodes { name steps { name } } } }".into()),
                (
                    "namedTask",
                    format!("{{ namedTask(namespace: \"shop\", name: \"{name}\") {{ name steps {{ name }} }} }}"),
                ),
                ("previewTasks", "{ previewTasks(filter: {}) { matched newest { taskId } } }".into()),
                ("drawTask", format!("{{ drawTask(taskId: \"{task}\") }}")),
                (
                    "drawNamedTask",
                    format!("{{ drawNamedTask(namespace: \"shop\", name: \"{name}\", version: \"1.0.0\") }}"),
                ),
                (
                    "submitTask",
                    format!(
                        "mutation {{ submitTask(task: {{ namespace: \"shop\", name: \"{name}\" }}) {{ taskId }} }}"
                    ),
                ),
                (
                    "submitTask: task",
                    format!(
                        "mutation {{ submitTask(task: {{ namespace: \"shop\", name: \"{name}\" }}) {{ task {{ state }} }} }}"
                    ),
                ),
                ("cancelStep", act("cancelStep", &tasks[1], "")),
                ("retryStep", act("retryStep", &tasks[1], "")),
                ("resolveStep", act("resolveStep", &tasks[2], ", result: 1")),
                ("editStepInput", act("editStepInput", &tasks[3], ", input: {}")),
                ("changeRetryLimit", act("changeRetryLimit", &tasks[4], ", retryLimit: 9")),
                ("actOnTask: pause", act_on_task(&tasks[5], "pause")),
                ("actOnTask: resume", act_on_task(&tasks[5], "resume")),
                ("actOnTask: cancel", act_on_task(&tasks[6], "cancel")),
                (
                    "actOnTasks, of one",
                    format!(
                        "mutation {{ actOnTasks(verb: pause, filter: {{ name: \"{name}\" }}, limit: 1) {{ done }} }}"
                    ),
                ),
            ] {
                // a read twice: the first on a connection prepares what it has not asked yet
                if !query.starts_with("mutation") {
                    doors.data(&query, json!({})).await;
                }
                let before = so_far(&count);
                doors.data(&query, json!({})).await;
                of_size.insert(what.to_owned(), so_far(&count) - before);
            }
            counts.push(of_size);
        }
        assert_eq!(counts[0], counts[1]);
        let lines: String = counts[0].iter().map(|(what, count)| format!("{what}: {count}\n")).collect();
        expect![[r#"
            a page's steps: explain: 3
            actOnTask: cancel: 2
            actOnTask: pause: 2
            actOnTask: resume: 2
            actOnTasks, of one: 3
            cancelStep: 2
            changeRetryLimit: 2
            drawNamedTask: 1
            drawTask: 2
            editStepInput: 2
            namedTask: 4
            namedTasks: 1
            namedTasks: steps: 3
            previewTasks: 2
            resolveStep: 2
            retryStep: 2
            stepReadinessStatuses: 1
            steps: children: 2
            steps: parents: 2
            steps: result: 3
            steps: task: 2
            steps: transitions: 3
            steps: workflowStepAttempts: 3
            submitTask: 4
            submitTask: task: 5
            task: 1
            task: context: 2
            task: executionContext: 2
            task: namedTask: 2
            task: namedTask: steps: 4
            task: transitions: 2
            task: workflowSteps: 2
            task: workflowSteps by name: 2
            task: workflowSummary: 2
            taskExecutionContexts: 1
            tasks: 1
            tasks: everything: 9
            workflowStep: 1
            workflowStep: parents, up and down: 4
        "#]]
        .assert_eq(&lines);
    });
}

/// A query by chance, from what the schema says of itself.
struct Game {
    state: u64,
    types: BTreeMap<String, Value>,
    /// Values of arguments.
    tasks: Vec<String>,
    steps: Vec<String>,
    aliases: usize,
}

impl Game {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 33) as usize % bound
    }

    fn one<'a>(&mut self, of: &'a [String]) -> &'a str {
        let place = self.below(of.len());
        &of[place]
    }

    /// The name of a type without its lists and nulls.
    fn named(of: &Value) -> &str {
        match of["ofType"].is_null() {
            true => of["name"].as_str().unwrap(),
            false => Game::named(&of["ofType"]),
        }
    }

    fn argument(&mut self, name: &str) -> Option<String> {
        let (tasks, steps) = (self.tasks.clone(), self.steps.clone());
        Some(match name {
            "taskId" => format!("\"{}\"", self.one(&tasks)),
            "workflowStepId" => format!("\"{}\"", self.one(&steps)),
            "taskIds" => json!([self.one(&tasks), self.one(&tasks)]).to_string(),
            "namespace" => "\"shop\"".into(),
            "name" => format!("\"{}\"", ["small", "m1"][self.below(2)]),
            "version" => "\"1.0.0\"".into(),
            "first" => (1 + self.below(5)).to_string(),
            "filter" => {
                ["{}", "{ namespace: \"shop\" }", "{ paused: false }", "{ state: pending }"][self.below(4)].into()
            }
            "format" => ["svg", "mermaid", "dot", "json"][self.below(4)].into(),
            "after" => return None,
            other => panic!("no value for the argument {other}"),
        })
    }

    /// Fields of a type, within each other at most so deep; and how deep they are.
    fn selection(&mut self, of: &str, left: usize) -> (String, usize) {
        let fields = self.types[of]["fields"].as_array().unwrap().clone();
        let (mut text, mut depth) = (String::new(), 0);
        let wanted = 1 + self.below(4);
        for n in 0..wanted * 3 {
            // half of them lead on to others
            let leads =
                |field: &&Value| self.types.get(Game::named(&field["type"])).is_some_and(|of| of["kind"] == "OBJECT");
            let leading: Vec<&Value> = fields.iter().filter(leads).collect();
            let field = match leading.len() {
                many if many > 0 && left > 1 && self.below(2) == 0 => leading[self.below(many)],
                _ => &fields[self.below(fields.len())],
            };
            let (name, result) = (field["name"].as_str().unwrap(), Game::named(&field["type"]).to_owned());
            let is_object = self.types.get(&result).is_some_and(|found| found["kind"] == "OBJECT");
            if is_object && left < 2 {
                continue;
            }
            let mut arguments = Vec::new();
            for argument in field["args"].as_array().unwrap() {
                let is_needed = argument["type"]["kind"] == "NON_NULL";
                let argument = argument["name"].as_str().unwrap();
                if (is_needed || self.below(2) == 0)
                    && let Some(value) = self.argument(argument)
                {
                    arguments.push(format!("{argument}: {value}"));
                }
            }
            let (inner, deep) = if is_object { self.selection(&result, left - 1) } else { (String::new(), 0) };
            // the same field twice is one, where its arguments are the same: so each has its own name
            if self.aliases < 15 {
                self.aliases += 1;
                text += &format!("a{}x{n}: ", self.aliases);
            } else if text.contains(&format!(" {name}")) || text.starts_with(name) {
                continue;
            }
            let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
            let inner = if is_object { format!(" {{ {inner}}}") } else { String::new() };
            text += &format!("{name}{arguments}{inner} ");
            depth = depth.max(1 + deep);
            if text.len() > 40 * wanted {
                break;
            }
        }
        if depth == 0 {
            return ("__typename ".into(), 1);
        }
        (text, depth)
    }
}

async fn types(doors: &Doors) -> BTreeMap<String, Value> {
    let query = "{ __schema { types { kind name fields { name args { name type { kind name ofType { kind name ofType { kind name ofType { name } } } } }
      type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { name } } } } } } } } } }";
    let told = doors.data(query, json!({})).await;
    let named = |found: &Value| (found["name"].as_str().unwrap().to_owned(), found.clone());
    told["__schema"]["types"].as_array().unwrap().iter().map(named).collect()
}

#[test]
fn a_query_by_chance_makes_at_most_its_depth_and_a_few_statements() {
    let count = counting();
    with_doors(async |doors| {
        let seed = env::var("TASKER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u128() as u64 | 1);
        println!("TASKER_TEST_SEED={seed}");
        let cases: usize = env::var("TASKER_TEST_QUERIES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
        doors.register(&wide("small", 6)).await.ok();
        doors.register(&chain("m1", 7)).await.ok();
        doors.play(&["app.do", "app.fail"], "app.fail");
        let (mut tasks, mut steps) = (Vec::new(), Vec::new());
        for n in 0..6 {
            let task = doors.submit(["small", "m1"][n % 2], json!({ "n": n })).await;
            if n == 3 {
                doors.db.run_until_idle().await.unwrap();
            }
            steps.extend(doors.steps(&task).await);
            tasks.push(task);
        }
        let mut game = Game { state: seed, types: types(doors).await, tasks, steps, aliases: 0 };
        let (mut most, mut done, mut deepest) = (0_i64, 0, 0);
        for _ in 0..cases {
            game.aliases = 0;
            let left = 3 + game.below(8);
            let (text, depth) = game.selection("Query", left);
            let query = format!("{{ {text} }}");
            let answer = doors.graphql(&query, json!({})).await;
            let told = answer.json();
            for error in told["errors"].as_array().into_iter().flatten() {
                // a name that is none of this version's, or more than a query may have
                let code = error["extensions"]["code"].as_str().unwrap_or_default();
                let known = ["unknown_workflow", "too_complex", "too_many_fields", "too_many"];
                assert!(known.contains(&code), "{query}\n{told:#}");
            }
            if told["data"].is_null() {
                continue;
            }
            let before = so_far(&count);
            doors.graphql(&query, json!({})).await;
            let made = so_far(&count) - before;
            assert!(made <= depth + BESIDE, "{made} statements, depth {depth}: {query}");
            most = most.max(made as i64 - depth as i64);
            done += 1;
            deepest = deepest.max(depth);
        }
        println!("{done} of {cases} queries, at most {deepest} deep: at most their depth and {most} statements");
        assert!(done > cases / 2, "{done} of {cases} queries could be asked");
    });
}

/// A workflow of steps one after the other, the last but two of which fails.
fn chain(name: &str, steps: usize) -> String {
    let mut yaml = format!("name: {name}\nnamespace: shop\nversion: 1.0.0\nsteps:\n- {{name: m0, handler: app.do}}\n");
    for n in 1..steps {
        let handler = if n == steps - 3 { "app.fail" } else { "app.do" };
        yaml += &format!("- {{name: m{n}, handler: {handler}, depends_on: [m{}]}}\n", n - 1);
    }
    yaml
}
