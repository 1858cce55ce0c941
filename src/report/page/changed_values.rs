//! The values that differ in a column of a row, with their words.

use maud::{Markup, html};
use similar::ChangeTag;

use super::text::{Outside, before_and_after};
use crate::{
    report::{
        changed_row::{COMPARED_BYTES, ChangedValue},
        json_view::JsonView,
        value_changes::{ValueChange, WordChanges, shortened, value_changes},
    },
    text::{counted, grouped},
};

/// Characters of equal text that stay visible on each side of a difference.
const CONTEXT: usize = 60;
/// Most values of a column of a row that are shown.
const MOST_VALUES: usize = 12;
/// Longest value without an equal part, in characters.
const LONGEST_VALUE: usize = 400;

/// The values of a column that differ.
pub(super) fn column_change(value: &ChangedValue) -> Markup {
    let name = value.column.name();
    let [before, after] = [&value.before, &value.after].map(|it| it.as_deref().unwrap_or("null"));
    let (old, new) = (JsonView::of(before), JsonView::of(after));
    let is_beginning = [before, after].map(JsonView::is_beginning);
    let all = if value.is_respelled { Vec::new() } else { value_changes(&old, &new, is_beginning) };
    let (shown, more) = all.split_at(all.len().min(MOST_VALUES));
    html! {
        h4 { (name) @if all.len() > 1 { ": " (counted(all.len() as u64, "value")) } }
        @if all.is_empty() {
            p.null {
                @if value.is_respelled { "Same values; only the order of keys, spaces, escapes or the form of numbers differ." }
                @else if value.is_cut { "It differs beyond the part that is compared here." }
                @else { "It differs in a key that an object has more than once." }
            }
        }
        @for change in shown { (value_change(change)) }
        @if !more.is_empty() { p.soft { "and " (counted(more.len() as u64, "more value")) } }
        @if value.is_cut && !value.is_respelled { p.cut { "Only the first " (COMPARED_BYTES >> 10) " KiB are compared here." } }
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
