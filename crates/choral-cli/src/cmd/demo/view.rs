//! The frame around a scene, and what scenes draw with.

use super::Scene;
use crate::output::terminal::harmless;
use choral::ModelInfo;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Paragraph};

/// What stands out.
pub(super) const ACCENT: Color = Color::Cyan;

/// What does not.
pub(super) fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// What runs, in a line.
pub(super) fn about(info: &ModelInfo) -> String {
    let path = info.path.file_name();
    let path = path.map_or_else(
        || info.path.display().to_string(),
        |p| p.to_string_lossy().into(),
    );
    let numeric = info.plan.numeric.name();
    let text = format!("{path}, {numeric}, {}, {} threads", info.isa, info.threads);
    harmless(&text).into_owned()
}

/// A scene with its title above and its keys below.
pub(super) fn draw(frame: &mut Frame<'_>, about: &str, scene: &dyn Scene) {
    let rows = [Constraint::Min(0), Constraint::Length(1)];
    let [main, bottom] = Layout::vertical(rows).areas(frame.area());
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(faint())
        .title(Line::styled(
            format!(" choral: {} ", scene.title()),
            Style::new().fg(ACCENT).add_modifier(Modifier::BOLD),
        ))
        .title_bottom(Line::styled(format!(" {about} "), faint()).right_aligned());
    let area = block.inner(main);
    frame.render_widget(block, main);
    scene.draw(frame, area);
    frame.render_widget(
        Paragraph::new(Line::raw(format!("  {}", scene.keys()))),
        bottom,
    );
}

/// `area` less `x` columns and `y` rows on each side.
pub(super) fn inner(area: Rect, x: u16, y: u16) -> Rect {
    area.inner(ratatui::layout::Margin::new(x, y))
}

/// `1 token`, `2 tokens`.
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("{n} {what}")
    } else {
        format!("{n} {what}s")
    }
}
