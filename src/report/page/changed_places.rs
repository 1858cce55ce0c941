//! The table of places where the values of changed rows differ, with the most frequent change of each.

use maud::{Markup, html};

use super::{
    changed_rows::ChangeLinks,
    chart::share_bar,
    text::{Outside, before_and_after},
};
use crate::{
    report::{
        changed_places::{ChangedPlace, EqualChange, RARE_ROWS},
        changes::ChangesSeen,
    },
    text::{counted, grouped, line},
};

/// Places that are shown.
const MOST_SHOWN: usize = 20;
/// With fewer changed rows, the rows themselves say as much.
const FEWEST_ROWS: u64 = 3;

/// The table; nothing if few rows changed.
pub(super) fn table(changes: &ChangesSeen, links: &ChangeLinks<'_>) -> Markup {
    let (seen, changed) = (&changes.places, changes.summary.changed);
    let places = seen.places();
    if seen.rows < FEWEST_ROWS || places.is_empty() {
        return html! {};
    }
    let (shown, more) = places.split_at(places.len().min(MOST_SHOWN));
    html! {
        h3 { "Where values changed" }
        div.scroll tabindex="0" role="region" aria-label=(format!("Where values changed since {}", line(&changes.before))) {
            table.common.places {
                thead { tr {
                    th scope="col" { "Place" }
                    th.number scope="col" { "Rows" }
                    th scope="col" { "Share of " (counted(seen.rows, "changed row")) }
                    th scope="col" { "Most frequent change" }
                } }
                tbody {
                    @for place in shown {
                        tr {
                            th scope="row" { (links.of_place(changes, place.index, html! { code { (place.column.name()) (Outside(place.place)) } })) }
                            td.number { (grouped(place.rows)) }
                            td.share-cell { (share_bar(place.rows, seen.rows)) }
                            td { (change(place, changes.shows_values)) }
                        }
                    }
                }
            }
        }
        @if !more.is_empty() || seen.has_more_places {
            @let count = more.len() as u64;
            p.soft { "and " (if seen.has_more_places { "more than " } else { "" }) (counted(count.max(1), "more place")) }
        }
        @if seen.rows < changed {
            p.note {
                "The table covers " (grouped(seen.rows)) " of " (counted(changed, "changed row"))
                ": the first ones, and all rows of columns that differ in at most " (grouped(RARE_ROWS)) " rows."
            }
        }
        @if seen.has_more_changes { p.note { "A change that begins late in the export can have more rows than this table says." } }
    }
}

/// The most frequent change of a place, and its number of rows.
fn change(place: &ChangedPlace<'_>, shows_values: bool) -> Markup {
    let Some(change) = place.change else { return html! {} };
    let is_repeated = change.rows > 1 || place.rows == 1;
    html! {
        @if !is_repeated {
            span.soft { "a different change in each row" }
        } @else {
            @if shows_values { span.words dir="auto" { (values(change)) } " " }
            @if place.rows > 1 {
                span.soft {
                    @if change.rows == place.rows { (if shows_values { "in all of them" } else { "the same in all of them" }) }
                    @else { (if shows_values { "in " } else { "the same in " }) (counted(change.rows, "row")) }
                }
            }
        }
    }
}

fn values(change: &EqualChange) -> Markup {
    before_and_after(&[change.before.clone(), change.after.clone()])
}
