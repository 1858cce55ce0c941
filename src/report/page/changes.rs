//! The section about what changed between two exports: counts, columns, places and rows.

use maud::{Markup, html};

use super::{
    changed_places,
    changed_rows::{self, ChangeLinks},
    chart::share_bar,
    room::{PageRoom, ROWS_BYTES},
    text::{Outside, share},
};
use crate::{
    batch::Column,
    diff::DiffBy,
    report::{
        changes::ChangesSeen,
        sample::{MOST_ROWS as MOST_SHOWN_ROWS, ShownRow},
    },
    text::{counted, grouped, line},
};

/// The section of a page about an export.
pub(super) fn section(changes: &ChangesSeen, shown: &[ShownRow]) -> Markup {
    html! {
        section #changes aria-labelledby="changes-title" {
            h2 #changes-title { "What changed" }
            (body(changes, &ChangeLinks::new("changes", shown)))
        }
    }
}

/// A change between two snapshots of a job.
pub(super) fn part(changes: &ChangesSeen, anchor: &str, title: &str) -> Markup {
    html! {
        h3 id=(anchor) { (title) }
        (body(changes, &ChangeLinks::new(anchor, &[])))
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

fn body(changes: &ChangesSeen, links: &ChangeLinks<'_>) -> Markup {
    let summary = &changes.summary;
    let different = summary.added + summary.removed + summary.changed;
    let (before, after) = (summary.before.rows, summary.after.rows);
    let fact = |name: &str, count: u64, of: u64, whose: &str| {
        html! { div { dt { (name) } dd { (grouped(count)) " " span.soft { "(" (share(count, of)) " of " (counted(of, "row")) " " (whose) ")" } } } }
    };
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
            p.note {
                (grouped(summary.respelled)) " of " (counted(summary.changed, "changed row")) (if summary.respelled == 1 { " has" } else { " have" })
                " the same values in another spelling: only the order of keys, spaces, escapes or the form of numbers differ. The option " code { "ignore-spelling" } " leaves such rows out."
            }
        }
        @if summary.columns.is_empty() {
            p.note { strong { "Only " (summary.by) " was compared" } ": the two exports have no other column in common, so unchanged says only that both have the row." }
        }
        (columns(changes, links))
        (changed_places::table(changes, links))
        @if different == 0 { p.empty { "The rows are equal in the columns that were compared." } }
        (changed_rows::groups(changes, links, &room))
        (changed_rows::whole_rows(&changes.added, ("Added", summary.added), &room))
        (changed_rows::whole_rows(&changes.removed, ("Removed", summary.removed), &room))
        (more_rows(changes, different))
        (room.note())
    }
}

/// How to see the rows that are not shown.
fn more_rows(changes: &ChangesSeen, different: u64) -> Markup {
    let changed = changes.changed.iter().map(|it| it.rows.len() as u64).sum::<u64>();
    let shown = changed + (changes.added.len() + changes.removed.len()) as u64;
    html! {
        @if changes.shows_values && shown < different {
            p.note {
                (grouped(shown)) " of " (counted(different, "row")) " that differ " (if shown == 1 { "is" } else { "are" }) " shown. "
                "Set the option " code { "rows" } " to " (different.min(MOST_SHOWN_ROWS as u64)) " to show " (if different <= MOST_SHOWN_ROWS as u64 { "all of them" } else { "more of them" })
                "; " code { "overmind-export diff" } " lists every row."
            }
        }
    }
}

fn columns(changes: &ChangesSeen, links: &ChangeLinks<'_>) -> Markup {
    let (summary, seen) = (&changes.summary, &changes.places);
    let differing: Vec<_> = summary.columns.iter().filter(|(_, rows)| **rows > 0).collect();
    let only =
        |columns: &[Column]| columns.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
    let has_respelled = !seen.respelled.is_empty();
    html! {
        @if !differing.is_empty() {
            div.scroll tabindex="0" role="region" aria-label=(format!("Columns that changed since {}", line(&changes.before))) {
                table.common.changed-columns {
                    thead { tr {
                        th scope="col" { "Column" } th.number scope="col" { "Changed rows" }
                        @if has_respelled { th.number scope="col" { "Only spelling" } }
                        th scope="col" { "Share of " (counted(summary.changed, "changed row")) }
                    } }
                    tbody {
                        @for (column, rows) in differing {
                            tr {
                                th scope="row" { (links.of_column(changes, *column, html! { code { (column.name()) } })) }
                                td.number { (grouped(*rows)) }
                                @if has_respelled { td.number { (only_spelling(changes, *column)) } }
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

/// Number of rows that differ in a column only by the spelling of its JSON. With many changed rows, there can be more.
fn only_spelling(changes: &ChangesSeen, column: Column) -> Markup {
    let count = changes.places.respelled.get(&column).copied().unwrap_or(0);
    let is_all = changes.places.rows == changes.summary.changed;
    html! { @if !is_all && count > 0 { "at least " } (grouped(count)) }
}
