//! The keys, as they are told.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;

use super::fold::fold;

/// What the lowest line tells, in its order, with how soon it is left out; zero never is.
const SHORT: [(&str, u8); 8] = [
    ("Enter shell", 1),
    ("l logs", 3),
    ("s start/stop", 2),
    ("p pause", 4),
    ("d delete", 3),
    ("/ filter", 5),
    ("? help", 0),
    ("q quit", 0),
];

/// All of them.
const HELP: &[&str] = &[
    "up down j k    choose a VM; also PgUp, PgDn, g, G",
    "Enter e        a shell in it; its end comes back here",
    "l              its console, as it goes on",
    "s              start it, or stop it",
    "p              pause it, or have it go on",
    "d              delete it with its disk, after a question",
    "/              show only names with a text; Esc shows all",
    "q Ctrl-C       leave; the VMs go on",
];

/// The most important ones that have a place in `width`.
pub(super) fn render(width: u16) -> String {
    let mut last = SHORT.iter().map(|(_, rank)| *rank).max().unwrap_or(0);
    loop {
        let told = SHORT.iter().filter(|(_, rank)| *rank <= last).map(|(text, _)| *text);
        let text = told.collect::<Vec<_>>().join("  ");
        if text.len() <= width.into() || last == 0 {
            return text;
        }
        last -= 1;
    }
}

/// Tells them all.
pub(super) fn draw_help(frame: &mut Frame<'_>, place: Rect) {
    let lines = HELP.iter().flat_map(|line| fold(line, place.width.into())).map(Line::from);
    frame.render_widget(Paragraph::new(Text::from_iter(lines)), place);
}
