//! The rules about a workflow's edges: unique names, parents that exist, no cycles, and templates that refer only to
//! what is upstream.

use std::collections::{HashMap, HashSet};

use super::{Draft, MAX_EDGES, Spot, graph, validate::Report, with::Mention};
use crate::place::Place;

/// How many steps of a cycle are named.
const MAX_NAMED: usize = 20;

/// The edges of a draft.
pub(super) struct Edges<'d> {
    /// For each step the numbers of its parents, ascending.
    parents: Vec<Vec<u32>>,
    numbers: HashMap<&'d str, u32>,
    /// An order; none where there are cycles.
    order: Option<Vec<u32>>,
}

impl Edges<'_> {
    /// For each step the numbers of its parents, ascending.
    pub(super) fn into_parents(self) -> Vec<Vec<u32>> {
        self.parents
    }
}

/// Resolves `depends_on`.
pub(super) fn check<'d>(draft: &'d Draft, report: &mut Report) -> Edges<'d> {
    let numbers = step_numbers(draft, report);
    let parents = parents(draft, &numbers, report);
    let root = Place::Root;
    let steps = root.member("steps");
    let edge_count: usize = parents.iter().map(Vec::len).sum();
    if edge_count > MAX_EDGES {
        let message =
            format!("the steps of a workflow depend on each other {MAX_EDGES} times at most, not {edge_count} times");
        report.add(steps, Spot::Key, message);
    }
    let order = graph::order(&parents);
    for cycle in order.as_ref().err().into_iter().flatten() {
        let name = |number: &u32| draft.steps[*number as usize].name.as_str();
        let names: Vec<&str> = cycle.iter().map(name).collect();
        let (first, next) = (names[0], names[1 % names.len()]);
        let depends_on = &draft.steps[cycle[0] as usize].depends_on;
        let step = steps.element(cycle[0] as usize);
        let list = step.member("depends_on");
        let place = list.element(depends_on.iter().position(|parent| parent == next).unwrap_or(0));
        report.add(place, Spot::Value, circle(first, &names[1..]));
    }
    Edges { parents, numbers, order: order.ok() }
}

/// `` the steps depend on each other in a circle: `a` on `b`, `b` on `c`, `c` on `a` ``
fn circle(first: &str, rest: &[&str]) -> String {
    let mut hops = Vec::new();
    let mut from = first;
    for to in rest.iter().chain([&first]) {
        hops.push(format!("`{from}` on `{to}`"));
        from = to;
    }
    if hops.len() > MAX_NAMED {
        let left_out = hops.len() - MAX_NAMED;
        hops.splice(MAX_NAMED - 1..hops.len() - 1, [format!("({left_out} more)")]);
    }
    format!("these steps depend on each other in a circle: {}", hops.join(", "))
}

fn step_numbers<'d>(draft: &'d Draft, report: &mut Report) -> HashMap<&'d str, u32> {
    let root = Place::Root;
    let steps = root.member("steps");
    let mut numbers = HashMap::with_capacity(draft.steps.len());
    for (number, step) in (0u32..).zip(&draft.steps) {
        let first = *numbers.entry(step.name.as_str()).or_insert(number);
        if first != number {
            let message = format!("there are two steps with the name `{}`", step.name);
            report.add(steps.element(number as usize).member("name"), Spot::Value, message);
        }
    }
    numbers
}

fn parents(draft: &Draft, numbers: &HashMap<&str, u32>, report: &mut Report) -> Vec<Vec<u32>> {
    let root = Place::Root;
    let steps = root.member("steps");
    let mut all = Vec::with_capacity(draft.steps.len());
    for (index, step) in draft.steps.iter().enumerate() {
        let name = &step.name;
        let mut parents = Vec::with_capacity(step.depends_on.len());
        let mut seen = HashSet::with_capacity(step.depends_on.len());
        for (entry, parent) in step.depends_on.iter().enumerate() {
            let message = if parent == name {
                format!("step `{name}` depends on itself")
            } else if !seen.insert(parent.as_str()) {
                format!("step `{name}` depends on `{parent}` twice")
            } else if let Some(number) = numbers.get(parent.as_str()) {
                parents.push(*number);
                continue;
            } else {
                let suggestion = report.did_you_mean(parent, other_names(draft, name));
                format!("step `{name}` depends on `{parent}`, which this workflow does not have{suggestion}")
            };
            report.add(steps.element(index).member("depends_on").element(entry), Spot::Value, message);
        }
        parents.sort_unstable();
        all.push(parents);
    }
    all
}

fn other_names<'d>(draft: &'d Draft, name: &'d str) -> impl Iterator<Item = &'d str> {
    draft.steps.iter().map(|step| step.name.as_str()).filter(move |other| *other != name)
}

/// Resolves the steps that templates mention: the numbers of those whose results each step needs, in any order.
pub(super) fn check_mentions(
    draft: &Draft,
    edges: &Edges,
    mentions: &[Vec<Mention>],
    report: &mut Report,
) -> Vec<Vec<u32>> {
    let mut needs = vec![Vec::new(); draft.steps.len()];
    let mut far = Vec::new(); // mentions of steps that are no parents
    for (number, mentions) in (0u32..).zip(mentions) {
        for mention in mentions {
            match edges.numbers.get(mention.step.as_str()) {
                Some(needed) if *needed == number => {
                    let message = format!("step `{}` refers to its own result", mention.step);
                    report.add_at(mention, message);
                }
                Some(needed) => {
                    needs[number as usize].push(*needed);
                    if edges.parents[number as usize].binary_search(needed).is_err() {
                        far.push((number, *needed, mention));
                    }
                }
                None => {
                    let name = &draft.steps[number as usize].name;
                    let suggestion = report.did_you_mean(&mention.step, other_names(draft, name));
                    report.add_at(
                        mention,
                        format!(
                            "step `{name}` refers to the result of `{}`, which this workflow does not have{suggestion}",
                            mention.step
                        ),
                    );
                }
            }
        }
    }
    let Some(order) = &edges.order else { return needs };
    let pairs: Vec<(u32, u32)> = far.iter().map(|(number, needed, _)| (*number, *needed)).collect();
    for (is_upstream, (number, _, mention)) in graph::are_upstream(&pairs, &edges.parents, order).into_iter().zip(far) {
        if !is_upstream {
            let (name, other) = (&draft.steps[number as usize].name, &mention.step);
            report.add_at(
                mention,
                format!(
                    "step `{name}` refers to the result of `{other}`, which need not have run before it; \
                 add `{other}` to its `depends_on`"
                ),
            );
        }
    }
    needs
}
