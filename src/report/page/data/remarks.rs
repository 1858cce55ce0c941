//! What is odd in the rows, or that nothing is.

use maud::{Markup, html};

use super::super::{
    rows::chip,
    text::{Outside, share},
};
use crate::{
    batch::Column,
    report::{
        ExportReport,
        profile::{ColumnProfile, rare::RareKind},
    },
    text::{counted, grouped, line, plural},
};

/// Most rare types and roles that are named.
const MOST_RARE: usize = 10;
/// Most repeated ids that are named.
const MOST_IDS: usize = 3;
/// A role is rare if it is that of at most one turn in this number: 100.
const RARE: u64 = 100;

/// What is odd, and what was looked for.
#[derive(Default)]
struct OddRows {
    found: Vec<Markup>,
    looked_for: Vec<&'static str>,
}

impl OddRows {
    fn look(&mut self, what: &'static str, found: impl IntoIterator<Item = Markup>) {
        self.looked_for.push(what);
        self.found.extend(found);
    }
}

/// What a reader should know about first.
pub(super) fn remarks(report: &ExportReport) -> Markup {
    if report.rows() == 0 {
        return html! {};
    }
    let OddRows { found, looked_for } = odd_rows(report);
    html! {
        @if found.is_empty() {
            p.note { strong { "Nothing odd was found." } " This was looked for: " (looked_for.join(", ")) "." }
        } @else {
            h3 { "Worth a look" }
            ul.remarks { @for remark in found { li { (remark) } } }
        }
    }
}

fn odd_rows(report: &ExportReport) -> OddRows {
    let (seen, profile) = (&report.seen, &report.seen.profile);
    let mut odd = OddRows::default();
    let column = |field: Column| profile.columns.iter().find(|it| it.api == Some(field));
    if column(Column::Id).is_some() {
        odd.look("repeated ids", repeated_ids(report));
    }
    if column(Column::Input).is_some() {
        odd.look("repeated inputs", repeated_inputs(report));
    }
    if let Some(outputs) = column(Column::ExpectedOutput) {
        odd.look("missing, empty or wordless expected outputs", outputs_of(report, outputs));
    }
    odd.look("columns without values", nulls(report));
    if profile.columns.iter().any(|it| it.values.tree().is_some()) {
        odd.look("rare types of values", rare_types(report));
    }
    if profile.turns.roles.total() > 0 && report.shows_rows {
        odd.look("rare roles", rare_roles(report));
    }
    if seen.orders.count > 0 {
        odd.look("gaps in the order", gaps(report));
    }
    odd
}

/// A number of rows with its share.
fn part(report: &ExportReport, count: u64) -> String {
    format!("{} ({} of all rows)", counted(count, "row"), share(count, report.rows()))
}

/// Masked values make rows look equal or empty.
fn mask_note(report: &ExportReport, field: Column) -> Markup {
    html! {
        @if report.masked.reaches(field.name()) { " Values in " code { (field.name()) } " are masked, which can be the reason." }
    }
}

fn repeated_ids(report: &ExportReport) -> Option<Markup> {
    let ids = &report.seen.repeated_ids;
    let rows = ids.rows - ids.distinct;
    let examples = report.seen.examples_of_ids.iter().take(MOST_IDS).filter(|_| report.shows_rows);
    let examples: Vec<String> = examples.map(|id| chip(id)).collect();
    (rows > 0).then(|| html! {
        strong { (part(report, rows)) } (if rows == 1 { " repeats" } else { " repeat" }) " the id of an earlier row: "
        (grouped(ids.repeated_ids)) " " (plural(ids.repeated_ids, "id")) (if ids.repeated_ids == 1 { " occurs" } else { " occur" }) " more than once"
        @if !examples.is_empty() { ", such as " code { (Outside(&examples.join(", "))) } }
        "."
    })
}

fn repeated_inputs(report: &ExportReport) -> Option<Markup> {
    let duplicates = report.seen.duplicates;
    let (rows, inputs) = (duplicates.rows, duplicates.inputs);
    (rows > 0).then(|| html! {
        strong { (part(report, rows)) } (if rows == 1 { " repeats" } else { " repeat" }) " the input of an earlier row: "
        (grouped(inputs)) " " (plural(inputs, "input")) (if inputs == 1 { " occurs" } else { " occur" }) " more than once."
            (mask_note(report, Column::Input))
    })
}

fn outputs_of(report: &ExportReport, column: &ColumnProfile) -> Vec<Markup> {
    let (outputs, mut found) = (report.seen.profile.outputs, Vec::new());
    if outputs.empty > 0 {
        found.push(html! {
            strong { (part(report, outputs.empty)) } " with an empty expected output: without any text, number or boolean."
            (mask_note(report, Column::ExpectedOutput))
        });
    }
    if outputs.wordless > 0 {
        found.push(html! {
            strong { (part(report, outputs.wordless)) } " with an expected output without a letter or a digit."
        });
    }
    if column.nulls > 0 && column.nulls < report.rows() {
        found
            .push(html! { strong { (part(report, column.nulls)) } " without an expected output." });
    }
    found
}

fn nulls(report: &ExportReport) -> Vec<Markup> {
    let (rows, mut found) = (report.rows(), Vec::new());
    for column in &report.seen.profile.columns {
        let name = column.column.name();
        // A masked column is null because somebody wanted it, and most datasets have no more fields than those of the API.
        if report.masked.has_column(name) || column.api == Some(Column::AdditionalProperties) {
            continue;
        }
        if column.nulls == rows {
            found.push(html! { code { (Outside(name)) } " is null in every row." });
        } else if column.nulls > 0 && column.api == Some(Column::Input) {
            found.push(html! { strong { (part(report, column.nulls)) } " without an input." });
        }
    }
    found
}

fn rare_types(report: &ExportReport) -> Vec<Markup> {
    let rare = &report.seen.rare;
    let (named, more) = rare.split_at(rare.len().min(MOST_RARE));
    let mut found: Vec<Markup> = named.iter().map(|it| rare_type(report, it)).collect();
    if !more.is_empty() {
        found.push(html! { "and " (counted(more.len() as u64, "more rare type")) ", which the trees of the columns have." });
    }
    found
}

fn rare_type(report: &ExportReport, rare: &RareKind) -> Markup {
    let RareKind { place, kind, count, values, usual, row } = rare;
    html! {
        code { (Outside(place)) } ": " strong { (grouped(*count)) " of " (counted(*values, "value")) } " "
        (if *count == 1 { "is of the type " } else { "are of the type " }) (kind.name()) ", and most others of the type " (usual.name()) ". "
        (if *count == 1 { "It is in " } else { "The first is in " }) (super::row_link(report, *row)) "."
    }
}

fn rare_roles(report: &ExportReport) -> Vec<Markup> {
    let roles = &report.seen.profile.turns.roles;
    let (total, is_exact) = (roles.total(), roles.is_exact());
    let rare = roles.top(usize::MAX).into_iter().filter(|(_, count)| count * RARE <= total);
    let mut rare: Vec<_> = rare.filter(|_| is_exact).collect();
    rare.reverse();
    let more = rare.len().saturating_sub(MOST_RARE) as u64;
    rare.truncate(MOST_RARE);
    let named = rare.into_iter().map(|(role, count)| html! {
        strong { (grouped(count)) " of " (counted(total, "turn")) } (if count == 1 { " has" } else { " have" }) " the role "
        code dir="auto" { (line(role)) } "."
    });
    let more = (more > 0).then(|| html! { "and " (counted(more, "more rare role")) "." });
    named.chain(more).collect()
}

fn gaps(report: &ExportReport) -> Option<Markup> {
    let orders = &report.seen.orders;
    (!orders.is_contiguous()).then(|| html! {
        code { "order" } " does not rise by one from row to row"
        @if orders.falls > 0 { ": " (part(report, orders.falls)) " with an order that is not above the one before" }
        "."
    })
}
