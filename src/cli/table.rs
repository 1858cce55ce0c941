//! Tables that fit the terminal. Control characters are replaced.

use crate::text::{harmless, line};
use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets::NOTHING,
};
use console::Term;

use super::lines::Lines;

/// Maximum number of lines of a cell. Longer text is cut.
const LINES: usize = 3;

pub(super) enum CellText {
    Left(String),
    Right(String),
    /// Text that is neither wrapped nor cut, because people copy it.
    Whole(String),
}

pub(super) fn render(header: &[&str], rows: impl IntoIterator<Item = Vec<CellText>>) -> Lines {
    let width = Term::stdout().size_checked().map_or(100, |(_, columns)| columns);
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_truncation_indicator("…")
        .set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        for (index, text) in row.iter().enumerate() {
            if let (CellText::Whole(_), Some(column)) = (text, table.column_mut(index)) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let cells = row.into_iter().map(|text| match text {
            // A cell shows at most `LINES` lines of the screen's width. Twice that is always enough.
            CellText::Left(text) => Cell::new(harmless(&text, usize::from(width) * 2 * LINES)),
            CellText::Whole(text) => Cell::new(harmless(&text, usize::from(width))),
            CellText::Right(text) => Cell::new(line(text)).set_alignment(CellAlignment::Right),
        });
        let mut row = comfy_table::Row::from(cells.collect::<Vec<_>>());
        row.max_height(LINES);
        table.add_row(row);
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    if lines.is_empty() { Lines::one("") } else { lines.into_iter().collect() }
}

/// Cuts an RFC 3339 time to the minute, for people. `--json` prints the whole time.
pub(super) fn minute(time: &str) -> String {
    time.chars().take(16).collect::<String>().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_control_the_terminal() {
        let row = vec![CellText::Left("\u{1b}[2J\u{9b}31m\nx".to_owned())];
        let text = render(&["name"], [row]).text();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}
