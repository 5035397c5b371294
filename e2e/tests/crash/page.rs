//! The tables in `docs/reliability.md`: what a run of the matrix saw is what the page says.

use std::fmt::Write;
use std::fs::File;

use banger_e2e::checkout;
use rustix::fs::{FlockOperation, flock};

use super::matrix::Row;
use super::operation::Operation;
use super::victim::Victim;

/// Set to anything, the page is changed instead of compared.
const UPDATE: &str = "UPDATE_DOCS";

/// Compares the table on the page with what was seen, or puts it there.
pub(crate) fn publish(operation: Operation, rows: &[Row]) {
    let path = checkout().join("docs/reliability.md");
    // The other tables are filled meanwhile.
    let file = File::open(&path).expect("the page");
    flock(&file, FlockOperation::LockExclusive).expect("lock");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (begin, end) = (format!("<!-- {} -->\n", operation.as_str()), "<!-- end -->");
    let (before, rest) = page.split_once(&begin).expect("a place for the table");
    let (present, after) = rest.split_once(end).expect("the end of the table");
    let table = render(rows);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).expect("written");
    } else {
        assert_eq!(present, table, "docs/reliability.md says otherwise; {UPDATE}=1 changes it");
    }
}

fn render(rows: &[Row]) -> String {
    let victims = Victim::ALL.map(Victim::as_str);
    let mut table = format!("| killed before | {} |\n", victims.join(" | "));
    table.push_str("|---|");
    victims.iter().for_each(|_| table.push_str("---|"));
    table.push('\n');
    for Row { step, rests } in rows {
        let cells = victims.map(|victim| rests.get(victim).map_or("–", |rest| rest.as_str()));
        writeln!(table, "| {step} | {} |", cells.join(" | ")).expect("a string");
    }
    table
}
