//! Where things lie: levels from top to bottom, with few crossings.

use rust_sugiyama::configure::{Config, CrossingMinimization, RankingType};

use super::Shape;

/// Pixels.
pub const HEIGHT: f64 = 40.0;
const BETWEEN: f64 = 28.0;
const BETWEEN_LEVELS: f64 = 48.0;
/// A name's letter.
const LETTER: f64 = 7.6;
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
        let widths: Vec<f64> = shape
            .nodes
            .iter()
            .map(|node| (node.name.chars().count().min(LETTERS) as f64 * LETTER + 30.0).max(96.0))
            .collect();
        let passed: usize = shape
            .edges
            .iter()
            .map(|(from, to)| shape.nodes[*to].level.saturating_sub(shape.nodes[*from].level + 1))
            .sum();
        let places = shape.nodes.len() + passed;
        let centres = if places <= SOME_CARE { layered(shape, &widths, places <= CARE) } else { rows(shape, &widths) };
        settle(shape, &widths, centres)
    }
}

/// Few crossings.
fn layered(shape: &Shape, widths: &[f64], with_care: bool) -> Vec<f64> {
    let vertices: Vec<(u32, (f64, f64))> = widths.iter().enumerate().map(|(n, w)| (n as u32, (*w, HEIGHT))).collect();
    let edges: Vec<(u32, u32)> = shape.edges.iter().map(|(from, to)| (*from as u32, *to as u32)).collect();
    let config = Config {
        vertex_spacing: BETWEEN,
        ranking_type: RankingType::Up,
        c_minimization: CrossingMinimization::Barycenter,
        transpose: with_care,
        ..Config::default()
    };
    let mut centres = vec![0.0; widths.len()];
    let mut right = 0.0;
    // parts that hang together stand beside each other
    for (part, ..) in rust_sugiyama::from_vertices_and_edges(&vertices, &edges, &config) {
        let edge = |sign: f64| part.iter().map(move |(n, (x, _))| sign * x + widths[*n] / 2.0).fold(f64::MIN, f64::max);
        let (left, width) = (-edge(-1.0), edge(1.0) + edge(-1.0));
        for (n, (x, _)) in &part {
            centres[*n] = x - left + right;
        }
        right += width + BETWEEN;
    }
    centres
}

/// As they come, each level in the middle.
fn rows(shape: &Shape, widths: &[f64]) -> Vec<f64> {
    let mut right: Vec<f64> = Vec::new();
    let mut centres = Vec::with_capacity(widths.len());
    for (node, width) in shape.nodes.iter().zip(widths) {
        right.resize(right.len().max(node.level + 1), 0.0);
        centres.push(right[node.level] + width / 2.0);
        right[node.level] += width + BETWEEN;
    }
    let widest = right.iter().copied().fold(0.0, f64::max);
    let offset = |level: usize| (widest - right[level]) / 2.0;
    centres.iter().zip(&shape.nodes).map(|(x, node)| x + offset(node.level)).collect()
}

/// Levels get their heights, no two nodes of one lie over each other, and everything lies within the picture.
fn settle(shape: &Shape, widths: &[f64], mut centres: Vec<f64>) -> Layout {
    let mut order: Vec<usize> = (0..widths.len()).collect();
    order.sort_by(|a, b| {
        (shape.nodes[*a].level, centres[*a])
            .partial_cmp(&(shape.nodes[*b].level, centres[*b]))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    for pair in 1..order.len() {
        let (before, this) = (order[pair - 1], order[pair]);
        if shape.nodes[before].level == shape.nodes[this].level {
            let least = centres[before] + (widths[before] + widths[this]) / 2.0 + BETWEEN / 2.0;
            centres[this] = centres[this].max(least);
        }
    }
    let left = centres.iter().zip(widths).map(|(x, w)| x - w / 2.0).fold(f64::MAX, f64::min);
    let right = centres.iter().zip(widths).map(|(x, w)| x + w / 2.0).fold(f64::MIN, f64::max);
    let levels = shape.nodes.iter().map(|node| node.level + 1).max().unwrap_or(0) as f64;
    let y = |level: usize| BETWEEN + HEIGHT / 2.0 + level as f64 * (HEIGHT + BETWEEN_LEVELS);
    let places = centres.iter().zip(widths).zip(&shape.nodes);
    Layout {
        places: places.map(|((x, w), node)| ((x - left + BETWEEN).round(), y(node.level), w.round())).collect(),
        width: (right - left + 2.0 * BETWEEN).round(),
        height: 2.0 * BETWEEN + levels * (HEIGHT + BETWEEN_LEVELS) - BETWEEN_LEVELS,
    }
}
