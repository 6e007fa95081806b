//! The font: outlines and widths.

use anyhow::{Context as _, Result};
use tiny_skia::{Path, PathBuilder};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

const REGULAR: &[u8] = include_bytes!("../../assets/plot-sans.ttf");
const BOLD: &[u8] = include_bytes!("../../assets/plot-sans-bold.ttf");

/// A font of a size.
pub(super) struct Font {
    face: Face<'static>,
    /// Pixels a font unit.
    scale: f32,
}

impl Font {
    pub(super) fn new(bold: bool, size: f32) -> Self {
        let bytes = if bold { BOLD } else { REGULAR };
        let face = Face::parse(bytes, 0).expect("the font that ships is one");
        let scale = size / f32::from(face.units_per_em());
        Self { face, scale }
    }

    /// Width of a line of text.
    pub(super) fn width(&self, text: &str) -> f32 {
        text.chars().map(|c| self.advance(self.glyph(c))).sum()
    }

    /// What the font does not have shows as its replacement character.
    fn glyph(&self, c: char) -> GlyphId {
        let glyph = self.face.glyph_index(c);
        let glyph = glyph.or_else(|| self.face.glyph_index(char::REPLACEMENT_CHARACTER));
        glyph.unwrap_or(GlyphId(0))
    }

    fn advance(&self, glyph: GlyphId) -> f32 {
        f32::from(self.face.glyph_hor_advance(glyph).unwrap_or(0)) * self.scale
    }

    /// The outlines of a line of text that begins at `x` on the baseline `y`. `None` if
    /// there is nothing to be seen.
    pub(super) fn outline(&self, text: &str, x: f32, y: f32) -> Result<Option<Path>> {
        let mut pen = Pen {
            path: PathBuilder::new(),
            x,
            y,
            scale: self.scale,
        };
        for c in text.chars() {
            let glyph = self.glyph(c);
            self.face.outline_glyph(glyph, &mut pen);
            pen.x += self.advance(glyph);
        }
        if pen.path.is_empty() {
            return Ok(None);
        }
        let path = pen.path.finish().context("outlines of text are finite")?;
        Ok(Some(path))
    }
}

/// Draws glyphs, whose y axis points upwards.
struct Pen {
    path: PathBuilder,
    x: f32,
    y: f32,
    scale: f32,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (one, two, end) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(one.0, one.1, two.0, two.1, end.0, end.1);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
