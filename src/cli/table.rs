//! Tables that fit a terminal: chooses the columns that a narrow table leaves out, and cuts or wraps texts.
//!
//! No line is wider than the terminal. A table that is too wide leaves out columns, and its last line names them.
//! Text that is still too long is cut (`…`), or wrapped between words. Control characters are replaced.

use std::collections::BTreeSet;

use console::{Term, measure_text_width, truncate_str};

use super::lines::Lines;
use crate::text::harmless;

/// Width of a table that goes to a file or a pipe.
const PIPE: usize = 100;
/// Maximum number of lines of a wrapped cell. Longer text is cut.
const LINES: usize = 3;
/// Width that a cut or wrapped column keeps before other columns are left out: enough to recognize a text.
const READABLE: usize = 14;
const GAP: &str = "  ";

/// The way in which a column fits into a table that is too wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Text that is never cut, because people copy it.
    Whole,
    /// A number. It is never cut.
    Number,
    /// Text of one line, cut at its end.
    Cut,
    /// Sentences, wrapped between words.
    Wrap,
    /// JSON text, wrapped between words and after its punctuation.
    Json,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableColumn<'a> {
    name: &'a str,
    fit: Fit,
    /// Place in the order in which columns are left out, from 1. 0 means never.
    leave: usize,
}

impl<'a> TableColumn<'a> {
    /// A column that every table has, however narrow.
    pub(super) const fn new(name: &'a str, fit: Fit) -> Self {
        Self { name, fit, leave: 0 }
    }

    pub(super) const fn name(&self) -> &'a str {
        self.name
    }

    /// Sets the place in the order in which columns are left out, from 1.
    pub(super) const fn left_out(self, place: usize) -> Self {
        Self { leave: place, ..self }
    }
}

/// Returns the width of standard output if it is a terminal.
pub(super) fn terminal_width() -> Option<usize> {
    Term::stdout().size_checked().map(|(_, columns)| columns.into())
}

/// Returns the width of standard output. A file or a pipe counts as 100 columns wide.
pub(super) fn stdout_width() -> usize {
    terminal_width().unwrap_or(PIPE)
}

/// Lays a table out for standard output. Each row has one text per column.
pub(super) fn render(
    columns: &[TableColumn<'_>],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Lines {
    layout(columns, rows, stdout_width())
}

fn layout(
    columns: &[TableColumn<'_>],
    rows: impl IntoIterator<Item = Vec<String>>,
    width: usize,
) -> Lines {
    // A cell shows at most `LINES` lines of the screen's width.
    let clean = |text: String| harmless(&text, width.max(PIPE) * LINES);
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|row| row.into_iter().map(clean).collect()).collect();
    let header: Vec<String> = columns.iter().map(|column| column.name.to_uppercase()).collect();
    let widest = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|it| measure_text_width(it));
        cells.max().unwrap_or(0).max(measure_text_width(&header[index]))
    };
    let natural: Vec<usize> = (0..columns.len()).map(widest).collect();
    let least = |index: usize| match columns[index].fit {
        Fit::Whole | Fit::Number => natural[index],
        Fit::Cut | Fit::Wrap | Fit::Json => {
            natural[index].min(READABLE.max(measure_text_width(&header[index])))
        }
    };

    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let mut left_out = BTreeSet::new();
    let room =
        |shown: &[usize]| width.saturating_sub(1 + GAP.len() * shown.len().saturating_sub(1));
    while shown.iter().map(|&index| least(index)).sum::<usize>() > room(&shown) {
        let next = shown.iter().filter(|&&index| columns[index].leave > 0);
        let Some(&next) = next.min_by_key(|&&index| columns[index].leave) else { break };
        shown.retain(|&index| index != next);
        left_out.insert(next);
    }

    let mut widths: Vec<usize> = shown.iter().map(|&index| least(index)).collect();
    // Give the rest to the columns that need it, always to the narrowest of them.
    let mut rest = room(&shown).saturating_sub(widths.iter().sum());
    while rest > 0 {
        let needy = (0..shown.len()).filter(|&at| widths[at] < natural[shown[at]]);
        let Some(at) = needy.min_by_key(|&at| widths[at]) else { break };
        widths[at] += 1;
        rest -= 1;
    }

    let mut lines = Lines::default();
    for row in std::iter::once(&header).chain(&rows) {
        let cells: Vec<Vec<String>> = shown
            .iter()
            .zip(&widths)
            .map(|(&index, &width)| {
                let text = row.get(index).map(String::as_str).unwrap_or_default();
                match columns[index].fit {
                    Fit::Wrap => wrap(text, width, LINES, &[]),
                    Fit::Json => wrap(text, width, LINES, &[',', ':', '[', '{']),
                    Fit::Cut => vec![cut(text, width)],
                    Fit::Whole | Fit::Number => vec![text.to_owned()],
                }
            })
            .collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let cells = cells.iter().zip(&shown).zip(&widths).map(|((cell, &index), &width)| {
                let text = cell.get(line).map(String::as_str).unwrap_or_default();
                let space = " ".repeat(width.saturating_sub(measure_text_width(text)));
                match columns[index].fit {
                    Fit::Number => space + text,
                    _ => text.to_owned() + &space,
                }
            });
            let line = format!(" {}", cells.collect::<Vec<_>>().join(GAP));
            // Only a terminal too narrow for the columns that are never left out needs the cut.
            lines.push(cut(line.trim_end(), width));
        }
    }
    if !left_out.is_empty() {
        let names: Vec<_> = left_out.iter().map(|&index| columns[index].name).collect();
        let names = format!("not shown in {width} columns: {}", names.join(", "));
        lines.extend(wrap(&names, width, usize::MAX, &[]).into_iter().collect());
    }
    lines
}

/// Returns the beginning of a text, at most this wide, with `…` if it was cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    truncate_str(text, width, "…").into_owned()
}

/// Wraps a text after its spaces and after the characters in `breaks`. The last line is cut if there are more than
/// `most` lines. So is a word that is wider than the width.
fn wrap(text: &str, width: usize, most: usize, breaks: &[char]) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(|c: char| c == ' ' || breaks.contains(&c)) {
        let is_last = lines.len() >= most;
        let Some(line) = lines.last_mut() else { break };
        let longer = line.clone() + word;
        if line.is_empty() || measure_text_width(longer.trim_end()) <= width {
            *line = longer;
        } else if is_last {
            *line = cut(&format!("{} …", line.trim_end()), width);
            break;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.iter().map(|line| cut(line.trim_end(), width)).collect()
}

/// Cuts an RFC 3339 time to the minute, for people. `--json` prints the whole time.
pub(super) fn minute(time: &str) -> String {
    time.chars().take(16).collect::<String>().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [TableColumn; 5] = [
        TableColumn::new("id", Fit::Whole),
        TableColumn::new("name", Fit::Cut),
        TableColumn::new("rows", Fit::Number).left_out(3),
        TableColumn::new("why", Fit::Wrap).left_out(1),
        TableColumn::new("made at", Fit::Whole).left_out(2),
    ];

    fn row(cells: [&str; 5]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn text_cannot_control_the_terminal() {
        let cells = row(["\u{1b}[2J\u{9b}31m\nx"; 5]);
        let text = layout(&COLUMNS, [cells], 80).text();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }

    #[test]
    fn narrow_table_leaves_columns_out_in_order() {
        let table = |width| {
            let why = "the first of its month, and the last one of the whole year so far";
            let cells =
                row(["0a1b2c3d", "a rather long name of a set", "1,234", why, "2026-11-28"]);
            layout(&COLUMNS, [cells], width).text()
        };
        insta::assert_snapshot!([80, 56, 40, 25, 12].map(table).join("\n"), @"
         ID        NAME                       ROWS  WHY                       MADE AT
         0a1b2c3d  a rather long name of a…  1,234  the first of its month,   2026-11-28
                                                    and the last one of the
                                                    whole year so far

         ID        NAME                         ROWS  MADE AT
         0a1b2c3d  a rather long name of a s…  1,234  2026-11-28
        not shown in 56 columns: why

         ID        NAME                     ROWS
         0a1b2c3d  a rather long name of…  1,234
        not shown in 40 columns: why, made at

         ID        NAME
         0a1b2c3d  a rather long…
        not shown in 25 columns:
        rows, why, made at

         ID        …
         0a1b2c3d  …
        not shown in
        12 columns:
        rows, why,
        made at
        ");
    }

    #[test]
    fn long_text_is_wrapped_and_cut() {
        let json =
            r#"{"messages":[{"role":"user","content":"Where is my order? Nobody answers."}]}"#;
        let lines = |text, width, breaks: &[char]| wrap(text, width, 3, breaks).join("|");
        assert_eq!(
            lines(json, 20, &[',', ':', '[', '{']),
            r#"{"messages":[{|"role":"user",|"content":"Where is…"#
        );
        assert_eq!(lines("one two  three four five", 9, &[]), "one two|three|four five");
        assert_eq!(lines("one two three four five six", 9, &[]), "one two|three|four fiv…");
        assert_eq!(lines("incomprehensible words", 9, &[]), "incompre…|words");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            cells in prop::collection::vec(prop::array::uniform5("[a-zü漢😀 ]{0,60}"), 0..4),
            width in 1_usize..120,
        ) {
            let rows: Vec<_> = cells.iter().map(|it| it.to_vec()).collect();
            for line in layout(&COLUMNS, rows, width).text().lines() {
                prop_assert!(measure_text_width(line) <= width, "{line:?}");
            }
        }
    }
}
