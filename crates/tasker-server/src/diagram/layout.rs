//! Where things lie: levels from top to bottom, with few crossings.

use rust_sugiyama::configure::{Config, CrossingMinimization, RankingType};

use super::{Node, Shape};

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
/// Up to so many places (nodes, and where edges pass levels) crossings are avoided with care, up to the second with less, and beyond it not at all.
const CARE: usize = 600;
const SOME_CARE: usize = 6_000;

/// The centre and the width of each node, and the size of it all.
#[derive(Clone, Debug)]
pub struct Layout {
    /// x and y of the centre, and the width, by step number.
    pub places: Vec<(f64, f64, f64)>,
    /// The picture's width.
    pub width: f64,
    /// The picture's height.
    pub height: f64,
}

impl Layout {
    /// Works it out.
    pub fn of(shape: &Shape) -> Layout {
        let letters = |node: &Node| node.name.chars().count().min(LETTERS) as f64;
        let widths: Vec<f64> =
            shape.nodes.iter().map(|node| (letters(node) * LETTER + 30.0).max(LEAST).round()).collect();
        let levels = levels(shape);
        let centres = centres(shape, &widths, &levels);
        let edge = |sign: f64| centres.iter().zip(&widths).map(move |(x, w)| sign * x + w / 2.0).fold(0.0, f64::max);
        let (left, right) = (edge(-1.0), edge(1.0));
        let y = |level: usize| BETWEEN + HEIGHT / 2.0 + level as f64 * (HEIGHT + BETWEEN_LEVELS);
        let place = |(n, node): (usize, &Node)| ((centres[n] + left + BETWEEN).round(), y(node.level), widths[n]);
        Layout {
            places: shape.nodes.iter().enumerate().map(place).collect(),
            width: (left + right + 2.0 * BETWEEN).round(),
            height: 2.0 * BETWEEN + levels.len() as f64 * (HEIGHT + BETWEEN_LEVELS) - BETWEEN_LEVELS,
        }
    }
}

/// The nodes of each level, from left to right, in an order with few crossings.
fn levels(shape: &Shape) -> Vec<Vec<usize>> {
    let passed = |(from, to): &(usize, usize)| shape.nodes[*to].level.saturating_sub(shape.nodes[*from].level + 1);
    let places = shape.nodes.len() + shape.edges.iter().map(passed).sum::<usize>();
    let mut at: Vec<f64> = (0..shape.nodes.len()).map(|n| n as f64).collect();
    if places <= SOME_CARE {
        let vertices: Vec<(u32, (f64, f64))> = (0..shape.nodes.len() as u32).map(|n| (n, (1.0, 1.0))).collect();
        let edges: Vec<(u32, u32)> = shape.edges.iter().map(|(from, to)| (*from as u32, *to as u32)).collect();
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
    for (n, node) in shape.nodes.iter().enumerate() {
        levels.resize(levels.len().max(node.level + 1), Vec::new());
        levels[node.level].push(n);
    }
    levels.iter_mut().for_each(|level| level.sort_by(|a, b| at[*a].total_cmp(&at[*b])));
    levels
}

/// How often each level is drawn towards its parents, and then towards its children.
const SWEEPS: usize = 6;

/// Each node as near to the middle of its parents and children as the others of its level let it.
fn centres(shape: &Shape, widths: &[f64], levels: &[Vec<usize>]) -> Vec<f64> {
    let (mut parents, mut children) = (vec![Vec::new(); widths.len()], vec![Vec::new(); widths.len()]);
    for (from, to) in &shape.edges {
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
