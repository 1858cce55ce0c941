//! The section about what changed between two exports: counts, columns, and rows side by side.

use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::{
    chart::share_bar,
    json::JsonView,
    text::{Outside, share},
};
use crate::{
    batch::Column,
    diff::DifferenceKind,
    report::changes::{COMPARED_BYTES, ChangedRow, ChangesSeen},
    text::{counted, grouped, line},
};

/// Equal text of more characters is left out in its middle.
const LONGEST_EQUAL: usize = 600;
/// Characters that stay visible on both sides of an omitted piece.
const CONTEXT: usize = 200;

/// The section.
pub(super) fn section(changes: &ChangesSeen) -> Markup {
    let summary = &changes.summary;
    let different = summary.added + summary.removed + summary.changed;
    let fact = |name: &str, count: u64, of: u64| {
        html! { div { dt { (name) } dd { (grouped(count)) " " span.soft { "(" (share(count, of)) ")" } } } }
    };
    let (before, after) = (summary.before.rows, summary.after.rows);
    html! {
        section #changes aria-labelledby="changes-title" {
            h2 #changes-title { "What changed" }
            p.intro {
                "Since " code { (Outside(&changes.before)) } ", which has " (counted(before, "row")) ". Rows are compared by id."
            }
            dl.facts {
                (fact("Added", summary.added, after))
                (fact("Removed", summary.removed, before))
                (fact("Changed", summary.changed, before))
                (fact("Unchanged", summary.unchanged, before))
            }
            (columns(changes))
            @if different == 0 { p.empty { "The rows are equal in the columns that were compared." } }
            @for row in &changes.rows { (changed(row)) }
            @if !changes.rows.is_empty() && (changes.rows.len() as u64) < different {
                p.note { (grouped(changes.rows.len() as u64)) " of " (counted(different, "difference")) " are shown." }
            }
        }
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
                    thead { tr { th scope="col" { "Column" } th.number scope="col" { "Changed rows" } th scope="col" { "Share of them" } } }
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

fn changed(row: &ChangedRow) -> Markup {
    let (class, word) = match row.kind {
        DifferenceKind::Added => ("added", "added"),
        DifferenceKind::Removed => ("removed", "removed"),
        DifferenceKind::Changed => ("changed", "changed"),
    };
    let key = row.key.as_deref().map(line).unwrap_or_default();
    html! {
        article.row.change aria-label=(format!("{word} {key}")) {
            header {
                h3 { span class=(format!("status {class}")) { (word) } }
                code.id { (key) }
            }
            @if row.values.is_empty() { p.null { "It differs only in what the report does not show." } }
            @for (column, before, after) in &row.values {
                @if *column != Column::Id {
                    h4 { (column.name()) }
                    (side_by_side(before.as_deref(), after.as_deref()))
                }
            }
        }
    }
}

/// Two JSON texts with the words that differ.
fn side_by_side(before: Option<&str>, after: Option<&str>) -> Markup {
    let (old, new) = (before.map(shown), after.map(shown));
    let is_cut = [before, after].into_iter().flatten().any(|text| text.len() > COMPARED_BYTES);
    let (Some(old), Some(new)) = (&old, &new) else {
        return html! {
            @for (text, class) in [(&old, "old"), (&new, "new")] {
                @if let Some(text) = text { pre.json.(class) tabindex="0" dir="auto" { code { (Outside(text)) } } }
            }
            @if is_cut { (cut()) }
        };
    };
    let words = TextDiff::from_words(old.as_str(), new.as_str());
    let (mut left, mut right) = (Vec::new(), Vec::new());
    // Neighbours of one kind become one piece, so that long equal text is found.
    let mut pieces: Vec<(ChangeTag, String)> = Vec::new();
    for change in words.iter_all_changes() {
        match pieces.last_mut() {
            Some((tag, text)) if *tag == change.tag() => text.push_str(change.value()),
            _ => pieces.push((change.tag(), change.value().to_owned())),
        }
    }
    for (tag, text) in &pieces {
        match tag {
            ChangeTag::Equal => {
                let equal = equal(text);
                left.push(equal.clone());
                right.push(equal);
            }
            ChangeTag::Delete => left.push(html! { del { (Outside(text)) } }),
            ChangeTag::Insert => right.push(html! { ins { (Outside(text)) } }),
        }
    }
    html! {
        div.sides.even {
            pre.json.side tabindex="0" dir="auto" aria-label="Before" { code { @for piece in &left { (piece) } } }
            pre.json.side tabindex="0" dir="auto" aria-label="After" { code { @for piece in &right { (piece) } } }
        }
        @if is_cut { (cut()) }
    }
}

fn cut() -> Markup {
    html! { p.cut { "Only the first " (COMPARED_BYTES >> 10) " KiB are compared here." } }
}

/// A JSON text as people write it; of a string, the text itself.
fn shown(json: &str) -> String {
    let json = json.get(..json.floor_char_boundary(COMPARED_BYTES)).unwrap_or(json);
    match JsonView::of(json) {
        JsonView::Text(text) => text.into_owned(),
        view => view.laid_out(),
    }
}

/// Equal text, without the middle of a long one.
fn equal(text: &str) -> Markup {
    let ends = text.char_indices().nth(CONTEXT).map(|(at, _)| at);
    let begins = text.char_indices().rev().nth(CONTEXT).map(|(at, _)| at);
    match (ends, begins) {
        (Some(end), Some(begin)) if begin > end + LONGEST_EQUAL - 2 * CONTEXT => html! {
            (Outside(&text[..end])) span.skipped { " … " (grouped((begin - end) as u64)) " bytes are equal … " } (Outside(&text[begin..]))
        },
        _ => html! { (Outside(text)) },
    }
}
