//! `tasker run --dry-run`: what would be run, in which order, and what each step waits for and needs.

use serde_json::{Value, json};
use tasker::{
    duration,
    workflow::{Definition, Node},
};

use crate::{
    ending::{Ending, Failure},
    output::{Paint, columns, counted, print, print_json},
};

/// Shows the plan of a task with this input.
pub fn show(definition: &Definition, input: &Value, json: bool) -> Result<Ending, Failure> {
    let levels: Vec<u32> = definition.levels().iter().map(|level| level.max_depth_from_root + 1).collect();
    let mut order: Vec<usize> = (0..definition.steps.len()).collect();
    order.sort_by_key(|number| levels[*number]);
    let names = |numbers: &[u32]| -> Vec<&str> {
        numbers.iter().map(|number| definition.steps[*number as usize].name.as_str()).collect()
    };
    if json {
        let step = |number: usize| {
            let node = &definition.steps[number];
            json!({
                "name": node.name, "handler": node.handler, "level": levels[number], "depends_on": names(&node.parents),
                "needs": names(&node.needs), "max_attempts": node.retry.max_attempts, "timeout": node.timeout.map(duration::format),
                "concurrency": node.concurrency, "with": node.with,
            })
        };
        print_json(&json!({
            "namespace": definition.namespace, "name": definition.name, "version": definition.version, "input": input,
            "steps": order.into_iter().map(step).collect::<Value>(),
        }))?;
        return Ok(Ending::Done);
    }
    let paint = Paint::stdout();
    let head = ["level", "step", "handler", "after", "needs the results of", "limits"];
    let mut lines = vec![head.map(|word| paint.dim(word)).to_vec()];
    let mut last = 0;
    for number in order {
        let node = &definition.steps[number];
        let level = if levels[number] == last { String::new() } else { levels[number].to_string() };
        last = levels[number];
        lines.push(vec![
            level,
            node.name.clone(),
            node.handler.clone(),
            few(&names(&node.parents)),
            few(&names(&node.needs)),
            limits(node),
        ]);
    }
    print(&format!(
        "{}.{} {}: {} in {}; nothing was run\n\n{}",
        definition.namespace,
        definition.name,
        definition.version,
        counted(definition.steps.len(), "step"),
        counted(last as usize, "level"),
        columns(&lines)
    ))?;
    print(&format!("\ninput: {input}\n"))?;
    Ok(Ending::Done)
}

/// Some of the names, where they are many.
fn few(names: &[&str]) -> String {
    match names {
        [first, second, third, _, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len() + 1)
        }
        names => names.join(", "),
    }
}

fn limits(node: &Node) -> String {
    let mut limits = vec![counted(node.retry.max_attempts as usize, "attempt")];
    limits.extend(node.timeout.map(|timeout| format!("{} each", duration::format(timeout))));
    limits.extend(node.concurrency.as_ref().map(|limit| match limit.key.as_slice() {
        [] => format!("{} at once", limit.limit),
        key => format!("{} at once for each {}", limit.limit, key.join(".")),
    }));
    limits.join(", ")
}
