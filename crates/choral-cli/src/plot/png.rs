//! Paints a scene, on light paper.

use super::font::Font;
use super::scene::{Anchor, Ink, Mark, Scene};
use anyhow::{Context as _, Result};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash,
    Transform,
};

/// Pixels of the picture for one of the scene, so that it is sharp on fine screens.
const SCALE: f32 = 2.0;

/// The picture as a PNG file.
pub(super) fn paint(scene: &Scene) -> Result<Vec<u8>> {
    let pixels = |length: f32| (length * SCALE).ceil() as u32;
    let pixmap = Pixmap::new(pixels(scene.width), pixels(scene.height));
    let mut pixmap = pixmap.context("the chart is too large for a picture")?;
    pixmap.fill(color(Ink::Paper));
    for mark in &scene.marks {
        draw(&mut pixmap, mark)?;
    }
    Ok(pixmap.encode_png()?)
}

fn draw(pixmap: &mut Pixmap, mark: &Mark) -> Result<()> {
    match mark {
        Mark::Line {
            points,
            ink,
            width,
            dash,
        } => {
            let mut path = PathBuilder::new();
            for (nth, &(x, y)) in points.iter().enumerate() {
                if nth == 0 {
                    path.move_to(x, y);
                } else {
                    path.line_to(x, y);
                }
            }
            // A single point is no line.
            let Some(path) = path.finish() else {
                return Ok(());
            };
            let stroke = Stroke {
                width: *width,
                line_cap: LineCap::Butt,
                line_join: LineJoin::Round,
                dash: StrokeDash::new(dash.lengths().to_vec(), 0.0),
                ..Stroke::default()
            };
            pixmap.stroke_path(&path, &paint_of(*ink), &stroke, scaled(), None);
        }
        Mark::Dot {
            center: (x, y),
            radius,
            ink,
        } => {
            let path = PathBuilder::from_circle(*x, *y, *radius);
            fill(pixmap, path.as_ref(), *ink);
        }
        Mark::Text(text) => {
            let font = Font::new(text.bold, text.size);
            let (x, y) = text.at;
            let start = match text.anchor {
                Anchor::Start => x,
                Anchor::Middle => x - font.width(&text.line) / 2.0,
                Anchor::End => x - font.width(&text.line),
            };
            fill(
                pixmap,
                font.outline(&text.line, start, y)?.as_ref(),
                text.ink,
            );
        }
    }
    Ok(())
}

fn fill(pixmap: &mut Pixmap, path: Option<&Path>, ink: Ink) {
    if let Some(path) = path {
        pixmap.fill_path(path, &paint_of(ink), FillRule::Winding, scaled(), None);
    }
}

fn scaled() -> Transform {
    Transform::from_scale(SCALE, SCALE)
}

fn paint_of(ink: Ink) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color(color(ink));
    paint.anti_alias = true;
    paint
}

fn color(ink: Ink) -> Color {
    let [[r, g, b], _] = ink.rgb();
    Color::from_rgba8(r, g, b, u8::MAX)
}
