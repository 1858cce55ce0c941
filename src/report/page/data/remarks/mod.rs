//! What is worth a look in the rows, or that nothing odd was found.

mod places;

use maud::{Markup, html};

use super::{
    super::{
        rows::chip,
        text::{Outside, Spaced, share},
    },
    median, row_link,
};
use crate::{
    batch::Column,
    report::{
        ExportReport,
        profile::{
            ColumnProfile, ValueProfile,
            examples::ValueExamples,
            figures::CommonValues,
            odd_places::{RARE, alike, rarer_row},
            tree::texts::Tally,
        },
        wanted::long_null_run,
    },
    text::{counted, grouped, line, plural},
};

/// Most remarks of one kind.
const MOST: usize = 10;
/// Most repeated ids that are named.
const MOST_IDS: usize = 3;
/// Few rows are at most one in this number: 20.
const FEW: u64 = 20;
/// A value is long if it is longer than this number of medians: 50.
const LONG: u64 = 50;
/// A shorter value is not long, whatever the median is: 1,000 characters.
const SHORT: u64 = 1000;

/// What is odd, and what was looked for.
#[derive(Default)]
struct OddRows {
    found: Vec<Markup>,
    looked_for: Vec<&'static str>,
}

impl OddRows {
    fn look(&mut self, what: &'static str, found: impl IntoIterator<Item = Markup>) {
        self.looked_for.push(what);
        let mut found: Vec<Markup> = found.into_iter().collect();
        let more = found.len().saturating_sub(MOST) as u64;
        found.truncate(MOST);
        self.found.extend(found);
        if more > 0 {
            self.found.push(html! { "and " (counted(more, "more remark")) " of this kind." });
        }
    }
}

/// What a reader should know about first.
pub(in crate::report::page) fn section(report: &ExportReport) -> Markup {
    if report.rows() == 0 {
        return html! {};
    }
    let OddRows { found, looked_for } = odd_rows(report);
    html! {
        section #odd aria-labelledby="odd-title" {
            h2 #odd-title { "Worth a look" }
            @if found.is_empty() {
                p.note { strong { "Nothing odd was found." } " This was looked for: " (looked_for.join(", ")) "." }
            } @else {
                ul.remarks { @for remark in found { li { (remark) } } }
            }
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
        odd.look("expected outputs that repeat the input", echoes(report));
    }
    odd.look("columns or blocks of rows without values", nulls(report));
    places::look(report, &mut odd);
    if profile.turns.roles.total() > 0 {
        odd.look("turns without text, and conversations with a rare end", turns(report));
        if report.shows_rows {
            odd.look("rare roles", rare_roles(report));
        }
    }
    if report.shows_rows {
        odd.look("personas, labels or roles in several spellings", spellings(report));
    }
    odd.look("values much longer than the others", long_values(report));
    if seen.orders.count > 0 && !report.facts.leaves_out_rows() {
        odd.look("gaps in the order", gaps(report));
    }
    odd
}

/// A number of rows with its share.
fn part(report: &ExportReport, count: u64) -> String {
    format!("{} ({} of all rows)", counted(count, "row"), share(count, report.rows()))
}

/// A number of a named whole with its share.
fn part_of(count: u64, whole: u64, noun: &str) -> String {
    format!("{} of {} ({})", grouped(count), counted(whole, noun), share(count, whole))
}

/// Where the first of some things is, or the only one. Nothing if it is not known.
fn example(report: &ExportReport, Tally { count, row }: Tally) -> Markup {
    html! {
        @if row > 0 { " " (if count == 1 { "It is in " } else { "The first is in " }) (row_link(report, row)) "." }
    }
}

/// A row that is an example of something, which need not be the first one.
fn row_example(report: &ExportReport, row: u64) -> Markup {
    html! { " One of them is in " (row_link(report, row)) "." }
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
    let inputs = &report.seen.inputs;
    let (rows, repeated) = (inputs.rows - inputs.keys, inputs.repeated);
    let columns = &report.seen.profile.columns;
    let has_outputs = columns.iter().any(|it| it.api == Some(Column::ExpectedOutput));
    let examples = report.seen.rows.iter();
    let examples =
        examples.filter(|row| row.repeats.is_some_and(|it| it.differs || inputs.differing == 0));
    let examples: Vec<_> = examples.take(MOST_IDS).collect();
    (rows > 0).then(|| html! {
        strong { (part(report, rows)) } (if rows == 1 { " repeats" } else { " repeat" }) " the input of an earlier row: "
        (grouped(repeated)) " " (plural(repeated, "input")) (if repeated == 1 { " occurs" } else { " occur" }) " more than once"
        @if has_outputs {
            ", and "
            @match inputs.differing {
                0 => { "always with the same expected output" }
                differing => {
                    strong { (grouped(differing)) " of them" } " " (if differing == 1 { "has" } else { "have" }) " different expected outputs"
                }
            }
        }
        "."
        @for (place, row) in examples.iter().enumerate() {
            (if place == 0 { " Such as " } else { ", " }) (row_link(report, row.number))
            @if let Some(earlier) = row.repeats { " after " (row_link(report, earlier.row)) }
        }
        @if !examples.is_empty() { "." }
        (mask_note(report, Column::Input))
        @if has_outputs && inputs.differing == 0 { (mask_note(report, Column::ExpectedOutput)) }
    })
}

fn outputs_of(report: &ExportReport, column: &ColumnProfile) -> Vec<Markup> {
    let (outputs, mut found) = (report.seen.profile.outputs, Vec::new());
    if outputs.empty.count > 0 {
        found.push(html! {
            strong { (part(report, outputs.empty.count)) } " with an empty expected output: without any text, number or boolean."
            (example(report, outputs.empty)) (mask_note(report, Column::ExpectedOutput))
        });
    }
    if outputs.wordless.count > 0 {
        found.push(html! {
            strong { (part(report, outputs.wordless.count)) } " with an expected output without a letter or a digit."
            (example(report, outputs.wordless))
        });
    }
    if column.nulls > 0 && column.nulls < report.rows() {
        found.push(html! {
            strong { (part(report, column.nulls)) } " without an expected output."
            (example(report, Tally { count: column.nulls, row: column.first_null }))
        });
    }
    found
}

/// Outputs that equal their input. If there are many, that is the task.
fn echoes(report: &ExportReport) -> Option<Markup> {
    let echoes = report.seen.profile.outputs.echoes;
    (echoes.count > 0 && echoes.count * FEW <= report.rows()).then(|| html! {
        strong { (part(report, echoes.count)) } " with an expected output that repeats the last long text of the input."
        (example(report, echoes))
    })
}

fn nulls(report: &ExportReport) -> Vec<Markup> {
    let (rows, mut found) = (report.rows(), Vec::new());
    for (place, column) in report.seen.profile.columns.iter().enumerate() {
        let name = column.column.name();
        // A masked column is null because somebody wanted it, and most datasets have no more fields than those of the API.
        if report.masked.has_column(name) || column.api == Some(Column::AdditionalProperties) {
            continue;
        }
        if column.nulls == rows {
            found.push(html! { code { (Outside(name)) } " is null in every row." });
        } else if column.nulls > 0 && column.api == Some(Column::Input) {
            found.push(html! {
                strong { (part(report, column.nulls)) } " without an input."
                (example(report, Tally { count: column.nulls, row: column.first_null }))
            });
        }
        if let Some(run) = long_null_run(&report.seen.profile, &report.seen.nulls, place) {
            let others = column.nulls - run.rows;
            found.push(html! {
                code { (Outside(name)) } " is null from " (row_link(report, run.first)) " to row " (grouped(run.first + run.rows - 1)) ": "
                strong { (part(report, run.rows)) } ", and in "
                @if others == 0 { "no other row." } @else { (counted(others, "other row")) "." }
            });
        }
    }
    found
}

fn turns(report: &ExportReport) -> Vec<Markup> {
    let (turns, mut found) = (&report.seen.profile.turns, Vec::new());
    let roles = turns.roles.top(usize::MAX);
    for (role, tally) in turns.empty.sorted() {
        let all = roles.iter().find(|(name, _)| name == role).map(|(_, count)| *count);
        // What a role never has is not missing. The number of its turns is only known if there are few roles.
        let Some(all) = all.filter(|all| tally.count < *all && turns.roles.is_exact()) else {
            continue;
        };
        found.push(html! {
            strong { (part_of(tally.count, all, "turn")) } " "
            @if report.shows_rows { "of the role " code dir="auto" { (Outside(role)) } } @else { "of a role" }
            (if tally.count == 1 { " has" } else { " have" }) " no text." (example(report, tally))
            (mask_note(report, Column::Input))
        });
    }
    if let Some(tally) = turns.rarely_without() {
        found.push(html! {
            strong { (part_of(tally.count, turns.turns.count() + tally.count, "input")) }
            (if tally.count == 1 { " has" } else { " have" }) " no turn of a conversation, and all others have." (example(report, tally))
        });
    }
    let usual = turns.last.sorted().first().map(|(role, _)| *role).unwrap_or_default();
    for (role, tally) in turns.rare_ends() {
        found.push(html! {
            strong { (part_of(tally.count, turns.turns.count(), "conversation")) } (if tally.count == 1 { " ends" } else { " end" })
            @if report.shows_rows { " with the role " code dir="auto" { (Outside(role)) } ", and most others with " code dir="auto" { (Outside(usual)) } }
            @else { " with a role with which hardly any other ends" }
            "." (example(report, tally))
        });
    }
    found
}

fn rare_roles(report: &ExportReport) -> Vec<Markup> {
    let roles = &report.seen.profile.turns.roles;
    let (total, is_exact) = (roles.total(), roles.is_exact());
    let rare = roles.top(usize::MAX).into_iter().filter(|(_, count)| count * RARE <= total);
    let mut rare: Vec<_> = rare.filter(|_| is_exact).collect();
    rare.reverse();
    let named = rare.into_iter().map(|(role, count)| html! {
        strong { (part_of(count, total, "turn")) } (if count == 1 { " has" } else { " have" }) " the role "
        code dir="auto" { (line(&role)) } "."
    });
    named.collect()
}

/// Values that differ only in case, spaces, `_` and `-`.
fn spellings(report: &ExportReport) -> Vec<Markup> {
    let mut found = Vec::new();
    let mut look =
        |name: &str, noun: &str, common: &CommonValues, firsts: Option<&ValueExamples>| {
            let about = if common.is_exact() { "" } else { "≈ " };
            let top = common.top(usize::MAX);
            for group in alike(top.iter().map(|(text, count)| (&**text, *count))) {
                let of_group = |text: &str| firsts.map_or(0, |firsts| firsts.get(text));
                let row = rarer_row(&group, of_group);
                found.push(several_spellings(report, name, (noun, about), (&group, row)));
            }
        };
    for column in &report.seen.profile.columns {
        match &column.values {
            ValueProfile::Text(common) if column.api == Some(Column::Persona) => {
                look("persona", "row", common, column.firsts.as_ref());
            }
            ValueProfile::Tags(_, common) => look("tags", "row", common, column.firsts.as_ref()),
            _ => {}
        }
    }
    look("role", "turn", &report.seen.profile.turns.roles, None);
    found
}

/// Several spellings of one value, the most common one first.
fn several_spellings(
    report: &ExportReport,
    place: &str,
    (noun, about): (&str, &str),
    (group, row): (&[(Box<str>, u64)], u64),
) -> Markup {
    html! {
        code { (Outside(place)) } ": "
        @for (index, (text, count)) in group.iter().enumerate() {
            (match index { 0 => "", _ if index + 1 == group.len() => " and ", _ => ", " })
            code dir="auto" { (Spaced(text)) } " (" (about) (counted(*count, noun)) ")"
        }
        " differ only in case, spaces, " code { "_" } " or " code { "-" } "."
        @if row > 0 { " A rarer one is first in " (row_link(report, row)) "." }
    }
}

fn long_values(report: &ExportReport) -> Vec<Markup> {
    let mut found = Vec::new();
    for column in &report.seen.profile.columns {
        let Some(longest) = &column.lengths.longest else { continue };
        let (middle, _) = column.lengths.median();
        if longest.length >= SHORT && longest.length > middle.saturating_mul(LONG) {
            found.push(html! {
                code { (Outside(column.column.name())) } ": the longest value has " strong { (counted(longest.length, "character")) }
                ", and the median has " (median(&column.lengths)) ". It is in " (row_link(report, longest.row)) "."
            });
        }
    }
    found
}

fn gaps(report: &ExportReport) -> Option<Markup> {
    let orders = &report.seen.orders;
    let (falls, gaps) = (orders.falls, orders.gaps);
    orders.is_odd().then(|| html! {
        code { "order" } " does not rise by one from row to row"
        @if falls.count > 0 {
            ": " strong { (part(report, falls.count)) } " with an order that is not above the one before"
            (first_at(report, falls))
        }
        @if gaps.count > 0 {
            (if falls.count > 0 { ", and " } else { ": " }) strong { (part(report, gaps.count)) } " after a gap"
            (first_at(report, gaps))
            @if let Some((before, after)) = orders.first_gap.filter(|_| report.shows_rows) {
                ", from " (before) " to " (after)
            }
        }
        "."
    })
}

fn first_at(report: &ExportReport, Tally { count, row }: Tally) -> Markup {
    html! { (if count == 1 { ", in " } else { ", first in " }) (row_link(report, row)) }
}
