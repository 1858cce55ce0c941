//! The rows that differ between two exports: changed ones by the place of their change, added and removed ones as lists.

use std::collections::HashMap;

use maud::{Markup, html};

use super::{
    changed_values::column_change,
    room::PageRoom,
    rows::{anchor, chip},
    text::Outside,
};
use crate::{
    batch::Column,
    report::{
        changed_row::ChangedRow,
        changed_sample::{ChangedGroup, GroupKey, PlacedChange},
        changes::ChangesSeen,
        json_view::JsonView,
        sample::ShownRow,
        value_changes::shortened,
    },
    text::{counted, grouped, line},
};

/// Changed rows that are open at first: of all groups, of one, and of one of an expected output or without others.
const OPEN_ROWS: usize = 20;
const OPEN_OF_GROUP: usize = 3;
const OPEN_OF_IMPORTANT: usize = 12;
/// Longest excerpt of a row, in characters.
const LONGEST_EXCERPT: usize = 120;
/// Longest value of a whole row, in bytes.
const LONGEST_WHOLE: usize = 4 << 10;

/// Links to the changed rows of a comparison, and from them to the rows of the page.
pub(super) struct ChangeLinks<'a> {
    /// What the anchors of the comparison begin with.
    prefix: &'a str,
    /// The rows of the page by their ids.
    rows: HashMap<&'a str, &'a ShownRow>,
}

impl<'a> ChangeLinks<'a> {
    pub(super) fn new(prefix: &'a str, shown: &'a [ShownRow]) -> Self {
        let rows = shown.iter().filter(|row| !row.id.is_empty() && !row.repeats_id);
        Self { prefix, rows: rows.map(|row| (row.id.as_str(), row)).collect() }
    }

    /// A link to the first changed row of a place, if one is shown.
    pub(super) fn of_place(&self, changes: &ChangesSeen, place: usize, text: Markup) -> Markup {
        self.first(changes, |row| row.places.contains(&place), text)
    }

    /// A link to the first row that changed in a column, if one is shown. Rows with other values come first.
    pub(super) fn of_column(&self, changes: &ChangesSeen, column: Column, text: Markup) -> Markup {
        self.first(changes, |row| row.row.values.iter().any(|it| it.column == column), text)
    }

    fn first(
        &self,
        changes: &ChangesSeen,
        is_meant: impl Fn(&PlacedChange) -> bool,
        text: Markup,
    ) -> Markup {
        let mut rows = changes.changed.iter().flat_map(|group| &group.rows);
        html! {
            @match rows.position(is_meant) {
                Some(number) => a href=(format!("#{}", self.anchor(number))) { (text) },
                None => (text),
            }
        }
    }

    /// The anchor of a changed row by its number on the page.
    fn anchor(&self, number: usize) -> String {
        format!("{}-{}", self.prefix, number + 1)
    }
}

/// The changed rows. Rows of different places have a title each.
pub(super) fn groups(
    changes: &ChangesSeen,
    links: &ChangeLinks<'_>,
    room: &PageRoom<'_>,
) -> Markup {
    let groups = &changes.changed;
    let row = |row: &PlacedChange, number: usize| {
        let made = room.row(|| changed_row(row, number, links));
        // Links lead to it.
        made.unwrap_or_else(|| html! { article.row.change id=(links.anchor(number)) { header { (key_link(&row.row, links)) } } })
    };
    let (mut first, mut left) = (0, OPEN_ROWS);
    let parts = groups.iter().map(|group| {
        let is_output = |(column, _): &(Column, String)| *column == Column::ExpectedOutput;
        let is_important = groups.len() == 1 || group.place.as_ref().is_some_and(is_output);
        let most = if is_important { OPEN_OF_IMPORTANT } else { OPEN_OF_GROUP };
        let (number, open) = (first, group.rows.len().min(most).min(left));
        (first, left) = (first + group.rows.len(), left - open);
        (group, number, open)
    });
    html! {
        @for (group, number, open) in parts {
            @let (open_rows, closed_rows) = group.rows.split_at(open);
            @if groups.len() > 1 { h4.group { (title(group)) " " span.soft { (counted(group.rows.len() as u64, "row")) } } }
            @for (index, of_place) in open_rows.iter().enumerate() { (row(of_place, number + index)) }
            @if !closed_rows.is_empty() {
                details {
                    summary { (counted(closed_rows.len() as u64, if open == 0 { "row" } else { "more row" })) }
                    @for (index, of_place) in closed_rows.iter().enumerate() { (row(of_place, number + open + index)) }
                }
            }
        }
    }
}

fn title(group: &ChangedGroup) -> Markup {
    html! {
        @match (&group.place, group.key) {
            (Some((column, place)), _) => code { (column.name()) (Outside(place)) },
            (None, GroupKey::Respelled) => "Only the spelling differs",
            (None, _) => "Other changes",
        }
    }
}

/// A row with other values.
fn changed_row(
    PlacedChange { row, .. }: &PlacedChange,
    number: usize,
    links: &ChangeLinks<'_>,
) -> Markup {
    let key = key_of(row);
    html! {
        article.row.change id=(links.anchor(number)) aria-label=(format!("changed {key}")) {
            header {
                h3 { span.status.changed { "changed" } }
                (key_link(row, links))
                (which(row))
                @if let Some(said) = excerpt(row) { p.said dir="auto" { (Outside(&said)) } }
            }
            @if row.values.is_empty() { p.null { "It differs only in what the report does not show." } }
            @for value in &row.values { (column_change(value)) }
        }
    }
}

fn key_of(row: &ChangedRow) -> String {
    shortened(&row.key.as_deref().map(line).unwrap_or_default(), LONGEST_EXCERPT)
}

/// The key of a row. It leads to the row if the page shows it.
fn key_link(row: &ChangedRow, links: &ChangeLinks<'_>) -> Markup {
    let key = key_of(row);
    let id = row.telling(Column::Id).and_then(|id| serde_json::from_str::<String>(id).ok());
    let shown = id.and_then(|id| links.rows.get(id.as_str()).copied());
    html! {
        @match shown {
            Some(shown) => {
                @if !key.is_empty() { code.id { (key) } " " }
                a href=(format!("#{}", anchor(shown))) { "row " (grouped(shown.number)) }
            }
            None => { @if !key.is_empty() { code.id { (key) } } }
        }
    }
}

/// The order and the persona of a row.
fn which(row: &ChangedRow) -> Markup {
    let order = row.telling(Column::Order).filter(|order| row.key.as_deref() != Some(order));
    let persona =
        row.telling(Column::Persona).and_then(|it| serde_json::from_str::<String>(it).ok());
    html! {
        @if let Some(order) = order { " " span.order { "order " (Outside(order)) } }
        @if let Some(persona) = persona { " " span.persona dir="auto" { (chip(&persona)) } }
    }
}

/// Rows that only one of the exports has, each in a line.
pub(super) fn whole_rows(
    rows: &[ChangedRow],
    (word, all): (&str, u64),
    room: &PageRoom<'_>,
) -> Markup {
    let class = word.to_lowercase();
    let row = |row: &ChangedRow| {
        html! {
            li.change {
                details {
                    summary {
                        span.status.(class) { (class) } " "
                        code.id { (key_of(row)) }
                        (which(row))
                        @if let Some(said) = excerpt(row) { " " span dir="auto" { (Outside(&said)) } }
                    }
                    @for value in &row.values {
                        @if let Some(text) = value.after.as_deref().or(value.before.as_deref()).filter(|_| value.column != Column::Id) {
                            h4 { (value.column.name()) }
                            (whole_value(text))
                        }
                    }
                }
            }
        }
    };
    html! {
        @if !rows.is_empty() {
            details.whole {
                summary { (word) " rows: " (grouped(all)) }
                @if (rows.len() as u64) < all { p.soft { (grouped(rows.len() as u64)) " of " (counted(all, "row")) " are shown." } }
                ul {
                    @for of_side in rows { @if let Some(row) = room.row(|| row(of_side)) { (row) } }
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

/// What the user says first in the input, or the longest text of the input, shortened. Without an input, the first other
/// column.
fn excerpt(row: &ChangedRow) -> Option<String> {
    let whole = || {
        let other = row.values.iter().find(|it| it.column != Column::Id)?;
        other
            .after
            .as_deref()
            .or(other.before.as_deref())
            .filter(|_| other.before.is_none() || other.after.is_none())
    };
    let text = row.telling(Column::Input).or_else(whole)?;
    let view = JsonView::of(text);
    let longest = || view.texts().into_iter().max_by_key(|it| it.len());
    let said = view.first_request().or_else(longest).map_or_else(|| line(text), line);
    let said = said.trim();
    Some(match said.char_indices().nth(LONGEST_EXCERPT) {
        Some((end, _)) => format!("{}…", &said[..end]),
        None => said.to_owned(),
    })
}
