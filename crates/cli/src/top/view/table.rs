//! The table of VMs: as many columns as have a place, the chosen line always among those shown.

use banger_proto::api::VmView;
use banger_proto::harmless::render_line;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, HighlightSpacing, Row, Table, TableState};

use super::Look;
use crate::age::render_age;
use crate::top::model::{Link, Model};

/// Blanks between columns.
const SPACING: u16 = 2;

/// What stands before the chosen line.
const MARK: &str = "> ";

/// A column: its heading, and how soon it is left out; zero never is.
struct Column {
    heading: &'static str,
    rank: u8,
}

const COLUMNS: [Column; 8] = [
    Column { heading: "NAME", rank: 0 },
    Column { heading: "STATE", rank: 0 },
    Column { heading: "IMAGE", rank: 4 },
    Column { heading: "CPU", rank: 1 },
    Column { heading: "MEM", rank: 2 },
    Column { heading: "DISK", rank: 3 },
    Column { heading: "PORTS", rank: 6 },
    Column { heading: "AGE", rank: 5 },
];

const STATE: usize = 1;
const PORTS: usize = 6;

/// Lines that all of it takes.
pub(super) fn height(model: &Model) -> u16 {
    u16::try_from(model.shown().count() + 1).unwrap_or(u16::MAX / 2)
}

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, place: Rect, model: &Model, look: Look) {
    let rows: Vec<_> = model.shown().map(|vm| (vm.state, cells(vm, model))).collect();
    if rows.is_empty() {
        let text = match model.link {
            Link::Up if model.filter.is_empty() => "no VMs: `banger run` makes one",
            Link::Up => "no VM has that in its name",
            Link::Asking | Link::Away(_) => "",
        };
        return frame.render_widget(Line::from(text), place);
    }
    let mut widths = COLUMNS.map(|column| width(column.heading));
    for (_, cells) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(self::width(cell));
        }
    }
    // Nobody published a port, and few people do.
    if rows.iter().all(|(_, cells)| cells[PORTS] == "-") {
        widths[PORTS] = 0;
    }
    let room = place.width.saturating_sub(width(MARK));
    let chosen = choose(&mut widths, room);
    let header = Row::new(chosen.iter().map(|index| COLUMNS[*index].heading)).style(look.dim());
    let rows = rows.iter().map(|(state, cells)| {
        Row::new(chosen.iter().map(|index| {
            let style = if *index == STATE { look.state(*state) } else { Style::new() };
            Cell::from(Span::styled(cells[*index].clone(), style))
        }))
    });
    let table = Table::new(rows, chosen.iter().map(|index| Constraint::Length(widths[*index])))
        .header(header)
        .column_spacing(SPACING)
        .highlight_symbol(MARK)
        .highlight_spacing(HighlightSpacing::Always)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(model.position());
    frame.render_stateful_widget(table, place, &mut state);
}

/// The columns that are shown in `room`; those without a width are not. When not even the last ones
/// have a place, the first gives way.
fn choose(widths: &mut [u16; COLUMNS.len()], room: u16) -> Vec<usize> {
    let mut last = COLUMNS.iter().map(|column| column.rank).max().unwrap_or(0);
    loop {
        let shown = |index: &usize| COLUMNS[*index].rank <= last && widths[*index] > 0;
        let chosen: Vec<usize> = (0..COLUMNS.len()).filter(shown).collect();
        let used: u16 = chosen.iter().map(|index| widths[*index].saturating_add(SPACING)).sum();
        let used = used.saturating_sub(SPACING);
        if used <= room {
            return chosen;
        }
        if last == 0 {
            widths[0] = widths[0].saturating_sub(used - room).max(1);
            return chosen;
        }
        last -= 1;
    }
}

fn cells(vm: &VmView, model: &Model) -> [String; COLUMNS.len()] {
    let usage = model.usage(vm);
    let guest = usage.and_then(|usage| usage.guest.as_ref());
    let cpu = guest.and_then(|guest| guest.cpu_percent);
    let (used, total) = match (guest, usage) {
        (Some(guest), _) => (guest.disk.used, guest.disk.total),
        (None, Some(usage)) => (usage.disk.used, usage.disk.total),
        (None, None) => (vm.disk_used, vm.disk_size),
    };
    let published: Vec<String> =
        vm.published.iter().map(|port| format!("{}:{}", port.host, port.guest)).collect();
    let cells = [
        vm.name.to_string(),
        match vm.is_asleep() {
            true => format!("{} (idle)", vm.state.as_str()),
            false => vm.state.as_str().to_owned(),
        },
        render_line(&vm.image),
        cpu.map(|percent| format!("{percent:.1}%")).unwrap_or_default(),
        guest.map_or_else(
            || format!("-/{}", vm.memory.human()),
            |guest| format!("{}/{}", guest.memory.used.human(), guest.memory.total.human()),
        ),
        format!("{}/{}", used.human(), total.human()),
        published.join(","),
        render_age(&vm.created_at, model.now),
    ];
    cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell })
}

fn width(text: &str) -> u16 {
    u16::try_from(Line::from(text).width()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headings(widths: [u16; COLUMNS.len()], room: u16) -> String {
        let mut widths = widths;
        let chosen = choose(&mut widths, room);
        chosen.iter().map(|index| COLUMNS[*index].heading).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn columns_are_left_out_one_by_one() {
        let widths = [4, 7, 15, 5, 13, 13, 7, 3];
        assert_eq!(headings(widths, 81), "NAME STATE IMAGE CPU MEM DISK PORTS AGE");
        assert_eq!(headings(widths, 80), "NAME STATE IMAGE CPU MEM DISK AGE");
        assert_eq!(headings(widths, 70), "NAME STATE IMAGE CPU MEM DISK");
        assert_eq!(headings(widths, 66), "NAME STATE CPU MEM DISK");
        assert_eq!(headings(widths, 38), "NAME STATE CPU MEM");
        assert_eq!(headings(widths, 20), "NAME STATE CPU");
        assert_eq!(headings(widths, 13), "NAME STATE");
        let mut long = [63, 7, 0, 0, 0, 0, 0, 0];
        assert_eq!(choose(&mut long, 40), [0, 1]);
        assert_eq!(long[0], 31);
        assert_eq!(headings(widths, 0), "NAME STATE");
        let mut unpublished = [4, 7, 15, 5, 13, 13, 0, 3];
        assert_eq!(choose(&mut unpublished, 100).len(), 7);
    }
}
