//! Remarks about places of JSON columns.

use maud::{Markup, html};

use super::{OddRows, example, part_of, several_spellings};
use crate::report::{
    ExportReport,
    page::text::Outside,
    profile::{
        odd_places::{OddPlace, PlaceOddity},
        tree::{
            ValueKind,
            texts::{OddText, Tally},
        },
    },
};

/// Adds what differs at places of JSON columns.
pub(super) fn look(report: &ExportReport, odd: &mut OddRows) {
    if !report.seen.profile.columns.iter().any(|it| it.values.tree().is_some()) {
        return;
    }
    let found = |is_asked: fn(&PlaceOddity) -> bool| {
        let all = report.seen.odd.iter().filter(move |it| is_asked(&it.what));
        all.filter_map(|it| remark(report, it)).collect::<Vec<_>>()
    };
    use PlaceOddity::*;
    odd.look(
        "rare types of values, and numbers as text",
        found(|it| matches!(it, Kind { .. } | NumbersAsText { .. })),
    );
    odd.look("rare and missing keys", found(|it| matches!(it, MissingKey | RareKey { .. })));
    odd.look(
        "empty texts and placeholders",
        found(|it| matches!(it, Text(OddText::Blank | OddText::Wordless | OddText::Placeholder))),
    );
    odd.look("one text as many answers", found(|it| matches!(it, Repeated { .. })));
    odd.look(
        "wrong encodings and unfilled templates",
        found(|it| matches!(it, Text(OddText::Garbled | OddText::Template))),
    );
    if report.shows_rows {
        odd.look("values in several spellings", found(|it| matches!(it, Spellings(_))));
    }
}

fn remark(report: &ExportReport, odd: &OddPlace) -> Option<Markup> {
    let OddPlace { trail, what, count, whole, row, .. } = odd;
    let (count, whole, outputs) = (*count, *whole, &report.seen.profile.outputs);
    let place = html! { code { (Outside(trail.as_str())) } };
    let of = |noun: &str| html! { strong { (part_of(count, whole, noun)) } };
    let some = |one: &'static str, many: &'static str| if count == 1 { one } else { many };
    let example = example(report, Tally { count, row: *row });
    Some(match what {
        // The remark about whole outputs says it.
        PlaceOddity::Text(OddText::Blank) if odd.is_output && outputs.empty.count == count => {
            return None;
        }
        PlaceOddity::Text(OddText::Wordless) if outputs.wordless.count == count => return None,
        // A masked value is null because somebody wanted it.
        PlaceOddity::Kind { kind: ValueKind::Null, .. } if report.masked.has(trail) => return None,
        PlaceOddity::Kind { kind: ValueKind::Null, usual } => html! {
            (place) ": " (of("value")) (some(" is null", " are null")) ", and most others are of the type " (usual.name()) "." (example)
        },
        PlaceOddity::Kind { kind, usual } => html! {
            (place) ": " (of("value")) (some(" is of the type ", " are of the type ")) (kind.name())
            ", and most others of the type " (usual.name()) "." (example)
        },
        PlaceOddity::NumbersAsText { numbers } => {
            let (texts, numbers) = (count, *numbers);
            let (rarer, text) = match texts > numbers {
                true => (numbers, "numbers, and most others texts that are numbers"),
                false => (texts, "texts that are numbers, and most others numbers"),
            };
            let first = super::example(report, Tally { count: rarer, row: *row });
            html! { (place) ": " strong { (part_of(rarer, whole, "value")) } " are " (text) "." (first) }
        }
        PlaceOddity::MissingKey => html! {
            (place) " is missing in " (of("object")) "." (example)
        },
        PlaceOddity::RareKey { like } => html! {
            (place) " is in " (of("object")) " only."
            @if let Some(like) = like { " Most others have " code { (Outside(like)) } ", which is spelled almost like it." }
            (example)
        },
        PlaceOddity::Text(text) => {
            let says = match text {
                OddText::Blank => some(" is empty", " are empty"),
                OddText::Wordless => {
                    some(" has no letter and no digit", " have no letter and no digit")
                }
                OddText::Placeholder => some(
                    " is a placeholder, such as N/A or TODO",
                    " are placeholders, such as N/A or TODO",
                ),
                OddText::Garbled => some(
                    " has characters of a wrong encoding, such as Ã© or U+FFFD",
                    " have characters of a wrong encoding, such as Ã© or U+FFFD",
                ),
                OddText::Template => some(
                    " has a variable that nothing was filled in for, such as {{name}}",
                    " have a variable that nothing was filled in for, such as {{name}}",
                ),
                OddText::Numeric => return None,
            };
            html! { (place) ": " (of("text")) (says) "." (example) }
        }
        PlaceOddity::Repeated { text, is_cut } => html! {
            (place) ": at least " (of("text")) " are equal"
            @if report.shows_rows { ": “" span dir="auto" { (Outside(text)) @if *is_cut { "…" } } "”" }
            "." (super::row_example(report, *row))
        },
        PlaceOddity::Spellings(_) if !report.shows_rows || report.masked.has(trail) => return None,
        PlaceOddity::Spellings(group) => {
            several_spellings(report, trail.as_str(), ("value", ""), (group, *row))
        }
    })
}
