//! A task's graph as lines of text: a line a step, by depth, with its edges in lanes on the left. What has no room so is drawn in groups (steps of
//! one depth whose names differ in their numbers, or who have the same parents and children) or by its depths, with the steps that matter beneath.

use std::{collections::HashMap, time::Instant};

use tasker::{step_number_of, store::WorkflowStep};

use crate::{
    board::{Board, Now, Step, lines, tally},
    output::{Paint, count},
};

/// More lanes than these are no picture.
const LANES: usize = 20;
/// So many single steps are told of beneath groups.
const BESIDE: usize = 10;
/// As many letters of a name are shown.
const LETTERS: usize = 40;

/// A graph of steps, or of groups of steps.
#[derive(Clone, Debug, Default)]
struct Graph {
    /// By depth: parents stand before their children.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    name: String,
    level: i32,
    /// Places in the graph's list.
    parents: Vec<usize>,
    /// Step numbers.
    steps: Vec<usize>,
}

/// A task's graph: whole, in groups, and as its depths only.
#[derive(Default)]
pub struct Picture {
    whole: Graph,
    grouped: Graph,
    by_depth: Graph,
}

impl Picture {
    /// Of a task's steps, all of them, by number.
    pub fn of(steps: &[WorkflowStep]) -> Picture {
        let mut order: Vec<&WorkflowStep> = steps.iter().collect();
        order.sort_by_key(|step| (step.max_depth_from_root, step.step_number));
        let place: HashMap<i32, usize> =
            order.iter().enumerate().map(|(place, step)| (step.step_number, place)).collect();
        let node = |step: &&WorkflowStep| Node {
            name: step.name.clone(),
            level: step.max_depth_from_root,
            parents: step.parent_step_ids.iter().filter_map(|id| place.get(&step_number_of(*id)).copied()).collect(),
            steps: vec![step.step_number as usize],
        };
        let whole = Graph { nodes: order.iter().map(node).collect() };
        Picture { grouped: whole.by_name().by_edges(), by_depth: whole.by_depth(), whole }
    }

    /// At most so many lines.
    pub fn lines(&self, board: &Board, room: usize, width: usize, paint: Paint, now: Instant) -> Vec<String> {
        let drawn = |graph: &Graph| {
            let (rows, lanes) = Some(graph).filter(|graph| graph.nodes.len() <= room)?.rows();
            (lanes <= LANES && lanes * 6 <= width).then(|| graph.drawn(&rows, lanes, board, paint, now))
        };
        if let Some(lines) = drawn(&self.whole) {
            return lines;
        }
        let Some(mut lines) = drawn(&self.grouped).or_else(|| drawn(&self.by_depth)) else {
            return lines::steps(board, room, paint, now);
        };
        let beside = lines::steps(board, (room - lines.len()).min(BESIDE), paint, now);
        lines.extend(beside.into_iter().map(|line| format!("  {line}")));
        lines
    }
}

/// What stands in a place of a row: a step, a piece of a line, or nothing.
#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Sign,
    Line(char),
}

impl Graph {
    /// Steps of one depth whose names differ in their numbers are one node.
    fn by_name(&self) -> Graph {
        let pattern = |node: &Node| {
            let mut pattern = String::new();
            for c in node.name.chars() {
                match c.is_ascii_digit() {
                    true if pattern.ends_with('#') => {}
                    true => pattern.push('#'),
                    false => pattern.push(c),
                }
            }
            pattern
        };
        self.grouped(|_, node| (node.level, pattern(node)))
    }

    /// Steps with the same parents and children are one node.
    fn by_edges(&self) -> Graph {
        let mut children = vec![Vec::new(); self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate() {
            node.parents.iter().for_each(|parent| children[*parent].push(place));
        }
        self.grouped(|place, node| {
            // a group stays as it is, and so does who stands alone
            let is_alone = node.parents.is_empty() && children[place].is_empty() || node.steps.len() > 1;
            (node.level, node.parents.clone(), children[place].clone(), is_alone.then_some(place))
        })
    }

    /// All steps of one depth are one node.
    fn by_depth(&self) -> Graph {
        let mut graph = self.grouped(|_, node| node.level);
        for (depth, node) in graph.nodes.iter_mut().enumerate() {
            node.name = format!("depth {}", depth + 1);
            node.parents = depth.checked_sub(1).into_iter().collect();
        }
        graph
    }

    /// Nodes with the same key are one. They have the same level, so that no edge leads within one.
    fn grouped<K: std::hash::Hash + Eq>(&self, key: impl Fn(usize, &Node) -> K) -> Graph {
        let (mut known, mut of, mut nodes) = (HashMap::new(), Vec::new(), Vec::<Node>::new());
        for (place, node) in self.nodes.iter().enumerate() {
            let group = *known.entry(key(place, node)).or_insert(nodes.len());
            of.push(group);
            let parents = node.parents.iter().map(|parent| of[*parent]);
            match nodes.get_mut(group) {
                Some(first) => {
                    first.name = common(&first.name, &node.name);
                    first.parents.extend(parents);
                    first.steps.extend(&node.steps);
                }
                None => nodes.push(Node { parents: parents.collect(), ..node.clone() }),
            }
        }
        for node in &mut nodes {
            node.parents.sort_unstable();
            node.parents.dedup();
        }
        Graph { nodes }
    }

    /// A row of cells for each node, and how many lanes there are. A lane leads from a node down to its last child; who is the last of a lane goes on
    /// in it. `None` stands for nothing.
    fn rows(&self) -> (Vec<Vec<Option<Cell>>>, usize) {
        let mut left = vec![0; self.nodes.len()];
        self.nodes.iter().flat_map(|node| &node.parents).for_each(|parent| left[*parent] += 1);
        let children = left.clone();
        // whose lane it is; and which one became free in the row before, where a stranger would look like its child
        let (mut lanes, mut freed): (Vec<Option<usize>>, Option<usize>) = (Vec::new(), None);
        let mut rows = Vec::with_capacity(self.nodes.len());
        for (place, node) in self.nodes.iter().enumerate() {
            node.parents.iter().for_each(|parent| left[*parent] -= 1);
            let is_parent = |lane: &Option<usize>| lane.is_some_and(|owner| node.parents.contains(&owner));
            let ends = |lane: &Option<usize>| lane.is_some_and(|owner| left[owner] == 0);
            let inherited = lanes.iter().position(|lane| is_parent(lane) && ends(lane));
            let free = || (0..lanes.len()).find(|lane| lanes[*lane].is_none() && freed != Some(*lane));
            let own = inherited.or_else(free).unwrap_or(lanes.len());
            if own == lanes.len() {
                lanes.push(None);
            }
            let joined = (0..lanes.len()).filter(|lane| *lane == own || is_parent(&lanes[*lane]));
            let (from, to) = (joined.clone().min().unwrap_or(own), joined.max().unwrap_or(own));
            let mut row = Vec::with_capacity(2 * lanes.len());
            for (lane, owner) in lanes.iter().enumerate() {
                let within = from < lane && lane < to;
                row.push(match owner {
                    _ if lane == own => Some(Cell::Sign),
                    owner if is_parent(owner) => Some(Cell::Line(match (ends(owner), lane == from, lane == to) {
                        (true, true, _) => '╰',
                        (true, _, true) => '╯',
                        (true, ..) => '┴',
                        (false, true, _) => '├',
                        (false, _, true) => '┤',
                        (false, ..) => '┼',
                    })),
                    Some(_) => Some(Cell::Line('│')),
                    None => within.then_some(Cell::Line('─')),
                });
                row.push((from <= lane && lane < to).then_some(Cell::Line('─')));
            }
            rows.push(row);
            for lane in lanes.iter_mut().filter(|lane| is_parent(lane) && ends(lane)) {
                *lane = None;
            }
            lanes[own] = (children[place] > 0).then_some(place);
            freed = (children[place] == 0).then_some(own);
        }
        (rows, lanes.len())
    }

    fn drawn(
        &self,
        rows: &[Vec<Option<Cell>>],
        lanes: usize,
        board: &Board,
        paint: Paint,
        now: Instant,
    ) -> Vec<String> {
        let title = |node: &Node| match node.steps.len() {
            1 => node.name.chars().take(LETTERS).collect::<String>(),
            number => format!("{} ×{}", node.name.chars().take(LETTERS).collect::<String>(), count(number)),
        };
        let width = self.nodes.iter().map(|node| title(node).chars().count()).max().unwrap_or(0);
        let line = |(row, node): (&Vec<Option<Cell>>, &Node)| {
            let steps: Vec<&Step> = node.steps.iter().filter_map(|number| board.steps.get(*number)).collect();
            let (sign, state) = match steps[..] {
                [step] => (lines::sign(step, paint), lines::state(step, paint, now)),
                _ => of_group(&steps, paint),
            };
            let mut text = String::new();
            for cell in row {
                match cell {
                    Some(Cell::Sign) => text += &sign,
                    Some(Cell::Line(line)) => text += &paint.dim(line),
                    None => text.push(' '),
                }
            }
            text += &" ".repeat(2 * lanes - row.len() + 1);
            text += &format!("{:width$}{state}", title(node));
            text.trim_end().to_owned()
        };
        rows.iter().zip(&self.nodes).map(line).collect()
    }
}

/// A group's sign, which is that of who matters most, and what its steps do.
fn of_group(steps: &[&Step], paint: Paint) -> (String, String) {
    let rank = |step: &&&Step| match &step.now {
        Now::Waits(reason) if lines::is_dead(reason) => 0,
        Now::Runs(_) => 1,
        Now::Waits(reason) if reason.word != "dependencies_not_satisfied" => 2,
        Now::Waits(_) | Now::Unknown => 3,
        Now::Ended(_) => 4,
    };
    let sign = steps.iter().min_by_key(rank).map(|step| lines::sign(step, paint)).unwrap_or_default();
    let satisfied = steps.iter().filter(|step| step.is_satisfied()).count();
    let rest: String =
        tally(steps.iter().copied()).iter().map(|(word, number)| format!(" · {} {word}", count(*number))).collect();
    (sign, format!("  {} of {}{}", count(satisfied), count(steps.len()), paint.dim(rest)))
}

/// What two names begin with, and a star; both, where that is nothing.
fn common(one: &str, other: &str) -> String {
    let one = one.trim_end_matches('*');
    let same = one.char_indices().zip(other.chars()).take_while(|((_, a), b)| a == b).count();
    let begin: String = one.chars().take(same).collect();
    match begin.trim_end_matches(|c: char| c.is_ascii_digit()) {
        begin if begin.len() > 1 => format!("{begin}*"),
        _ => format!("{}, ..", one.trim_end_matches(", ..")),
    }
}

#[cfg(test)]
mod tests;
