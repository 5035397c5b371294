//! The model as a picture.
//!
//! ```text
//! banger top  3 VMs, 2 running  host CPU 101.6%  host MEM 200 MiB
//!   NAME  STATE    CPU    MEM
//! > web   running  99.0%  150 MiB/2 GiB
//! -- ports of web ----------------------      where there is room
//! tcp 80 nginx http://127.77.0.5:8080
//! -- events ----------------------------
//! 12:00:00 web running
//! Enter shell  s start/stop  ? help  q quit   or what is asked
//! ```
//!
//! Words of guests, images and the daemon are made harmless here, at the moment they are shown.
//! Nothing but ASCII is drawn around them. What matters is never told by colour alone.

mod fold;
mod keys;
mod table;

use banger_proto::ByteSize;
use banger_proto::api::{PortView, StateName};
use banger_proto::guest::PortProtocol;
use banger_proto::harmless::render_line;
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;

use self::fold::fold;
use super::console::Console;
use super::journal::{Entry, Kind};
use super::model::{Link, Mode, Model};

/// Height from which events are shown, and from which ports are, too.
const EVENTS_FROM: u16 = 8;
const PORTS_FROM: u16 = 16;

/// Most lines for ports.
const MAX_PORTS: u16 = 4;

/// Columns of a time of the day, with a blank.
const TIME_WIDTH: usize = 9;

/// Most lines for a question or a filter.
const MAX_ASKED: u16 = 5;

/// How things look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    colour: bool,
}

impl Look {
    /// With colours or without.
    pub(crate) fn new(colour: bool) -> Self {
        Self { colour }
    }

    fn colour(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn dim(self) -> Style {
        if self.colour { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
    }

    fn state(self, state: StateName) -> Style {
        match state {
            StateName::Running => self.colour(Color::Green),
            StateName::Paused => self.colour(Color::Yellow),
            StateName::Error => self.colour(Color::Red),
            StateName::Stopped => self.dim(),
            StateName::Created
            | StateName::Preparing
            | StateName::Booting
            | StateName::Stopping => self.colour(Color::Cyan),
        }
    }
}

/// A screen that is filled from its two ends.
struct Rest(Rect);

impl Rest {
    /// The next lines from the top, as far as there are any.
    fn top(&mut self, height: u16) -> Rect {
        let height = height.min(self.0.height);
        let taken = Rect { height, ..self.0 };
        self.0.y += height;
        self.0.height -= height;
        taken
    }

    /// The next lines from the bottom.
    fn bottom(&mut self, height: u16) -> Rect {
        let height = height.min(self.0.height);
        self.0.height -= height;
        Rect { y: self.0.y + self.0.height, height, ..self.0 }
    }
}

/// Draws it all.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model, look: Look) {
    let mut rest = Rest(frame.area());
    if let Mode::Console(console) = &model.mode {
        return draw_console(frame, rest, console, look);
    }
    let header = rest.top(1);
    frame.render_widget(
        Line::styled(render_header(model, header.width), look_of(model, look)),
        header,
    );
    draw_footer(frame, &mut rest, model, look);
    if let Mode::Help = model.mode {
        return keys::draw_help(frame, rest.0);
    }
    let ports = frame.area().height >= PORTS_FROM;
    if frame.area().height >= EVENTS_FROM {
        // A third, and what the others do not need.
        let needed = table::height(model) + if ports { 1 + MAX_PORTS } else { 0 };
        let height = (rest.0.height / 3).max(3).max(rest.0.height.saturating_sub(needed));
        draw_events(frame, rest.bottom(height), model, look);
    }
    if ports {
        draw_ports(frame, &mut rest, model, look);
    }
    table::draw(frame, rest.0, model, look);
}

fn look_of(model: &Model, look: Look) -> Style {
    match model.link {
        Link::Away(_) => look.colour(Color::Red),
        Link::Asking | Link::Up => Style::new().add_modifier(Modifier::BOLD),
    }
}

/// What there is in all; without what has no place in `width`.
fn render_header(model: &Model, width: u16) -> String {
    let mut parts = match &model.link {
        Link::Asking => vec!["banger top".to_owned(), "asking the daemon".to_owned()],
        Link::Away(why) => {
            let why = render_line(why);
            return format!("the daemon is away, trying again: {why}");
        }
        Link::Up => totals(model),
    };
    let width_of = |parts: &[String]| parts.join("  ").len();
    if width_of(&parts) > width.into() {
        parts.remove(0);
    }
    while parts.len() > 1 && width_of(&parts) > width.into() {
        parts.pop();
    }
    parts.join("  ")
}

fn totals(model: &Model) -> Vec<String> {
    let all = model.all();
    let running = all.iter().filter(|vm| vm.state == StateName::Running).count();
    let noun = if all.len() == 1 { "VM" } else { "VMs" };
    let mut parts =
        vec!["banger top".to_owned(), format!("{} {noun}, {running} running", all.len())];
    let hosts = || all.iter().filter_map(|vm| model.usage(vm)?.host.as_ref());
    if hosts().next().is_some() {
        let cpu = hosts().filter_map(|h| Some(h.vmm.cpu_percent? + h.supervisor.cpu_percent?));
        let memory = hosts().map(|h| h.vmm.rss.bytes().saturating_add(h.supervisor.rss.bytes()));
        let memory = ByteSize::from_bytes(memory.fold(0, u64::saturating_add)).human();
        parts.push(format!("host CPU {:.1}%", cpu.sum::<f64>()));
        parts.push(format!("host MEM {memory}"));
    }
    if !model.filter.is_empty() {
        parts.push(format!("only `{}`", render_line(&model.filter)));
    }
    parts
}

/// What can be pressed, or what is asked.
fn draw_footer(frame: &mut Frame<'_>, rest: &mut Rest, model: &Model, look: Look) {
    let width = rest.0.width;
    let asked = match &model.mode {
        Mode::Question(question) => question.render(),
        Mode::Filter => format!("/{}", render_line(&model.filter)),
        Mode::Help => "any key goes back".to_owned(),
        Mode::Table | Mode::Console(_) => {
            let line = Line::styled(keys::render(width), look.dim());
            return frame.render_widget(line, rest.bottom(1));
        }
    };
    let style = match model.mode {
        Mode::Question(_) => look.colour(Color::Yellow).add_modifier(Modifier::BOLD),
        _ => Style::new(),
    };
    let lines = fold(&asked, width.into());
    let height = u16::try_from(lines.len()).unwrap_or(MAX_ASKED).min(MAX_ASKED);
    let place = rest.bottom(height);
    if let (Mode::Filter, Some(last)) = (&model.mode, lines.last()) {
        let column = u16::try_from(Line::from(last.as_str()).width()).unwrap_or(0);
        frame.set_cursor_position(Position::new(
            column.min(width.saturating_sub(1)),
            place.bottom().saturating_sub(1),
        ));
    }
    let text = Text::from_iter(lines.into_iter().map(Line::from));
    frame.render_widget(Paragraph::new(text).style(style), place);
}

fn draw_rule(frame: &mut Frame<'_>, place: Rect, title: &str, look: Look) {
    let title = format!("-- {title} ");
    let rest = usize::from(place.width).saturating_sub(Line::from(title.as_str()).width());
    frame.render_widget(Line::styled(title + &"-".repeat(rest), look.dim()), place);
}

fn draw_events(frame: &mut Frame<'_>, place: Rect, model: &Model, look: Look) {
    let mut rest = Rest(place);
    draw_rule(frame, rest.top(1), "events", look);
    let height = usize::from(rest.0.height);
    let entries: Vec<&Entry> = model.journal.last(height).collect();
    let lines: Vec<Line<'_>> = entries
        .into_iter()
        .flat_map(|entry| event_lines(entry, place.width.into(), model, look))
        .collect();
    // The last ones, when those that are folded take more room than there is.
    let last = lines.len().saturating_sub(height);
    frame.render_widget(Paragraph::new(Text::from_iter(lines.into_iter().skip(last))), rest.0);
}

/// What goes on below the time stands under the words.
fn event_lines(entry: &Entry, width: usize, model: &Model, look: Look) -> Vec<Line<'static>> {
    let at = entry.at.map(|at| at.to_zoned(model.zone.clone()).strftime("%H:%M:%S ").to_string());
    let mut at = at.unwrap_or_default();
    let style = match entry.kind {
        Kind::Change => Style::new(),
        Kind::Note => look.dim(),
        Kind::Failure => look.colour(Color::Red),
    };
    let lines = fold(&render_line(&entry.text), width.saturating_sub(TIME_WIDTH)).into_iter();
    lines
        .map(|line| Line::styled(format!("{:TIME_WIDTH$}{line}", std::mem::take(&mut at)), style))
        .collect()
}

/// What listens in the chosen VM, where there is room left beside the list.
fn draw_ports(frame: &mut Frame<'_>, rest: &mut Rest, model: &Model, look: Look) {
    let Some(vm) = model.chosen().filter(|vm| vm.state == StateName::Running) else { return };
    let lines: Vec<String> = match model.ports() {
        None => vec!["...".to_owned()],
        Some(Err(why)) => vec![render_line(why)],
        Some(Ok([])) => vec!["nothing listens".to_owned()],
        Some(Ok(ports)) => ports.iter().map(render_port).collect(),
    };
    let more = lines.len().saturating_sub(MAX_PORTS.into());
    let title = match more {
        0 => format!("ports of {}", vm.name),
        more => format!("ports of {}, {more} more", vm.name),
    };
    let mut place =
        Rest(rest.bottom(1 + MAX_PORTS.min(u16::try_from(lines.len()).unwrap_or(MAX_PORTS))));
    draw_rule(frame, place.top(1), &title, look);
    let text = Text::from_iter(lines.into_iter().map(Line::from));
    frame.render_widget(Paragraph::new(text), place.0);
}

fn render_port(port: &PortView) -> String {
    let protocol = match port.protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
    };
    let process = port.process.as_ref().map(|process| process.name.trim().to_owned());
    let place = port.url.clone().or_else(|| Some(port.reached_at()?.to_string()));
    let place = place.or_else(|| Some(format!("({})", port.problem.as_ref()?)));
    let words = [Some(format!("{protocol} {}", port.port)), process, place];
    render_line(&words.into_iter().flatten().collect::<Vec<_>>().join("  "))
}

fn draw_console(frame: &mut Frame<'_>, mut rest: Rest, console: &Console, look: Look) {
    let header = match (&console.ended, console.is_following()) {
        (Some(why), _) => format!("console of {}  ended: {}", console.name, render_line(why)),
        (None, true) => format!("console of {}", console.name),
        (None, false) => format!("console of {}  held; G goes on", console.name),
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Line::styled(header, bold), rest.top(1));
    let footer = "arrows, PgUp, PgDn move  q back";
    frame.render_widget(Line::styled(footer, look.dim()), rest.bottom(1));
    let lines = console.shown(rest.0.height.into()).map(Line::from);
    frame.render_widget(Paragraph::new(Text::from_iter(lines)), rest.0);
}

#[cfg(test)]
mod tests;
