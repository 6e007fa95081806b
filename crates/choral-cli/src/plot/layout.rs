//! Gives everything in a chart its place.

use super::axis::{self, Axis};
use super::font::Font;
use super::scene::{Anchor, Dash, Ink, Mark, Scene, Text};
use super::{Chart, Look, Panel, Series};

const PANEL_WIDTH: f32 = 520.0;
const MARGIN: f32 = 28.0;
/// From the left edge of a panel to its y axis: room for the ticks' names.
const Y_NAMES: f32 = 52.0;
/// Between two panels.
const GAP: f32 = 24.0;
const PLOT_HEIGHT: f32 = 300.0;
/// Between two lines of small print, and between two of a legend.
const LINE: f32 = 19.0;

/// Limits are seen up to so many times the highest measurement: those far above say
/// nothing, and would press all else to the bottom.
const HEADROOM: f64 = 30.0;

/// The whole chart.
pub(super) fn scene(chart: &Chart) -> Scene {
    let columns = chart.panels.len() as f32;
    let width = 2.0 * MARGIN + columns * PANEL_WIDTH + (columns - 1.0).max(0.0) * GAP;
    let mut marks = vec![
        text(&chart.title, (MARGIN, 44.0), 20.0)
            .bold()
            .ink(Ink::Text)
            .mark(),
        text(&chart.subtitle, (MARGIN, 68.0), 13.0).mark(),
    ];
    let rows = |panel: &Panel| panel.series.len().div_ceil(2);
    let legend_rows = chart.panels.iter().map(rows).max().unwrap_or(0);
    let plot_top = 128.0 + legend_rows as f32 * LINE;
    for (nth, panel) in chart.panels.iter().enumerate() {
        let left = MARGIN + nth as f32 * (PANEL_WIDTH + GAP);
        draw_panel(&mut marks, panel, left, plot_top);
    }
    let mut y = plot_top + PLOT_HEIGHT + 74.0;
    for note in &chart.notes {
        marks.push(text(note, (MARGIN, y), 12.0).mark());
        y += LINE;
    }
    Scene {
        width,
        height: y + 8.0,
        title: chart.title.clone(),
        description: chart.subtitle.clone(),
        marks,
    }
}

/// Where a panel's points are drawn.
struct Frame {
    left: f32,
    top: f32,
    width: f32,
    x: Axis,
    y: Axis,
}

impl Frame {
    fn at(&self, (x, y): (f64, f64)) -> (f32, f32) {
        (
            self.left + self.x.place(x) as f32 * self.width,
            self.top + (1.0 - self.y.place(y) as f32) * PLOT_HEIGHT,
        )
    }

    fn bottom(&self) -> f32 {
        self.top + PLOT_HEIGHT
    }
}

fn draw_panel(marks: &mut Vec<Mark>, panel: &Panel, left: f32, top: f32) {
    marks.push(
        text(&panel.heading, (left, 104.0), 14.0)
            .bold()
            .ink(Ink::Text)
            .mark(),
    );
    draw_legend(marks, &panel.series, left);
    let frame = frame(panel, left + Y_NAMES, top);
    draw_axes(marks, panel, &frame);
    // Limits below what was measured.
    let (measured, limits): (Vec<&Series>, Vec<&Series>) = panel
        .series
        .iter()
        .partition(|series| series.look.has_dots());
    for series in limits.into_iter().chain(measured) {
        draw_series(marks, series, &frame);
    }
}

fn frame(panel: &Panel, left: f32, top: f32) -> Frame {
    let points = |series: &Series| series.points.clone();
    let all = || panel.series.iter().flat_map(points);
    let measured = panel.series.iter().filter(|series| series.look.has_dots());
    let highest = measured
        .flat_map(points)
        .map(|(_, y)| y)
        .fold(0.0, f64::max);
    let lowest = all().map(|(_, y)| y).fold(f64::INFINITY, f64::min);
    let seen = all()
        .map(|(_, y)| y)
        .map(|y| y.min((highest * HEADROOM).max(lowest)));
    Frame {
        left,
        top,
        width: PANEL_WIDTH - Y_NAMES,
        x: Axis::over(all().map(|(x, _)| x), 2.0, 0.25),
        y: Axis::over(seen, 10.0, 0.12),
    }
}

fn draw_axes(marks: &mut Vec<Mark>, panel: &Panel, frame: &Frame) {
    let (right, bottom) = (frame.left + frame.width, frame.bottom());
    for tick in frame.y.ticks() {
        let y = frame.bottom() - frame.y.place(tick) as f32 * PLOT_HEIGHT;
        marks.push(line(vec![(frame.left, y), (right, y)], Ink::Grid, 1.0));
        let name = text(&axis::name(tick), (frame.left - 8.0, y + 4.0), 12.0);
        marks.push(name.anchor(Anchor::End).mark());
    }
    for tick in frame.x.ticks() {
        let x = frame.left + frame.x.place(tick) as f32 * frame.width;
        marks.push(line(vec![(x, frame.top), (x, bottom)], Ink::Grid, 1.0));
        let name = text(&axis::name(tick), (x, bottom + 19.0), 12.0);
        marks.push(name.anchor(Anchor::Middle).mark());
    }
    marks.push(line(
        vec![
            (frame.left, frame.top),
            (frame.left, bottom),
            (right, bottom),
        ],
        Ink::Frame,
        1.0,
    ));
    let middle = frame.left + frame.width / 2.0;
    let label = text(&panel.x_label, (middle, bottom + 42.0), 13.0);
    marks.push(label.anchor(Anchor::Middle).ink(Ink::Text).mark());
}

/// Two columns below the heading, a sample of each line before its name.
fn draw_legend(marks: &mut Vec<Mark>, series: &[Series], left: f32) {
    let widths = series
        .iter()
        .step_by(2)
        .map(|series| Font::new(false, 12.0).width(&series.label));
    let column = widths.fold(0.0, f32::max) + 34.0 + 28.0;
    for (nth, series) in series.iter().enumerate() {
        let x = left + (nth % 2) as f32 * column;
        let y = 122.0 + (nth / 2) as f32 * LINE;
        let sample = vec![(x, y), (x + 26.0, y)];
        marks.push(series.look.line(sample));
        if series.look.has_dots() {
            marks.push(series.look.dot((x + 13.0, y)));
        }
        let name = text(&series.label, (x + 34.0, y + 4.0), 12.0);
        marks.push(name.ink(Ink::Text).mark());
    }
}

fn draw_series(marks: &mut Vec<Mark>, series: &Series, frame: &Frame) {
    let places: Vec<(f32, f32)> = series.points.iter().map(|&p| frame.at(p)).collect();
    for run in visible(&places, frame.top) {
        marks.push(series.look.line(run));
    }
    if series.look.has_dots() {
        let seen = places.iter().filter(|(_, y)| *y >= frame.top);
        marks.extend(seen.map(|&place| series.look.dot(place)));
    }
}

/// The parts of a line that are not above `top`.
fn visible(places: &[(f32, f32)], top: f32) -> Vec<Vec<(f32, f32)>> {
    let mut runs: Vec<Vec<(f32, f32)>> = Vec::new();
    for pair in places.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let cut = {
            let share = (top - a.1) / (b.1 - a.1);
            (a.0 + share * (b.0 - a.0), top)
        };
        let (a, b) = match (a.1 >= top, b.1 >= top) {
            (true, true) => (a, b),
            (true, false) => (a, cut),
            (false, true) => (cut, b),
            (false, false) => continue,
        };
        match runs.last_mut() {
            Some(run) if run.last() == Some(&a) => run.push(b),
            _ => runs.push(vec![a, b]),
        }
    }
    runs
}

impl Look {
    fn has_dots(self) -> bool {
        matches!(self, Self::Measured | Self::Second)
    }

    fn ink(self) -> Ink {
        match self {
            Self::Measured => Ink::First,
            Self::Second => Ink::Second,
            Self::MemoryLimit => Ink::Third,
            Self::ArithmeticLimit => Ink::Fourth,
        }
    }

    fn line(self, points: Vec<(f32, f32)>) -> Mark {
        let (width, dash) = match self {
            Self::Measured | Self::Second => (2.5, Dash::Solid),
            Self::MemoryLimit => (2.0, Dash::Dashed),
            Self::ArithmeticLimit => (2.0, Dash::Dotted),
        };
        Mark::Line {
            points,
            ink: self.ink(),
            width,
            dash,
        }
    }

    fn dot(self, center: (f32, f32)) -> Mark {
        Mark::Dot {
            center,
            radius: 4.0,
            ink: self.ink(),
        }
    }
}

fn line(points: Vec<(f32, f32)>, ink: Ink, width: f32) -> Mark {
    Mark::Line {
        points,
        ink,
        width,
        dash: Dash::Solid,
    }
}

/// Small, faint and from the left, unless said.
fn text(text: &str, at: (f32, f32), size: f32) -> Text {
    Text {
        line: text.to_owned(),
        at,
        anchor: Anchor::Start,
        size,
        bold: false,
        ink: Ink::Faint,
    }
}

impl Text {
    fn bold(mut self) -> Self {
        self.bold = true;
        self
    }

    fn ink(mut self, ink: Ink) -> Self {
        self.ink = ink;
        self
    }

    fn anchor(mut self, anchor: Anchor) -> Self {
        self.anchor = anchor;
        self
    }

    fn mark(self) -> Mark {
        Mark::Text(self)
    }
}
