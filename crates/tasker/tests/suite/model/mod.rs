//! The protocol as models whose every reachable state is visited: [`claims`] is who may do what with one step while messages are lost, doubled
//! and late and anything dies at any time; [`statements`] is what two transactions see of each other between their statements;
//! [`locks`] is who waits for whom. Each safeguard is also taken away, and the model must then find what it is for.
//!
//! | in the model | in SQL |
//! |---|---|
//! | `Claim` | `claim`, `claim_task` and the leasing of released children in `exchange`: a ready row is deleted, a lease inserted |
//! | `Deliver(Settle)` | `exchange`: the lease is deleted under its claim id |
//! | `Deliver(Beat)`, `Deliver(Release)` | `heartbeat`, `release_steps` |
//! | `Expire`, `ReapRead`, `ReapWrite` | `reap` |
//! | `Cancel`, `Retry` | `cancel_task`, `retry_step` |

mod claims;
mod locks;
mod statements;

use stateright::{Checker, HasDiscoveries, Model};

/// Visits everything, and gives the properties that do not hold, each with the way there.
fn broken<M>(model: M) -> (usize, Vec<String>)
where
    M: Model + Send + Sync + 'static,
    M::State: std::hash::Hash + Clone + Send + Sync + std::fmt::Debug + PartialEq,
    M::Action: Clone + std::fmt::Debug + Send + Sync + PartialEq,
{
    visit(model, HasDiscoveries::All)
}

fn visit<M>(model: M, until: HasDiscoveries) -> (usize, Vec<String>)
where
    M: Model + Send + Sync + 'static,
    M::State: std::hash::Hash + Clone + Send + Sync + std::fmt::Debug + PartialEq,
    M::Action: Clone + std::fmt::Debug + Send + Sync + PartialEq,
{
    let checker = model.checker().threads(1).finish_when(until).spawn_bfs().join();
    let holds = |name: &&str| {
        let property = checker.model().properties().into_iter().find(|property| property.name == *name);
        property.is_some_and(|property| property.expectation == stateright::Expectation::Sometimes)
    };
    let found = checker.discoveries();
    let mut broken: Vec<String> = found
        .iter()
        .filter(|(name, _)| !holds(name))
        .map(|(name, path)| format!("{name}: {:?}", path.clone().into_actions()))
        .collect();
    for property in checker.model().properties() {
        if property.expectation == stateright::Expectation::Sometimes && !found.contains_key(property.name) {
            broken.push(format!("{}: never comes about", property.name));
        }
    }
    broken.sort();
    (checker.unique_state_count(), broken)
}

/// The promise that a model without a safeguard must break.
fn breaks<M>(model: M, promise: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: std::hash::Hash + Clone + Send + Sync + std::fmt::Debug + PartialEq,
    M::Action: Clone + std::fmt::Debug + Send + Sync + PartialEq,
{
    // a protocol without a safeguard may have no end of states
    let (states, broken) = visit(model, HasDiscoveries::AnyOf([promise].into()));
    let found = broken.iter().find(|broken| broken.starts_with(promise));
    println!("{states} states: {}", found.unwrap_or_else(|| panic!("`{promise}` still holds; broken: {broken:#?}")));
}
