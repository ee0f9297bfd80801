//! What was measured, as a table, JSON, and a page with plots.

use std::fmt::Write;

use serde::Serialize;

use crate::output::Paint;

/// All figures, in the order in which they were first measured.
#[derive(Default)]
pub struct Report {
    pub figures: Vec<Figure>,
}

/// One figure, of every round.
#[derive(Serialize)]
pub struct Figure {
    name: String,
    unit: Unit,
    ours: Vec<f64>,
    /// What the floor is, where there is one.
    floor_is: Option<&'static str>,
    floor: Vec<f64>,
    bar: Bar,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Less is better.
    Milliseconds,
    /// More is better.
    PerSecond,
    /// Less is better.
    Count,
}

/// What is to be reached.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    None,
    /// Ours over the floor.
    Ratio {
        at_least: f64,
        strive: f64,
    },
    /// Ours.
    Value {
        at_least: f64,
        strive: f64,
    },
}

impl Report {
    /// Adds what a round measured.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        unit: Unit,
        ours: f64,
        floor: Option<(&'static str, f64)>,
        bar: Bar,
    ) {
        let name = name.into();
        let figure = match self.figures.iter().position(|figure| figure.name == name) {
            Some(known) => &mut self.figures[known],
            None => {
                let floor_is = floor.map(|(is, _)| is);
                self.figures.push(Figure { name, unit, ours: Vec::new(), floor_is, floor: Vec::new(), bar });
                self.figures.last_mut().expect("it was pushed")
            }
        };
        figure.ours.push(ours);
        figure.floor.extend(floor.map(|(_, floor)| floor));
    }

    /// For a terminal.
    pub fn table(&self, paint: Paint) -> String {
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        let mut text = format!(
            "{:width$}  {:>12}  {:>12}  {:18}  {:>6}  {:>15}  {:>8}  {:>6}\n",
            "median", "ours", "floor", "", "ratio", "[least .. most]", "at least", "strive"
        );
        for figure in &self.figures {
            let (least, middle, most) = figure.spread();
            let (at_least, strive) = figure.bar.words();
            let floor = figure.floor_is.map(|_| figure.unit.written(median(&figure.floor))).unwrap_or_default();
            let reached = format!("{middle:6.2}");
            let reached = match figure.is_reached() {
                Some(true) => paint.green(reached),
                Some(false) => paint.red(reached),
                None => reached,
            };
            let _ = writeln!(
                text,
                "{:width$}  {:>12}  {floor:>12}  {:18}  {reached}  {:>15}  {at_least:>8}  {strive:>6}",
                figure.name,
                figure.unit.written(median(&figure.ours)),
                figure.floor_is.unwrap_or("-"),
                format!("[{least:.2} .. {most:.2}]"),
            );
        }
        text
    }

    /// A page with a plot of every figure, round by round.
    pub fn page(&self) -> String {
        let mut page = String::from(
            "<!doctype html><meta charset=utf-8><title>tasker bench</title><style>body{font:15px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;\
             padding:0 1em;color:#1c2330}h2{font-size:1em;margin:1.6em 0 .2em}p{margin:0;color:#5a6475}svg{display:block;width:100%;height:auto}\
             .ours{fill:#2563eb}.floor{fill:#94a3b8}text{font:12px system-ui,sans-serif;fill:#1c2330}.bar{stroke:#dc2626;stroke-dasharray:4 3}</style>\
             <h1>tasker bench</h1><p><svg viewBox='0 0 400 18' style='width:26em'><rect class=ours x=0 y=4 width=12 height=10 /><text x=18 y=13>ours</text>\
             <rect class=floor x=70 y=4 width=12 height=10 /><text x=88 y=13>the floor, in the same round</text>\
             <line class=bar x1=270 x2=290 y1=9 y2=9 /><text x=296 y=13>to be reached</text></svg>",
        );
        for figure in &self.figures {
            let (least, middle, most) = figure.spread();
            let (at_least, _) = figure.bar.words();
            let bar = if at_least.is_empty() { String::new() } else { format!(", to be reached: {at_least}") };
            let beside = figure.floor_is.map(|floor| format!(" beside {floor}")).unwrap_or_default();
            let _ = write!(
                page,
                "<h2>{}</h2><p>{}{beside}: {middle:.2} [{least:.2} .. {most:.2}]{bar}</p>{}",
                figure.name,
                figure.unit.written(median(&figure.ours)),
                figure.plot()
            );
        }
        page
    }
}

impl Figure {
    /// What is compared with the bar, of each round: ours itself, where that is asked for or has nothing beside it, or a ratio.
    fn compared(&self) -> Vec<f64> {
        match self.bar {
            _ if self.floor_is.is_none() => self.ours.clone(),
            Bar::Value { .. } => self.ours.clone(),
            _ => self.ours.iter().zip(&self.floor).map(|(ours, floor)| ours / floor).collect(),
        }
    }

    fn spread(&self) -> (f64, f64, f64) {
        let compared = self.compared();
        let least = compared.iter().copied().fold(f64::INFINITY, f64::min);
        let most = compared.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (least, median(&compared), most)
    }

    /// Whether the median reaches the bar; `None`: there is none.
    fn is_reached(&self) -> Option<bool> {
        let (_, middle, _) = self.spread();
        match self.bar {
            Bar::None => None,
            Bar::Ratio { at_least, .. } | Bar::Value { at_least, .. } => {
                Some(if self.unit == Unit::PerSecond { middle >= at_least } else { middle <= at_least })
            }
        }
    }

    /// A pair of bars a round.
    fn plot(&self) -> String {
        let most = self.ours.iter().chain(&self.floor).copied().fold(0.0, f64::max);
        let line = match self.bar {
            Bar::Ratio { at_least, .. } => Some(at_least * median(&self.floor)),
            Bar::Value { at_least, .. } => Some(at_least),
            Bar::None => None,
        };
        let scale = 600.0 / most.max(line.unwrap_or(0.0));
        let mut svg = format!("<svg viewBox='0 0 760 {}'>", 30 * self.ours.len());
        for (round, ours) in self.ours.iter().enumerate() {
            let y = 30 * round;
            let floor = self.floor.get(round).map(|floor| ("floor", *floor, y + 15));
            for (class, value, y) in [("ours", *ours, y + 3)].into_iter().chain(floor) {
                let width = value * scale;
                let _ = write!(
                    svg,
                    "<rect class={class} x=0 y={y} width={width:.1} height=11 /><text x={:.1} y={}>{}</text>",
                    width + 6.0,
                    y + 10,
                    self.unit.written(value)
                );
            }
        }
        if let Some(line) = line {
            let x = line * scale;
            let _ = write!(svg, "<line class=bar x1={x:.1} x2={x:.1} y1=0 y2={} />", 30 * self.ours.len());
        }
        svg + "</svg>"
    }
}

impl Unit {
    fn written(self, value: f64) -> String {
        match self {
            Unit::Milliseconds if value < 10.0 => format!("{value:.2} ms"),
            Unit::Milliseconds => format!("{value:.0} ms"),
            Unit::PerSecond => format!("{value:.0}/s"),
            Unit::Count if value < 10.0 => format!("{value:.3}"),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

impl Bar {
    /// At least, strive for.
    fn words(self) -> (String, String) {
        match self {
            Bar::None => Default::default(),
            Bar::Ratio { at_least, strive } | Bar::Value { at_least, strive } => {
                (at_least.to_string(), strive.to_string())
            }
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        for (ours, floor) in [(30.0, 10.0), (18.0, 10.0), (19.0, 10.0)] {
            report.add(
                "wide",
                Unit::Milliseconds,
                ours,
                Some(("commits", floor)),
                Bar::Ratio { at_least: 2.0, strive: 1.5 },
            );
            report.add(
                "fast",
                Unit::PerSecond,
                ours,
                Some(("commits", floor)),
                Bar::Ratio { at_least: 2.0, strive: 3.0 },
            );
            report.add("size", Unit::Count, ours, None, Bar::None);
            report.add("read", Unit::Milliseconds, ours, None, Bar::Value { at_least: 20.0, strive: 10.0 });
        }
        report
    }

    #[test]
    fn a_figure_is_judged_by_its_median_and_its_units_direction() {
        let reached: Vec<_> = report().figures.iter().map(|figure| (figure.spread().1, figure.is_reached())).collect();
        assert_eq!(reached, [(1.9, Some(true)), (1.9, Some(false)), (19.0, None), (19.0, Some(true))]);
    }

    #[test]
    fn the_table_and_the_page_say_what_was_measured() {
        let (table, page) = (report().table(Paint::none()), report().page());
        assert!(
            table.contains("wide         19 ms         10 ms  commits               1.90   [1.80 .. 3.00]"),
            "{table}"
        );
        assert!(page.contains("<h2>read</h2><p>19 ms: 19.00 [18.00 .. 30.00], to be reached: 20</p><svg"), "{page}");
    }
}
