//! The shape of a workflow's graph: an order, the cycles where there is none, each node's depths, and who is upstream
//! of whom. Everything is linear in the number of steps and edges, and nothing recurses: chains of 100,000 steps are
//! ordinary.

use petgraph::{
    algo::{kosaraju_scc, toposort},
    graph::{DiGraph, NodeIndex},
};

/// Where a node stands in its workflow's graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// The number of edges of the shortest path from a root; 0 for a root.
    pub min_depth_from_root: u32,
    /// The number of edges of the longest path from a root; 0 for a root.
    pub max_depth_from_root: u32,
    /// The number of edges of the longest path to a leaf; 0 for a leaf.
    pub max_depth_to_leaf: u32,
    /// The number of nodes that name this one as a parent.
    pub children_count: u32,
}

impl Level {
    /// Whether no node names this one as a parent.
    pub fn is_leaf(&self) -> bool {
        self.children_count == 0
    }
}

/// The nodes in an order in which every parent comes before its children.
///
/// `parents` holds every node's parents by their numbers. An error holds, for every set of nodes that depend on each
/// other, one of its shortest cycles: each node depends on the next, and the last one on the first.
pub(super) fn order(parents: &[Vec<u32>]) -> Result<Vec<u32>, Vec<Vec<u32>>> {
    let edge_count = parents.iter().map(Vec::len).sum();
    let mut graph = DiGraph::<(), ()>::with_capacity(parents.len(), edge_count);
    for _ in parents {
        graph.add_node(());
    }
    for (node, parents) in (0u32..).zip(parents) {
        for parent in parents {
            graph.add_edge(NodeIndex::from(*parent), NodeIndex::from(node), ());
        }
    }
    if let Ok(order) = toposort(&graph, None) {
        return Ok(order.into_iter().map(number).collect());
    }
    let mut group_of = vec![usize::MAX; parents.len()];
    let mut groups = kosaraju_scc(&graph);
    groups.retain(|group| group.len() > 1);
    for (index, group) in groups.iter_mut().enumerate() {
        group.sort();
        group.iter().for_each(|node| group_of[node.index()] = index);
    }
    groups.sort();
    Err(groups.iter().map(|group| shortest_cycle(number(group[0]), parents, &group_of)).collect())
}

fn number(node: NodeIndex) -> u32 {
    node.index() as u32
}

/// A shortest way from a node through its ancestors back to itself, within its group.
fn shortest_cycle(start: u32, parents: &[Vec<u32>], group_of: &[usize]) -> Vec<u32> {
    let group = group_of[start as usize];
    let mut child_of = std::collections::HashMap::new();
    let mut reached = std::collections::VecDeque::from([start]);
    while let Some(node) = reached.pop_front() {
        for parent in &parents[node as usize] {
            if *parent == start {
                let mut cycle = vec![node];
                while let Some(child) = child_of.get(cycle.last().unwrap_or(&start)) {
                    cycle.push(*child);
                }
                cycle.reverse();
                return cycle;
            }
            if group_of[*parent as usize] == group && !child_of.contains_key(parent) {
                child_of.insert(*parent, node);
                reached.push_back(*parent);
            }
        }
    }
    vec![start]
}

/// Every node's level; `order` is what [`order`] says of the same graph.
pub(super) fn levels(parents: &[Vec<u32>], order: &[u32]) -> Vec<Level> {
    let mut levels = vec![Level::default(); parents.len()];
    for node in order.iter().map(|node| *node as usize) {
        let depths = parents[node].iter().map(|parent| levels[*parent as usize]);
        let min = depths.clone().map(|it| it.min_depth_from_root + 1).min().unwrap_or(0);
        let max = depths.map(|it| it.max_depth_from_root + 1).max().unwrap_or(0);
        (levels[node].min_depth_from_root, levels[node].max_depth_from_root) = (min, max);
    }
    for node in order.iter().rev().map(|node| *node as usize) {
        let to_leaf = levels[node].max_depth_to_leaf + 1;
        for parent in &parents[node] {
            let parent = &mut levels[*parent as usize];
            parent.max_depth_to_leaf = parent.max_depth_to_leaf.max(to_leaf);
            parent.children_count += 1;
        }
    }
    levels
}

/// How many ancestors one pass over the graph follows.
const BATCH: usize = 512;

/// For each pair of a node and another: whether the other is upstream of it, over any number of edges.
///
/// One pass over the graph answers for 512 different ancestors, so that many pairs cost little and memory stays
/// linear.
pub(super) fn are_upstream(pairs: &[(u32, u32)], parents: &[Vec<u32>], order: &[u32]) -> Vec<bool> {
    let mut ancestors: Vec<u32> = pairs.iter().map(|(_, ancestor)| *ancestor).collect();
    ancestors.sort_unstable();
    ancestors.dedup();
    let mut answers = vec![false; pairs.len()];
    for batch in ancestors.chunks(BATCH) {
        let mut seen = vec![[0u64; BATCH / 64]; parents.len()]; // for each node, which of the batch are upstream
        let mut bits = vec![None; parents.len()];
        batch
            .iter()
            .zip(0..)
            .for_each(|(ancestor, bit)| bits[*ancestor as usize] = Some((bit / 64, 1u64 << (bit % 64))));
        for node in order {
            let mut upstream = [0; BATCH / 64];
            for parent in &parents[*node as usize] {
                upstream.iter_mut().zip(seen[*parent as usize]).for_each(|(word, more)| *word |= more);
                if let Some((word, mask)) = bits[*parent as usize] {
                    upstream[word] |= mask;
                }
            }
            seen[*node as usize] = upstream;
        }
        for ((node, ancestor), answer) in pairs.iter().zip(&mut answers) {
            if let Some((word, mask)) = bits[*ancestor as usize] {
                *answer = seen[*node as usize][word] & mask != 0;
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_diamond_has_an_order_and_depths() {
        // 3 > 1, 3 > 2, 1 > 0, 2 > 0, 3 > 0, and 4 alone
        let parents = vec![vec![1, 2, 3], vec![3], vec![3], vec![], vec![]];
        let order = order(&parents).unwrap();
        let at = |node: u32| order.iter().position(|it| *it == node).unwrap();
        assert!(at(3) < at(1) && at(3) < at(2) && at(1) < at(0) && at(2) < at(0));
        let level = |min_depth_from_root, max_depth_from_root, max_depth_to_leaf, children_count| Level {
            min_depth_from_root,
            max_depth_from_root,
            max_depth_to_leaf,
            children_count,
        };
        assert_eq!(
            levels(&parents, &order),
            [level(1, 2, 0, 0), level(1, 1, 1, 1), level(1, 1, 1, 1), level(0, 0, 2, 3), level(0, 0, 0, 0)]
        );
    }

    #[test]
    fn every_knot_is_named_by_a_shortest_cycle() {
        // 0 > 1 > 2 > 0 with a detour 1 > 3 > 2, 4 and 5 need each other, 6 hangs on them
        let parents = vec![vec![2], vec![0], vec![1, 3], vec![1], vec![5], vec![4], vec![5]];
        assert_eq!(order(&parents).unwrap_err(), [vec![0, 2, 1], vec![4, 5]]);
    }

    #[test]
    fn a_chain_of_100_000_is_ordinary() {
        let parents: Vec<Vec<u32>> = (0..100_000u32).map(|node| node.checked_sub(1).into_iter().collect()).collect();
        let order = order(&parents).unwrap();
        assert_eq!(levels(&parents, &order)[99_999].max_depth_from_root, 99_999);
        assert_eq!(are_upstream(&[(99_999, 0), (0, 99_999)], &parents, &order), [true, false]);
        let mut circle = parents;
        circle[0].push(99_999);
        let cycles = super::order(&circle).unwrap_err();
        assert_eq!((cycles.len(), cycles[0].len()), (1, 100_000));
    }

    proptest! {
        #[test]
        fn upstream_is_what_a_search_finds(
            edges in prop::collection::vec((0..40u32, 0..40u32), 0..80),
            pairs in prop::collection::vec((0..40u32, 0..40u32), 0..60),
        ) {
            let mut parents = vec![vec![]; 40];
            edges.iter().filter(|(from, to)| from < to).for_each(|(from, to)| parents[*to as usize].push(*from));
            let order = order(&parents).unwrap();
            let search = |node: u32, ancestor: u32| {
                let mut reached = std::collections::BTreeSet::from([node]);
                for below in (0..node).rev() {
                    if reached.iter().any(|it| parents[*it as usize].contains(&below)) {
                        reached.insert(below);
                    }
                }
                node != ancestor && reached.contains(&ancestor)
            };
            let expected: Vec<bool> = pairs.iter().map(|(node, ancestor)| search(*node, *ancestor)).collect();
            prop_assert_eq!(are_upstream(&pairs, &parents, &order), expected);
        }
    }
}
