//! The section about what changed between two exports: counts, columns, and the values that differ, with their words.

use maud::{Markup, html};
use similar::ChangeTag;

use super::{
    changed_places,
    chart::share_bar,
    room::{PageRoom, ROWS_BYTES},
    text::{Outside, before_and_after, share},
};
use crate::{
    batch::Column,
    diff::{DiffBy, DifferenceKind, is_same_value},
    report::{
        changed_row::{COMPARED_BYTES, ChangedRow},
        changes::ChangesSeen,
        json_view::JsonView,
        value_changes::{ValueChange, WordChanges, shortened, value_changes},
    },
    text::{counted, grouped, line},
};

/// Characters of equal text that stay visible on each side of a difference.
const CONTEXT: usize = 60;
/// Most values of a column of a row that are shown.
const MOST_VALUES: usize = 12;
/// Changed rows that are open at first.
const OPEN_ROWS: usize = 10;
/// Longest value without an equal part, in characters.
const LONGEST_VALUE: usize = 400;
/// Longest excerpt of a row, in characters.
const LONGEST_EXCERPT: usize = 120;
/// Longest value of a whole row, in bytes.
const LONGEST_WHOLE: usize = 4 << 10;

/// The section of a page about an export.
pub(super) fn section(changes: &ChangesSeen) -> Markup {
    html! {
        section #changes aria-labelledby="changes-title" {
            h2 #changes-title { "What changed" }
            (body(changes))
        }
    }
}

/// The last change of a job.
pub(super) fn last(changes: &ChangesSeen, anchor: &str) -> Markup {
    html! {
        h3 id=(anchor) { "The last change" }
        (body(changes))
    }
}

/// What makes a comparison doubtful, for the top of the page.
pub(super) fn warnings(changes: &ChangesSeen) -> Markup {
    let summary = &changes.summary;
    let has_rows = summary.before.rows > 0 && summary.after.rows > 0;
    html! {
        @if let Some((before, after)) = changes.datasets {
            p.verdict.warn {
                strong { "Two datasets" } ": the earlier export is of dataset " code { (before) } ", and this one of " code { (after) } "."
            }
        }
        @if has_rows && summary.shared_keys == 0 {
            p.verdict.warn {
                strong { "Nothing in common" } ": the two exports share no " (summary.by) ", so every row counts as removed and added."
                @if summary.by == DiffBy::Id { " If they are versions with new ids, compare them by order or by input." }
            }
        }
    }
}

fn body(changes: &ChangesSeen) -> Markup {
    let summary = &changes.summary;
    let different = summary.added + summary.removed + summary.changed;
    let (before, after) = (summary.before.rows, summary.after.rows);
    let fact = |name: &str, count: u64, of: u64, whose: &str| {
        html! { div { dt { (name) } dd { (grouped(count)) " " span.soft { "(" (share(count, of)) " of " (counted(of, "row")) " " (whose) ")" } } } }
    };
    let of = |kind: DifferenceKind| {
        changes.rows.iter().filter(move |row| row.kind == kind).collect::<Vec<_>>()
    };
    let changed = of(DifferenceKind::Changed);
    let (open, closed) = changed.split_at(changed.len().min(OPEN_ROWS));
    let room = PageRoom::new(ROWS_BYTES, &changes.stop);
    html! {
        p.intro {
            "Since " code { (Outside(&changes.before)) } ". Rows are compared by " (summary.by) "."
            @if summary.ignore_spelling { " The spelling of JSON is ignored." }
        }
        @for (path, is_later) in &changes.masked {
            p.note { code { (Outside(path)) } " is masked in " (if *is_later { "this export" } else { "the earlier export" }) " only, so its values differ." }
        }
        dl.facts {
            (fact("Added", summary.added, after, "now"))
            (fact("Removed", summary.removed, before, "before"))
            (fact("Changed", summary.changed, before, "before"))
            (fact("Unchanged", summary.unchanged, before, "before"))
        }
        @if summary.respelled > 0 {
            p.note { (grouped(summary.respelled)) " of " (counted(summary.changed, "changed row")) (if summary.respelled == 1 { " differs only in the spelling of its JSON." } else { " differ only in the spelling of their JSON." }) }
        }
        @if summary.columns.is_empty() {
            p.note { strong { "Only " (summary.by) " was compared" } ": the two exports have no other column in common, so unchanged says only that both have the row." }
        }
        (columns(changes))
        (changed_places::table(changes))
        @if different == 0 { p.empty { "The rows are equal in the columns that were compared." } }
        @for row in open { @if let Some(row) = room.row(|| changed_row(row)) { (row) } }
        @if !closed.is_empty() {
            details { summary { (counted(closed.len() as u64, "more changed row")) } @for row in closed { @if let Some(row) = room.row(|| changed_row(row)) { (row) } } }
        }
        @if !changed.is_empty() && (changed.len() as u64) < summary.changed {
            p.note { (grouped(changed.len() as u64)) " of " (counted(summary.changed, "changed row")) " are shown." }
        }
        (whole_rows(&of(DifferenceKind::Added), ("Added", summary.added), &room))
        (whole_rows(&of(DifferenceKind::Removed), ("Removed", summary.removed), &room))
        (room.note())
    }
}

fn columns(changes: &ChangesSeen) -> Markup {
    let summary = &changes.summary;
    let differing: Vec<_> = summary.columns.iter().filter(|(_, rows)| **rows > 0).collect();
    let only =
        |columns: &[Column]| columns.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
    html! {
        @if !differing.is_empty() {
            div.halves {
                table.common {
                    thead { tr { th scope="col" { "Column" } th.number scope="col" { "Changed rows" } th scope="col" { "Share of " (counted(summary.changed, "changed row")) } } }
                    tbody {
                        @for (column, rows) in differing {
                            tr {
                                th scope="row" { code { (column.name()) } }
                                td.number { (grouped(*rows)) }
                                td.share-cell { (share_bar(*rows, summary.changed)) }
                            }
                        }
                    }
                }
            }
        }
        @if !summary.before.only_here.is_empty() { p.note { "Only in the earlier export: " (only(&summary.before.only_here)) "." } }
        @if !summary.after.only_here.is_empty() { p.note { "Only in this export: " (only(&summary.after.only_here)) "." } }
        @for (side, computed) in [("the earlier export", &summary.before.computed), ("this export", &summary.after.computed)] {
            @if !computed.is_empty() { p.note { "Computed columns of " (side) ", which are not compared: " (line(computed.join(", "))) "." } }
        }
    }
}

/// A row with other values.
fn changed_row(row: &ChangedRow) -> Markup {
    let key = shortened(&row.key.as_deref().map(line).unwrap_or_default(), LONGEST_EXCERPT);
    html! {
        article.row.change aria-label=(format!("changed {key}")) {
            header {
                h3 { span.status.changed { "changed" } }
                code.id { (key) }
            }
            @if row.values.is_empty() { p.null { "It differs only in what the report does not show." } }
            @for (column, before, after) in &row.values {
                (column_change(column.name(), before.as_deref(), after.as_deref()))
            }
        }
    }
}

/// The values of a column that differ.
fn column_change(name: &str, before: Option<&str>, after: Option<&str>) -> Markup {
    let cut = |text: &str| text.floor_char_boundary(COMPARED_BYTES);
    let (before_text, after_text) = (before.unwrap_or("null"), after.unwrap_or("null"));
    let is_cut = [before, after].into_iter().flatten().any(|text| text.len() > COMPARED_BYTES);
    let compared = [before_text, after_text].map(|text| &text[..cut(text)]);
    let (old, new) = (JsonView::of(compared[0]), JsonView::of(compared[1]));
    let is_respelled = is_same_value(before_text, after_text);
    let all = if is_respelled {
        Vec::new()
    } else {
        value_changes(&old, &new, compared.map(JsonView::is_beginning))
    };
    let (shown, more) = all.split_at(all.len().min(MOST_VALUES));
    html! {
        h4 { (name) @if all.len() > 1 { ": " (counted(all.len() as u64, "value")) } }
        @if all.is_empty() {
            p.null {
                @if is_respelled { "Only the spelling of its JSON differs." }
                @else if is_cut { "It differs beyond the part that is compared here." }
                @else { "It differs in a key that an object has more than once." }
            }
        }
        @for change in shown { (value_change(change)) }
        @if !more.is_empty() { p.soft { "and " (counted(more.len() as u64, "more value")) } }
        @if is_cut && !is_respelled { p.cut { "Only the first " (COMPARED_BYTES >> 10) " KiB are compared here." } }
    }
}

fn value_change(change: &ValueChange<'_>) -> Markup {
    let words = match (change.before, change.after) {
        (Some(JsonView::Text(old)), Some(JsonView::Text(new))) => Some(WordChanges::of(old, new)),
        _ => None,
    };
    html! {
        div.value-change {
            p.soft {
                @if !change.place.is_empty() { code { (Outside(&change.place)) } " " }
                @match (&words, change.before, change.after) {
                    (Some(words), ..) => { (counted(words.removed, "word")) " removed, " (grouped(words.added)) " added" }
                    (None, None, _) => "new",
                    (None, _, None) => "gone",
                    _ => {}
                }
            }
            p.words dir="auto" {
                @match &words {
                    Some(words) => (pieces(words)),
                    None => (before_and_after(&change.shown(LONGEST_VALUE)))
                }
            }
            @if words.as_ref().is_some_and(|it| it.is_cut) { p.cut { "Only the beginning of this text is compared here." } }
        }
    }
}

/// The pieces of a text. Of equal text, what is next to a difference stays.
fn pieces(words: &WordChanges) -> Markup {
    let last = words.pieces.len().saturating_sub(1);
    html! {
        @for (place, (tag, text)) in words.pieces.iter().enumerate() {
            @match tag {
                ChangeTag::Delete => del { (Outside(&shortened(text, LONGEST_VALUE))) },
                ChangeTag::Insert => ins { (Outside(&shortened(text, LONGEST_VALUE))) },
                ChangeTag::Equal => (equal(text, place > 0, place < last)),
            }
        }
    }
}

/// Equal text, with the characters after the difference before it, and before the difference after it.
fn equal(text: &str, follows: bool, leads: bool) -> Markup {
    let length = text.chars().count();
    let (head, tail) = (if follows { CONTEXT } else { 0 }, if leads { CONTEXT } else { 0 });
    let left_out = length.saturating_sub(head + tail);
    // The note takes room, too: it says how many characters are left out.
    if left_out <= CONTEXT {
        return html! { (Outside(text)) };
    }
    let end = text.char_indices().nth(head).map_or(text.len(), |(at, _)| at);
    let begin = text.char_indices().nth(length - tail).map_or(text.len(), |(at, _)| at);
    html! {
        (Outside(&text[..end])) span.skipped { " … " (grouped(left_out as u64)) " equal characters … " } (Outside(&text[begin..]))
    }
}

/// Rows that only one of the exports has, each in a line.
fn whole_rows(rows: &[&ChangedRow], (word, all): (&str, u64), room: &PageRoom<'_>) -> Markup {
    let class = word.to_lowercase();
    html! {
        @if !rows.is_empty() {
            details.whole {
                summary { (word) " rows: " (grouped(all)) }
                @if (rows.len() as u64) < all { p.soft { (grouped(rows.len() as u64)) " of " (counted(all, "row")) " are shown." } }
                ul {
                    @for row in rows { @if let Some(row) = room.row(|| whole_row(row, &class)) { (row) } }
                }
            }
        }
    }
}

fn whole_row(row: &ChangedRow, class: &str) -> Markup {
    html! {
        li.change {
            details {
                summary {
                    span.status.(class) { (class) } " "
                    @if let Some(key) = &row.key { code.id { (shortened(&line(key), LONGEST_EXCERPT)) } " " }
                    span dir="auto" { (Outside(&excerpt(row))) }
                }
                @for (column, before, after) in &row.values {
                    @if let Some(text) = after.as_deref().or(before.as_deref()).filter(|_| *column != Column::Id) {
                        h4 { (column.name()) }
                        (whole_value(text))
                    }
                }
            }
        }
    }
}

fn whole_value(text: &str) -> Markup {
    let shown = &text[..text.floor_char_boundary(LONGEST_WHOLE)];
    let laid_out = match JsonView::of(shown) {
        JsonView::Text(text) => text.into_owned(),
        view => view.laid_out(),
    };
    html! {
        pre.json tabindex="0" dir="auto" { code { (Outside(&laid_out)) } }
        @if shown.len() < text.len() { p.cut { "Only the first " (LONGEST_WHOLE >> 10) " KiB are shown here." } }
    }
}

/// The longest text of the input, or of the first column, shortened.
fn excerpt(row: &ChangedRow) -> String {
    let value =
        row.values.iter().find(|(column, ..)| *column == Column::Input).or(row.values.first());
    let text = value.and_then(|(_, before, after)| after.as_deref().or(before.as_deref()));
    let text =
        text.map(|text| &text[..text.floor_char_boundary(LONGEST_WHOLE)]).unwrap_or_default();
    let view = JsonView::of(text);
    let longest = view.texts().into_iter().max_by_key(|it| it.len());
    let said = longest.map_or_else(|| line(text), line);
    match said.char_indices().nth(LONGEST_EXCERPT) {
        Some((end, _)) => format!("{}…", &said[..end]),
        None => said,
    }
}
