//! Writes a scene as SVG. Its colours follow whether the reader's screen is light or
//! dark; its texts are text.

use super::scene::{Anchor, Dash, Ink, Mark, Scene};
use std::fmt::{Result, Write as _};

/// The file's text.
pub(super) fn write(scene: &Scene) -> String {
    let mut out = String::new();
    scene_to(&mut out, scene).expect("writing to a string does not fail");
    out
}

fn scene_to(out: &mut String, scene: &Scene) -> Result {
    let Scene { width, height, .. } = scene;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"title description\">"
    )?;
    writeln!(out, "<title id=\"title\">{}</title>", escaped(&scene.title))?;
    writeln!(
        out,
        "<desc id=\"description\">{}</desc>",
        escaped(&scene.description)
    )?;
    writeln!(out, "<style>")?;
    writeln!(out, "svg {{ {} }}", variables(0))?;
    writeln!(
        out,
        "@media (prefers-color-scheme: dark) {{ svg {{ {} }} }}",
        variables(1)
    )?;
    writeln!(
        out,
        "text {{ font-family: \"DejaVu Sans\", Verdana, sans-serif; }}"
    )?;
    writeln!(out, "</style>")?;
    let paper = fill(Ink::Paper);
    writeln!(out, "<rect width=\"100%\" height=\"100%\" {paper}/>")?;
    for mark in &scene.marks {
        mark_to(out, mark)?;
    }
    writeln!(out, "</svg>")
}

fn mark_to(out: &mut String, mark: &Mark) -> Result {
    match mark {
        Mark::Line {
            points,
            ink,
            width,
            dash,
        } => {
            write!(out, "<polyline points=\"")?;
            for (nth, (x, y)) in points.iter().enumerate() {
                let space = if nth == 0 { "" } else { " " };
                write!(out, "{space}{x:.1},{y:.1}")?;
            }
            write!(
                out,
                "\" fill=\"none\" style=\"stroke:var(--{})\" stroke-width=\"{width}\" \
                 stroke-linejoin=\"round\"",
                ink.name()
            )?;
            if *dash != Dash::Solid {
                let lengths: Vec<String> = dash.lengths().iter().map(ToString::to_string).collect();
                write!(out, " stroke-dasharray=\"{}\"", lengths.join(" "))?;
            }
            writeln!(out, "/>")
        }
        Mark::Dot {
            center: (x, y),
            radius,
            ink,
        } => writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" {}/>",
            fill(*ink)
        ),
        Mark::Text(text) => {
            let (x, y) = text.at;
            let anchor = match text.anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let weight = if text.bold {
                " font-weight=\"bold\""
            } else {
                ""
            };
            writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\" text-anchor=\"{anchor}\"{weight} \
                 {}>{}</text>",
                text.size,
                fill(text.ink),
                escaped(&text.line)
            )
        }
    }
}

fn fill(ink: Ink) -> String {
    format!("style=\"fill:var(--{})\"", ink.name())
}

/// The colours, on light paper (0) or dark (1).
fn variables(scheme: usize) -> String {
    let variable = |ink: Ink| {
        let [r, g, b] = ink.rgb()[scheme];
        format!("--{}: #{r:02x}{g:02x}{b:02x};", ink.name())
    };
    Ink::ALL.map(variable).join(" ")
}

/// Text that means nothing to XML; what XML cannot hold is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
