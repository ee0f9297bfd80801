//! Where things lie: levels from top to bottom, with few crossings. An edge that passes levels has a place in each of them, beside the steps.

use std::collections::HashMap;

use rust_sugiyama::configure::{Config, CrossingMinimization, RankingType};

use tasker::store::{Graph, GraphNode};

/// Pixels.
pub const HEIGHT: f64 = 40.0;
const BETWEEN: f64 = 28.0;
const BETWEEN_LEVELS: f64 = 48.0;
/// A name's letter.
const LETTER: f64 = 7.6;
/// A state in words fits into it.
const LEAST: f64 = 128.0;
/// As many letters of a name are shown.
pub const LETTERS: usize = 30;
/// A place at which edges pass takes that much less than the room between two: 12 pixels from one to the next, and 20 to a step.
const PASSING: f64 = 12.0 - BETWEEN;
/// Where edges pass in more places than that, they go straight, behind what is in their way.
const MOST_PASSING: usize = 50_000;
/// And where all of them together have more bends than that.
const MOST_BENDS: usize = 200_000;
/// Up to so many places (steps, and where edges pass levels) crossings are avoided with care, up to the second with less, and beyond it not at all.
const CARE: usize = 600;
const SOME_CARE: usize = 6_000;

/// The centre and the width of each node, and the size of it all.
#[derive(Clone, Debug)]
pub struct Layout {
    /// x and y of the centre, and the width, by step number.
    pub places: Vec<(f64, f64, f64)>,
    /// x and y of the centres of the places at which each edge passes the levels between its ends, from top to bottom.
    pub ways: Vec<Vec<(f64, f64)>>,
    /// The picture's width.
    pub width: f64,
    /// The picture's height.
    pub height: f64,
}

impl Layout {
    /// Works it out.
    pub fn of(graph: &Graph) -> Layout {
        let letters = |node: &GraphNode| node.name.chars().count().min(LETTERS) as f64;
        let short = Short::of(graph);
        let mut widths: Vec<f64> =
            graph.nodes.iter().map(|node| (letters(node) * LETTER + 30.0).max(LEAST).round()).collect();
        widths.resize(short.level.len(), PASSING);
        let levels = short.levels();
        let centres = centres(&short, &widths, &levels);
        let edge = |sign: f64| centres.iter().zip(&widths).map(move |(x, w)| sign * x + w / 2.0).fold(0.0, f64::max);
        let (left, right) = (edge(-1.0), edge(1.0));
        let x = |place: usize| (centres[place] + left + BETWEEN).round();
        let y = |place: usize| BETWEEN + HEIGHT / 2.0 + short.level[place] as f64 * (HEIGHT + BETWEEN_LEVELS);
        Layout {
            places: (0..graph.nodes.len()).map(|n| (x(n), y(n), widths[n])).collect(),
            ways: short.ways.iter().map(|way| way.iter().map(|place| (x(*place), y(*place))).collect()).collect(),
            width: (left + right + 2.0 * BETWEEN).round(),
            height: 2.0 * BETWEEN + levels.len() as f64 * (HEIGHT + BETWEEN_LEVELS) - BETWEEN_LEVELS,
        }
    }
}

/// The graph in edges of one level each: with a place wherever an edge passes a level. Edges that begin at the same step share theirs.
struct Short {
    /// The level of each place: the steps, then where edges pass.
    level: Vec<usize>,
    /// From place to place.
    edges: Vec<(usize, usize)>,
    /// The places that each of the graph's edges passes.
    ways: Vec<Vec<usize>>,
}

impl Short {
    fn of(graph: &Graph) -> Short {
        let level: Vec<usize> = graph.nodes.iter().map(|node| node.level).collect();
        let mut farthest = level.clone();
        for (from, to) in &graph.edges {
            farthest[*from] = farthest[*from].max(level[*to]);
        }
        let passing: usize = level.iter().zip(&farthest).map(|(from, to)| (to - from).saturating_sub(1)).sum();
        let bends: usize = graph.edges.iter().map(|(from, to)| level[*to].saturating_sub(level[*from] + 1)).sum();
        if passing > MOST_PASSING || bends > MOST_BENDS {
            return Short { level, edges: graph.edges.clone(), ways: vec![Vec::new(); graph.edges.len()] };
        }
        let mut short = Short { level, edges: Vec::new(), ways: Vec::new() };
        let mut known = HashMap::new();
        for (from, to) in &graph.edges {
            let (mut last, mut way) = (*from, Vec::new());
            for level in short.level[*from] + 1..short.level[*to] {
                let place = *known.entry((*from, level)).or_insert_with(|| {
                    short.level.push(level);
                    short.edges.push((last, short.level.len() - 1));
                    short.level.len() - 1
                });
                way.push(place);
                last = place;
            }
            short.edges.push((last, *to));
            short.ways.push(way);
        }
        short
    }

    /// The places of each level, from left to right, in an order with few crossings.
    fn levels(&self) -> Vec<Vec<usize>> {
        let places = self.level.len();
        let mut at: Vec<f64> = (0..places).map(|n| n as f64).collect();
        // without care: where edges pass, they stand beside the step at which they begin
        self.ways.iter().flatten().for_each(|place| at[*place] = -1.0);
        for (from, to) in &self.edges {
            if at[*to] < 0.0 {
                at[*to] = at[*from];
            }
        }
        // an edge that goes straight past levels would get places in them there, as many as it passes
        let is_short = self.edges.iter().all(|(from, to)| self.level[*to] == self.level[*from] + 1);
        if places <= SOME_CARE && is_short {
            let vertices: Vec<(u32, (f64, f64))> = (0..places as u32).map(|n| (n, (1.0, 1.0))).collect();
            let edges: Vec<(u32, u32)> = self.edges.iter().map(|(from, to)| (*from as u32, *to as u32)).collect();
            let config = Config {
                ranking_type: RankingType::Up,
                c_minimization: CrossingMinimization::Barycenter,
                transpose: places <= CARE,
                ..Config::default()
            };
            // parts that hang together stand beside each other
            let mut left = 0.0;
            for (part, ..) in rust_sugiyama::from_vertices_and_edges(&vertices, &edges, &config) {
                let least = part.iter().map(|(_, (x, _))| *x).fold(f64::MAX, f64::min);
                let most = part.iter().map(|(_, (x, _))| *x).fold(f64::MIN, f64::max);
                part.iter().for_each(|(n, (x, _))| at[*n] = x - least + left);
                left += most - least + 1.0;
            }
        }
        let mut levels: Vec<Vec<usize>> = Vec::new();
        for (place, level) in self.level.iter().enumerate() {
            levels.resize(levels.len().max(level + 1), Vec::new());
            levels[*level].push(place);
        }
        levels.iter_mut().for_each(|level| level.sort_by(|a, b| at[*a].total_cmp(&at[*b])));
        levels
    }
}

/// How often each level is drawn towards its parents, and then towards its children.
const SWEEPS: usize = 6;

/// Each place as near to the middle of its parents and children as the others of its level let it.
fn centres(graph: &Short, widths: &[f64], levels: &[Vec<usize>]) -> Vec<f64> {
    let (mut parents, mut children) = (vec![Vec::new(); widths.len()], vec![Vec::new(); widths.len()]);
    for (from, to) in &graph.edges {
        parents[*to].push(*from);
        children[*from].push(*to);
    }
    let mut centres = vec![0.0; widths.len()];
    for level in levels {
        let wanted = vec![0.0; level.len()];
        spread(level, widths, &wanted, &mut centres);
    }
    for _ in 0..SWEEPS {
        for (order, of) in [(false, &parents), (true, &children)] {
            let mut walk: Vec<&Vec<usize>> = levels.iter().collect();
            if order {
                walk.reverse();
            }
            for level in walk {
                let wanted: Vec<f64> = level
                    .iter()
                    .map(|n| match of[*n].len() {
                        0 => centres[*n],
                        count => of[*n].iter().map(|m| centres[*m]).sum::<f64>() / count as f64,
                    })
                    .collect();
                spread(level, widths, &wanted, &mut centres);
            }
        }
    }
    centres
}

/// The places nearest to the wanted ones (least squares) at which no two of a level, in this order, lie over each other: isotonic regression by
/// pooling adjacent violators, over the places less what the nodes before take.
fn spread(level: &[usize], widths: &[f64], wanted: &[f64], centres: &mut [f64]) {
    let mut taken = Vec::with_capacity(level.len());
    for (i, n) in level.iter().enumerate() {
        let before = if i == 0 { 0.0 } else { taken[i - 1] + (widths[level[i - 1]] + widths[*n]) / 2.0 + BETWEEN };
        taken.push(before);
    }
    // runs of nodes that touch: the sum of their wishes, and their number
    let mut runs: Vec<(f64, usize)> = Vec::new();
    for (wish, taken) in wanted.iter().zip(&taken) {
        runs.push((wish - taken, 1));
        while let [.., (a, n), (b, m)] = runs[..]
            && a / n as f64 > b / m as f64
        {
            runs.truncate(runs.len() - 2);
            runs.push((a + b, n + m));
        }
    }
    let places = runs.iter().flat_map(|(sum, n)| std::iter::repeat_n(sum / *n as f64, *n));
    for ((n, place), taken) in level.iter().zip(places).zip(&taken) {
        centres[*n] = place + taken;
    }
}
