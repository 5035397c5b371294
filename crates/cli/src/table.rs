//! Tables and listings: borderless, two spaces between columns, `-` in empty cells.

use banger_proto::harmless::render_line;
use comfy_table::{ContentArrangement, Table, presets};

/// Renders rows under their headings, without trailing blanks or a last line end.
pub(crate) fn render_table(
    headings: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings)
        .add_rows(rows.into_iter().map(|row| row.into_iter().map(cell).collect::<Vec<_>>()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Renders labels and values, one pair a line.
pub(crate) fn render_pairs<L: AsRef<str>>(pairs: impl IntoIterator<Item = (L, String)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let width = pairs.iter().map(|(label, _)| label.as_ref().len() + 1).max().unwrap_or(0);
    let line = |(label, value): (L, String)| {
        format!("{:<width$}  {}", format!("{}:", label.as_ref()), cell(value))
    };
    pairs.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn cell(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { render_line(&text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_two_spaces_apart() {
        let rows = [vec!["web".to_owned(), "1.2 GiB".to_owned()], vec!["a".into(), String::new()]];
        insta::assert_snapshot!(render_table(&["NAME", "SIZE"], rows), @r"
        NAME  SIZE
        web   1.2 GiB
        a     -
        ");
    }

    #[test]
    fn pairs_line_up() {
        let pairs = [("id", "00".to_owned()), ("state", String::new())];
        insta::assert_snapshot!(render_pairs(pairs), @r"
        id:     00
        state:  -
        ");
    }
}
