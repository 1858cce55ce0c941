//! The rows of a report: conversations with their turns, each next to its expected output.

use std::collections::{BTreeMap, HashSet};

use maud::{Markup, html};

use super::{
    room::{PageRoom, ROWS_BYTES},
    text::{Outside, lines_of, prose},
};
use crate::{
    batch::{Column, ColumnType, OutputColumn},
    report::{
        ExportReport,
        json_view::JsonView,
        masked::MaskedValues,
        profile::labels::labels,
        sample::{ShownCell, ShownRow, ShownWhy},
        value_changes::shortened,
        values::uuid_of,
    },
    text::{counted, grouped, line, plural},
};

/// Longest id of a row, in characters. A UUID has 36.
const LONGEST_ID: usize = 120;
/// Most choices of a filter.
const MOST_CHOICES: usize = 100;
/// Most labels of a filter if each is that of one row.
const MOST_SINGLE: usize = 12;
/// Most labels of a row that are shown.
const MOST_LABELS: usize = 24;
/// Rows that are printed: as many as the style allows.
const PRINTED_ROWS: usize = 10;
/// Longest persona or label of a row, in characters.
const LONGEST_CHIP: usize = 80;
/// A value with more lines is closed at first.
const OPEN_LINES: usize = 14;
/// Lines of a conversation after which further turns are closed at first.
const OPEN_OF_CONVERSATION: usize = 80;
/// Further turns that are not worth a click.
const FEW_TURNS: usize = 2;

/// The section with the rows.
pub(super) fn section(report: &ExportReport) -> Markup {
    let seen = &report.seen;
    let columns: Vec<_> = seen.profile.columns.iter().map(|it| it.column.clone()).collect();
    let masked = &report.masked;
    let rows = seen.rows.iter().map(|row| PageRow::new(row, &columns, (masked, &seen.rows)));
    let rows: Vec<PageRow<'_>> = rows.collect();
    let (all, shown) = (seen.profile.rows, rows.len() as u64);
    let room = PageRoom::new(ROWS_BYTES, &report.stop);
    html! {
        section #rows aria-labelledby="rows-title" {
            h2 #rows-title { "The rows" }
            @if all == 0 {
                p.empty { "The export has no rows." }
            } @else if shown == all {
                p.intro { (match all { 1 => "The only row.".to_owned(), _ => format!("All {} rows.", grouped(all)) }) }
            } @else {
                @let has_duplicates = seen.rows.iter().any(|row| row.why.contains(&ShownWhy::Duplicate));
                p.intro {
                    (counted(shown, "row")) " of " (grouped(all)) ": the first ones, some at random (seed " (report.seed) "), the longest, "
                    @if has_duplicates { "some whose input equals that of an earlier row, " }
                    "and examples of what is worth a look."
                }
            }
            @if !masked.paths().is_empty() {
                p.note { "Masked values are shown as null or left out: " @for path in masked.paths() { code { (Outside(path)) } " " } }
            }
            @if !rows.is_empty() {
                @let labels = label_choices(&rows);
                (controls(&rows, &labels))
                div.rows {
                    @for row in &rows {
                        @match room.row(|| row.article(&labels, true)) {
                            Some(article) => (article),
                            // Links lead to it.
                            None => (row.article(&labels, false)),
                        }
                    }
                }
                @if rows.len() > PRINTED_ROWS { p.printed { "Only the first " (PRINTED_ROWS) " rows are printed." } }
                (room.note())
                p #no-rows.empty hidden { "No row fits this search." }
            }
        }
    }
}

/// Returns the values with their numbers, the most common first.
fn choices(values: &mut dyn Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::<String, usize>::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(MOST_CHOICES);
    counts
}

/// Returns the labels that a filter has, with their numbers of rows.
fn label_choices(rows: &[PageRow<'_>]) -> Vec<(String, usize)> {
    let mut labels = choices(&mut rows.iter().flat_map(|row| row.labels.clone()));
    // A label of one row finds what the search finds. With many of them, no other label could be found.
    if labels.iter().any(|(_, count)| *count > 1) {
        labels.retain(|(_, count)| *count > 1);
    }
    if labels.iter().all(|(_, count)| *count == 1) && labels.len() > MOST_SINGLE {
        labels.clear();
    }
    labels
}

/// The search and the filters. They are hidden without the script.
fn controls(rows: &[PageRow<'_>], labels: &[(String, usize)]) -> Markup {
    let personas = choices(&mut rows.iter().filter_map(|row| row.persona.clone()));
    let whys =
        choices(&mut rows.iter().flat_map(|row| row.row.why.iter().map(|it| it.name().to_owned())));
    let select = |id: &str, name: &str, any: &str, choices: &[(String, usize)]| {
        html! {
            @if !choices.is_empty() {
                div.field {
                    label for=(id) { (name) }
                    select id=(id) {
                        option value="" { (any) }
                        @for (value, count) in choices {
                            option value=(value) { (value) " (" (count) ")" }
                        }
                    }
                }
            }
        }
    };
    html! {
        form #controls.controls role="search" aria-label="Rows" hidden {
            div.field.wide {
                label for="search" { "Search" }
                input #search type="search" autocomplete="off" spellcheck="false";
            }
            (select("filter-label", "Label", "any", labels))
            (select("filter-persona", "Persona", "any", &personas))
            (select("filter-why", "Chosen as", "any", &whys))
            p #found.found role="status" {}
        }
    }
}

/// Returns the name of a row in links.
pub(super) fn anchor(row: &ShownRow) -> String {
    match uuid_of(&row.id) {
        Some(id) if !row.repeats_id => format!("row-{id}"),
        _ => format!("row-{}", row.number),
    }
}

/// A persona or a label as a chip: its beginning, if it is long.
pub(super) fn chip(text: &str) -> String {
    let text = line(text);
    if text.trim().is_empty() {
        return "(empty)".to_owned();
    }
    match text.char_indices().nth(LONGEST_CHIP) {
        Some((end, _)) => {
            format!("{}… ({})", &text[..end], counted(text.chars().count() as u64, "character"))
        }
        None => text,
    }
}

/// A row with its values by column.
struct PageRow<'a> {
    row: &'a ShownRow,
    cells: Vec<(&'a OutputColumn, &'a ShownCell)>,
    persona: Option<String>,
    labels: Vec<String>,
    masked: &'a MaskedValues,
    /// The row whose input it repeats, if the page shows it.
    earlier: Option<&'a ShownRow>,
}

impl<'a> PageRow<'a> {
    fn new(
        row: &'a ShownRow,
        columns: &'a [OutputColumn],
        (masked, all): (&'a MaskedValues, &'a [ShownRow]),
    ) -> Self {
        let earlier = row.repeats.and_then(|of| all.iter().find(|it| it.number == of.row));
        let cells: Vec<_> = columns.iter().zip(&row.cells).collect();
        let of = |field: Column| {
            let cell = cells.iter().find(|(column, _)| column.of_api() == Some(field));
            cell.and_then(|(_, cell)| cell.text.as_deref())
        };
        let (persona, mut found) = (of(Column::Persona).map(chip), Vec::new());
        if let Some(tags) = of(Column::Tags) {
            // The labels before a cut, or before text that is not JSON, are labels, too.
            let (mut seen, mut add) = (HashSet::new(), |label: String| found.push(label));
            let _ = labels(tags, &mut |label| {
                let label = chip(label);
                if seen.insert(label.clone()) {
                    add(label);
                }
            });
        }
        Self { row, cells, persona, labels: found, masked, earlier }
    }

    fn cell(&self, field: Column) -> Option<&'a ShownCell> {
        let cell = self.cells.iter().find(|(column, _)| column.of_api() == Some(field));
        cell.map(|(_, cell)| *cell)
    }

    fn is_masked(&self, field: Column) -> bool {
        self.masked.has_column(field.name())
    }

    /// `choices` are the labels of the filter.
    fn article(&self, choices: &[(String, usize)], has_room: bool) -> Markup {
        let (shown, more) = self.labels.split_at(self.labels.len().min(MOST_LABELS));
        let is_choice = |label: &&String| choices.iter().any(|(choice, _)| choice == *label);
        let anchor = anchor(self.row);
        let number = grouped(self.row.number);
        let order = self.cell(Column::Order).and_then(|cell| cell.text.as_deref());
        html! {
            article.row id=(anchor) aria-label=(format!("Row {number}")) {
                header {
                    h3 { a href=(format!("#{anchor}")) { "Row " (number) } }
                    @if !self.row.id.is_empty() { code.id { (Outside(&shortened(&self.row.id, LONGEST_ID))) } }
                    @if let Some(order) = order { span.order { "order " (order) } }
                    ul.chips {
                        @for why in &self.row.why {
                            li { span class=(match why { ShownWhy::Duplicate | ShownWhy::Odd => "why odd", _ => "why" }) { (why.name()) } }
                        }
                        @if let Some(earlier) = self.row.repeats {
                            li {
                                span.note.odd {
                                    "same input as " @if let Some(shown) = self.earlier { a href=(format!("#{}", self::anchor(shown))) { "row " (grouped(earlier.row)) } } @else { "row " (grouped(earlier.row)) }
                                    @if earlier.differs { ", other expected output" }
                                }
                            }
                        }
                        @if self.is_masked(Column::Persona) { li { span.why { "persona masked" } } }
                        @if let Some(persona) = &self.persona { li { span.persona dir="auto" { (persona) } } }
                        @for label in shown {
                            li { span.label dir="auto" { (label) } }
                        }
                        @if !more.is_empty() {
                            li { "and " (more.len()) " more" }
                        }
                        // The filter looks at them, too.
                        @for label in more.iter().filter(is_choice) {
                            li hidden { span.label { (label) } }
                        }
                    }
                }
                @if !has_room { p.cut { "There is no room for its values." } } @else { div.sides {
                    @for (field, name) in [(Column::Input, "Input"), (Column::ExpectedOutput, "Expected output")] {
                        @if let Some(cell) = self.cell(field) {
                            div.side { h4 { (name) } @if self.is_masked(field) { p.null { "masked" } } @else { (json_cell(cell)) } }
                        }
                    }
                }
                (self.others()) }
            }
        }
    }

    /// The columns that have no place of their own.
    fn others(&self) -> Markup {
        let own = [
            Column::Id,
            Column::Order,
            Column::Input,
            Column::ExpectedOutput,
            Column::Persona,
            Column::Tags,
        ];
        let is_other =
            |column: &OutputColumn| column.of_api().is_none_or(|api| !own.contains(&api));
        let others = self.cells.iter();
        let others = others.filter(|(column, cell)| is_other(column) && cell.text.is_some());
        let others: Vec<_> = others.collect();
        html! {
            @if !others.is_empty() {
                details.more {
                    summary {
                        (counted(others.len() as u64, "other column")) ": "
                        (others.iter().map(|(column, _)| line(column.name())).collect::<Vec<_>>().join(", "))
                    }
                    @for (column, cell) in others {
                        h4 { (Outside(column.name())) }
                        @if matches!(column.column_type(), ColumnType::Json | ColumnType::List(_)) { (json_cell(cell)) } @else { (text_cell(cell)) }
                    }
                }
            }
        }
    }
}

fn text_cell(cell: &ShownCell) -> Markup {
    html! {
        @if let Some(text) = &cell.text { (prose(text)) } @else { p.null { "null" } }
        (left_out(cell))
    }
}

fn json_cell(cell: &ShownCell) -> Markup {
    html! {
        @if let Some(text) = &cell.text { (value(&JsonView::of(text))) } @else { p.null { "null" } }
        (left_out(cell))
    }
}

fn left_out(cell: &ShownCell) -> Markup {
    html! {
        @if cell.left_out > 0 {
            p.cut { "The last " (grouped(cell.left_out as u64)) " " (plural(cell.left_out as u64, "byte")) " are not shown." }
        }
    }
}

/// A value: a conversation, text, or members with their names.
fn value(view: &JsonView<'_>) -> Markup {
    if let Some(turns) = turns(view) {
        return conversation(&turns);
    }
    match view {
        JsonView::Text(text) if text.trim().is_empty() => html! { p.null { "empty text" } },
        JsonView::Text(text) => prose(text),
        JsonView::Token("null") => html! { p.null { "null" } },
        JsonView::Token(token) => html! { p { code { (Outside(token)) } } },
        JsonView::Object(members) if !members.is_empty() => members_of(members),
        JsonView::Array(_) | JsonView::Object(_) => code(view),
    }
}

/// Members: short ones in a line, and the others below their names.
fn members_of(members: &[(std::borrow::Cow<'_, str>, JsonView<'_>)]) -> Markup {
    html! {
        dl.members {
            @for (key, member) in members {
                div {
                    dt { (Outside(key)) }
                    dd {
                        @match member {
                            JsonView::Object(inner) if !inner.is_empty() && turns(member).is_none() => (folded(member)),
                            JsonView::Array(_) if turns(member).is_none() => (folded(member)),
                            _ => (value(member)),
                        }
                    }
                }
            }
        }
    }
}

/// JSON text, closed at first if it is long.
fn folded(view: &JsonView<'_>) -> Markup {
    let text = view.laid_out();
    let lines = text.lines().count();
    let what = match view {
        JsonView::Array(items) => counted(items.len() as u64, "element"),
        JsonView::Object(members) => counted(members.len() as u64, "key"),
        _ => counted(lines as u64, "line"),
    };
    html! {
        @if lines <= OPEN_LINES {
            pre.json tabindex="0" dir="ltr" { code { (Outside(&text)) } }
        } @else {
            details {
                summary { (what) }
                pre.json tabindex="0" dir="ltr" { code { (Outside(&text)) } }
            }
        }
    }
}

fn code(view: &JsonView<'_>) -> Markup {
    html! { pre.json tabindex="0" dir="ltr" { code { (Outside(&view.laid_out())) } } }
}

/// Returns the turns of a conversation: an array of objects with roles, also in arrays.
fn turns<'v>(view: &'v JsonView<'_>) -> Option<Vec<&'v JsonView<'v>>> {
    let JsonView::Array(items) = view else { return None };
    let mut found = Vec::new();
    for item in items {
        match item {
            JsonView::Object(_)
                if item.get("role").is_some_and(|role| role.as_text().is_some()) =>
            {
                found.push(item);
            }
            JsonView::Array(_) => found.extend(turns(item)?),
            _ => return None,
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The turns of a conversation. The last ones of a long conversation are closed at first.
fn conversation(turns: &[&JsonView<'_>]) -> Markup {
    let mut lines = 0;
    let is_open = |turn: &&&JsonView<'_>| {
        let is_open = lines < OPEN_OF_CONVERSATION;
        let JsonView::Object(members) = turn else { return is_open };
        let texts = members.iter().filter(|(key, _)| key != "role").flat_map(|(_, it)| it.texts());
        // More lines of a text are folded.
        lines += texts.map(|text| lines_of(text).min(50)).sum::<usize>();
        is_open
    };
    let open = turns.iter().take_while(is_open).count();
    let open = if turns.len() - open <= FEW_TURNS { turns.len() } else { open };
    let (open, closed) = turns.split_at(open);
    html! {
        ol.conversation {
            @for turn in open { (self::turn(turn)) }
        }
        @if !closed.is_empty() {
            details.rest {
                summary { (counted(closed.len() as u64, "more turn")) }
                ol.conversation { @for turn in closed { (self::turn(turn)) } }
            }
        }
    }
}

fn turn(turn: &JsonView<'_>) -> Markup {
    let role = turn.get("role").and_then(JsonView::as_text).unwrap_or_default();
    // Only known roles have a style of their own.
    let class = match role {
        "system" | "developer" => "turn system",
        "user" | "human" => "turn user",
        "assistant" | "model" | "ai" => "turn assistant",
        "tool" | "function" => "turn tool",
        _ => "turn",
    };
    let JsonView::Object(members) = turn else { return html! {} };
    let others =
        members.iter().filter(|(key, _)| key != "role" && key != "content" && key != "name");
    let others: Vec<_> = others.filter(|(_, it)| *it != JsonView::Token("null")).cloned().collect();
    html! {
        li class=(class) {
            p.role {
                (Outside(role))
                @if let Some(name) = turn.get("name").and_then(JsonView::as_text) { " " span.name { (Outside(name)) } }
            }
            div.content {
                @match turn.get("content") {
                    Some(JsonView::Array(parts)) => { @for part in parts { (content_part(part)) } }
                    Some(JsonView::Token("null")) | None => {}
                    Some(content) => (value(content)),
                }
                @if !others.is_empty() { (members_of(&others)) }
            }
        }
    }
}

/// A part of a content: text, or something else as JSON.
fn content_part(part: &JsonView<'_>) -> Markup {
    match part.get("text").and_then(JsonView::as_text).or(part.as_text()) {
        Some(text) => prose(text),
        None => folded(part),
    }
}
