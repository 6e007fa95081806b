//! Line charts as SVG or PNG.
//!
//! A [`Chart`] is data; `layout` turns it into a `Scene` of lines and texts, which
//! `svg` writes and `png` paints. Both have the same font metrics, so a chart looks the
//! same as either. Knows nothing of what is plotted.
//!
//! No plotting library: those that draw SVG and bitmaps take fonts from the system, or
//! leave text out. The font here is a part of `DejaVu` Sans (`assets/`).

mod axis;
mod font;
mod layout;
mod png;
mod scene;
mod svg;

#[cfg(test)]
mod tests;

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// A picture with panels beside each other.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// What it shows, in large letters.
    pub(crate) title: String,
    /// Of what, below.
    pub(crate) subtitle: String,
    /// Small print at the bottom, a line each.
    pub(crate) notes: Vec<String>,
    /// The panels.
    pub(crate) panels: Vec<Panel>,
}

/// Lines over one pair of axes, both logarithmic: x to base 2, y to base 10.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub(crate) heading: String,
    pub(crate) x_label: String,
    pub(crate) series: Vec<Series>,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) look: Look,
    /// x and y, both above 0, by rising x.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// With a dot for each point.
    Measured,
    /// Another one.
    Second,
    /// Dashed.
    MemoryLimit,
    /// Dotted.
    ArithmeticLimit,
}

/// A file for a chart, whose name says which kind it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlotFile {
    pub(crate) path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Svg,
    Png,
}

impl PlotFile {
    /// Reads a file's name off the command line.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let path = PathBuf::from(name);
        let extension = path.extension().unwrap_or_default();
        let kind = if extension.eq_ignore_ascii_case("svg") {
            Kind::Svg
        } else if extension.eq_ignore_ascii_case("png") {
            Kind::Png
        } else {
            return Err("expected a name that ends in .svg or .png".to_owned());
        };
        Ok(Self { path, kind })
    }

    /// Draws `chart` into the file.
    pub(crate) fn write(&self, chart: &Chart) -> Result<()> {
        let scene = layout::scene(chart);
        let bytes = match self.kind {
            Kind::Svg => svg::write(&scene).into_bytes(),
            Kind::Png => png::paint(&scene)?,
        };
        let write = |path: &Path| std::fs::write(path, bytes);
        write(&self.path).with_context(|| format!("cannot write `{}`", self.path.display()))
    }
}
