//! The section about the data: what is odd, an overview of the columns, and what each column holds.

use maud::{Markup, html};

use super::{
    chart::{figure_class, histogram, share_bar},
    text::{Outside, share},
};
use crate::{
    batch::{Column, timestamp_text},
    record::manifest::Completeness,
    report::{
        ExportReport,
        profile::{
            ColumnProfile, NumberRange, ValueProfile,
            figures::{CommonValues, ExtremeRow, Lengths},
            tree::{JsonTree, TreeNode},
        },
    },
    text::{counted, grouped, line, plural},
};

/// Most values of a list of common values.
const MOST_VALUES: usize = 20;
/// Most keys that are shown of an object.
const MOST_MEMBERS: usize = 100;
/// Most keys that are shown of a column.
const MOST_KEYS: usize = 1500;

/// The section.
pub(super) fn section(report: &ExportReport) -> Markup {
    let (profile, rows) = (&report.seen.profile, report.rows());
    let remarks = remarks(report);
    html! {
        section #data aria-labelledby="data-title" {
            h2 #data-title { "The data" }
            @if rows == 0 {
                p.empty { "The export has no rows. Its columns are:" }
            }
            @if !remarks.is_empty() {
                h3 { "Worth a look" }
                ul.remarks { @for remark in remarks { li { (remark) } } }
            }
            (overview(report))
            @if rows > 0 {
                p.note {
                    "≈ marks estimates: distinct values by HyperLogLog (standard error 0.8 %), medians to within 1 %. "
                    "All other figures are exact. Lengths are in characters."
                }
                @for column in profile.columns.iter().filter(|it| has_details(it, rows)) { (details(report, column)) }
            }
        }
    }
}

/// What a reader should know about first.
fn remarks(report: &ExportReport) -> Vec<Markup> {
    let (seen, rows) = (&report.seen, report.rows());
    let (mut found, profile) = (Vec::new(), &seen.profile);
    let part = |count: u64| format!("{} ({})", counted(count, "row"), share(count, rows));
    if seen.duplicates.rows > 0 {
        let verb = if seen.duplicates.rows == 1 { "repeats" } else { "repeat" };
        let inputs = seen.duplicates.inputs;
        found.push(html! {
            strong { (part(seen.duplicates.rows)) } " " (verb) " the input of an earlier row: "
            (grouped(inputs)) " " (plural(inputs, "input")) (if inputs == 1 { " occurs" } else { " occur" }) " more than once."
        });
    }
    let outputs = profile.outputs;
    if outputs.empty > 0 {
        found.push(html! {
            strong { (part(outputs.empty)) } " with an empty expected output: without any text, number or boolean."
        });
    }
    if outputs.short > 0 {
        found.push(html! {
            strong { (part(outputs.short)) } " with a nearly empty expected output: one or two bytes of text, and nothing else."
        });
    }
    for column in &profile.columns {
        let name = column.column.name();
        if rows > 0 && column.nulls == rows {
            found.push(html! { code { (Outside(name)) } " is null in every row." });
        } else if column.nulls > 0 && column.api == Some(Column::ExpectedOutput) {
            found.push(html! { strong { (part(column.nulls)) } " without an expected output." });
        }
    }
    if seen.orders.count > 0 && !seen.orders.is_contiguous() {
        let falls = seen.orders.falls;
        found.push(html! {
            code { "order" } " does not rise by one from row to row"
            @if falls > 0 { ": " (part(falls)) " with an order that is not above the one before" }
            "."
        });
    }
    found
}

fn overview(report: &ExportReport) -> Markup {
    let rows = report.rows();
    html! {
        div.scroll tabindex="0" role="region" aria-label="Columns" {
            table.overview {
                thead {
                    tr {
                        th scope="col" { "Column" } th scope="col" { "Type" }
                        th.number scope="col" { "Null" } th.number scope="col" { "Distinct" }
                        th.number scope="col" { "Shortest" } th.number scope="col" { "Median" } th.number scope="col" { "Longest" }
                    }
                }
                tbody {
                    @for column in &report.seen.profile.columns {
                        @let lengths = &column.lengths;
                        tr {
                            th scope="row" {
                                @if has_details(column, rows) { a href=(format!("#column-{}", line(column.column.name()))) { code { (Outside(column.column.name())) } } }
                                @else { code { (Outside(column.column.name())) } }
                            }
                            td { (column.column.column_type()) }
                            td.number { (grouped(column.nulls)) }
                            td.number { (distinct(report, column)) }
                            td.number { @if let Some(it) = &lengths.shortest { (grouped(it.length)) } }
                            td.number { @if lengths.count() > 0 { (median(lengths)) } }
                            td.number { @if let Some(it) = &lengths.longest { (grouped(it.length)) } }
                        }
                    }
                }
            }
        }
    }
}

/// The number of distinct values of a column. What is known exactly from elsewhere is no estimate.
fn distinct(report: &ExportReport, profile: &ColumnProfile) -> String {
    let (seen, values) = (&report.seen, report.rows() - profile.nulls);
    let is_proven = seen.is_checked && report.facts.completeness == Some(Completeness::Proven);
    match (profile.distinct.count(), profile.api) {
        ((count, true), _) => grouped(count),
        // Only a complete export proves that its ids differ.
        (_, Some(Column::Id)) if is_proven => grouped(values),
        (_, Some(Column::Order)) if seen.orders.falls == 0 => grouped(values),
        (_, Some(Column::Input)) => grouped(values.saturating_sub(seen.duplicates.rows)),
        ((count, false), _) => format!("≈ {}", grouped(count.min(values))),
    }
}

/// The median; the histogram is exact below 256.
fn median(lengths: &Lengths) -> String {
    match lengths.quantile(0.5) {
        exact @ 0..256 => grouped(exact),
        about => format!("≈ {}", grouped(about)),
    }
}

/// Whether there is more to say of a column than the overview does.
fn has_details(profile: &ColumnProfile, rows: u64) -> bool {
    let is_usual_id =
        matches!(profile.values, ValueProfile::Id) && are_equally_long(&profile.lengths);
    profile.nulls < rows && !is_usual_id
}

fn are_equally_long(lengths: &Lengths) -> bool {
    let length = |row: &Option<ExtremeRow>| row.as_ref().map(|it| it.length);
    length(&lengths.shortest) == length(&lengths.longest)
}

/// Everything about a column.
fn details(report: &ExportReport, profile: &ColumnProfile) -> Markup {
    let (rows, name) = (report.rows(), profile.column.name());
    // Its name is an anchor, too.
    let anchor = format!("column-{}", line(name));
    let values = rows - profile.nulls;
    html! {
        article.column id=(anchor) aria-labelledby=(format!("{anchor}-title")) {
            header {
                h3 id=(format!("{anchor}-title")) { code { (Outside(name)) } }
                span.type { (profile.column.column_type()) }
                span.soft {
                    @if profile.nulls == 0 { "never null" }
                    @else if values == 0 { "always null" }
                    @else { "null in " (counted(profile.nulls, "row")) " (" (share(profile.nulls, rows)) ")" }
                }
                @if values > 0 { span.soft { (distinct(report, profile)) " distinct" } }
            }
            div.halves {
                (lengths(report, profile))
                @match &profile.values {
                    ValueProfile::Text(common) => (common_values(report, common, values, "value")),
                    ValueProfile::Tags(_, common) => (common_values(report, common, values, "label")),
                    ValueProfile::Number(range) => {
                        div {
                            (number_range(report, *range))
                            @if profile.api == Some(Column::Order) { (order(report)) }
                        }
                    }
                    ValueProfile::Bool { yes } => {
                        p { "true in " (counted(*yes, "row")) ", false in " (counted(values - yes, "row")) "." }
                    }
                    ValueProfile::Timestamp(Some((first, last))) if report.shows_rows => {
                        p { "From " (timestamp_text(*first)) " to " (timestamp_text(*last)) "." }
                    }
                    _ => {}
                }
                @if profile.api == Some(Column::Input) { (conversations(report)) }
            }
            @match &profile.values {
                ValueProfile::Json(json) | ValueProfile::Tags(json, _) if values > 0 => (tree(json, rows)),
                _ => {}
            }
        }
    }
}

fn lengths(report: &ExportReport, profile: &ColumnProfile) -> Markup {
    let lengths = &profile.lengths;
    let (Some(shortest), Some(longest)) = (&lengths.shortest, &lengths.longest) else {
        return html! {};
    };
    let label = format!(
        "Lengths of {}: from {} to {} characters, median {}",
        line(profile.column.name()),
        grouped(shortest.length),
        grouped(longest.length),
        median(lengths)
    );
    html! {
        @let bars = lengths.bars();
        figure class=(figure_class(&bars)) {
            figcaption { "Length in characters" }
            (histogram(&bars, "character", &label))
            div.axis { span { (grouped(shortest.length)) } span { "median " (median(lengths)) } span { (grouped(longest.length)) } }
            @if report.shows_rows {
                p.soft { "Shortest: " (extreme(report, shortest)) ". Longest: " (extreme(report, longest)) "." }
            }
        }
    }
}

/// The row with an extreme value: a link if the page shows it.
fn extreme(report: &ExportReport, row: &ExtremeRow) -> Markup {
    let text = format!("row {}", grouped(row.row));
    let shown = report.seen.rows.iter().find(|it| it.number == row.row);
    html! {
        @if let Some(shown) = shown { a href=(format!("#{}", super::rows::anchor(shown))) { (text) } } @else { (text) }
        @if shown.is_none() && !row.id.is_empty() { " (" code { (Outside(&row.id)) } ")" }
    }
}

/// The most common values. `values` is the number of values that are not null.
fn common_values(report: &ExportReport, common: &CommonValues, values: u64, noun: &str) -> Markup {
    if common.total() == 0 || !report.shows_rows {
        return html! {};
    }
    let mut top = common.top(MOST_VALUES);
    // Among many values, those that occur once say nothing.
    if common.different() > MOST_VALUES {
        top.retain(|(_, count)| *count > 1);
    }
    if top.is_empty() {
        return html! { p.soft { "No " (noun) " occurs twice." } };
    }
    let more = common.different().saturating_sub(top.len()) as u64;
    let about = if common.is_exact() { "" } else { "≈ " };
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("Most common {}", plural(2, noun))) {
            table.common {
                thead { tr { th scope="col" { "Most common " (plural(2, noun)) } th.number scope="col" { "Rows" } th scope="col" { "Share" } } }
                tbody {
                    @for (value, count) in &top {
                        tr {
                            th scope="row" dir="auto" { @if value.is_empty() { span.null { "empty text" } } @else { (Outside(value)) } }
                            td.number { (about) (grouped(*count)) }
                            td.share-cell { (share_bar(*count, values)) }
                        }
                    }
                }
            }
            @if more > 0 && common.is_exact() { p.soft { "and " (counted(more, &format!("other {noun}"))) } }
        }
    }
}

fn number_range(report: &ExportReport, range: NumberRange) -> Markup {
    let says = |low: String, high: String| html! { p { "From " (low) " to " (high) "." } };
    match (range.integers, range.floats) {
        _ if !report.shows_rows => html! {},
        (Some((low, high)), _) => says(low.to_string(), high.to_string()),
        (None, Some((low, high))) => says(low.to_string(), high.to_string()),
        (None, None) => html! {},
    }
}

fn order(report: &ExportReport) -> Markup {
    let orders = &report.seen.orders;
    html! {
        @if orders.count > 0 {
            p { @if orders.is_contiguous() { "It rises by one from row to row." } @else { "It does not rise by one from row to row." } }
        }
    }
}

fn conversations(report: &ExportReport) -> Markup {
    let (turns, rows) = (&report.seen.profile.turns, report.rows());
    let with = turns.turns.count();
    let (Some(fewest), Some(most)) = (&turns.turns.shortest, &turns.turns.longest) else {
        return html! {};
    };
    let label = format!(
        "Turns: from {} to {}, median {}",
        fewest.length,
        most.length,
        median(&turns.turns)
    );
    html! {
        div {
            @let bars = turns.turns.bars();
            figure class=(figure_class(&bars)) {
                figcaption { "Turns of conversations, in " (counted(with, "row")) " (" (share(with, rows)) ")" }
                (histogram(&bars, "turn", &label))
                div.axis { span { (grouped(fewest.length)) } span { "median " (median(&turns.turns)) } span { (grouped(most.length)) } }
            }
            @if report.shows_rows {
                @let total = turns.roles.total();
                table.common {
                    thead { tr { th scope="col" { "Role" } th.number scope="col" { "Turns" } th scope="col" { "Share" } } }
                    tbody {
                        @for (role, count) in turns.roles.top(MOST_VALUES) {
                            tr { th scope="row" dir="auto" { (Outside(&role)) } td.number { (grouped(count)) } td.share-cell { (share_bar(count, total)) } }
                        }
                    }
                }
            }
        }
    }
}

/// The keys of a JSON column.
fn tree(tree: &JsonTree, rows: u64) -> Markup {
    let mut left = MOST_KEYS;
    html! {
        div.tree {
            div.key-row {
                span.key.soft { "whole value" } " "
                span.kinds { (kinds(&tree.root)) } " "
                span.rows {
                    (share_bar(tree.root.rows, rows)) " "
                    span.soft { (counted(tree.root.rows, "row")) }
                }
            }
            @if tree.is_overfull {
                p.soft { "There are too many different keys to count them." }
            } @else {
                (below(&tree.root, rows, &mut left, 0))
            }
        }
    }
}

/// The types of the values, with their numbers if there are several.
fn kinds(node: &TreeNode) -> Markup {
    let all: Vec<_> = node.kinds().collect();
    html! {
        @for (place, (kind, count)) in all.iter().enumerate() {
            @if place > 0 { ", " }
            span class=(format!("kind {}", kind.name())) { (kind.name()) }
            @if all.len() > 1 { " " span.soft { (grouped(*count)) } }
        }
    }
}

/// What is in objects and arrays.
fn below(node: &TreeNode, rows: u64, left: &mut usize, depth: usize) -> Markup {
    let members = node.members.iter().take(MOST_MEMBERS);
    let more = node.members.len().saturating_sub(MOST_MEMBERS);
    html! {
        @if is_inner(node) {
            ul.keys {
                @if node.is_map { li { div.key-row { span.key.soft { "more than 512 different keys: used as a map" } } } }
                @for member in members { (key(&member.name, &member.node, rows, left, depth)) }
                @if more > 0 { li.soft { "and " (counted(more as u64, "more key")) } }
                @if let Some(item) = &node.item { (key("[ ]", item, rows, left, depth)) }
            }
        }
    }
}

fn is_inner(node: &TreeNode) -> bool {
    !node.members.is_empty() || node.item.is_some() || node.is_map
}

fn key(name: &str, node: &TreeNode, rows: u64, left: &mut usize, depth: usize) -> Markup {
    if *left == 0 {
        return html! {};
    }
    *left -= 1;
    let line = html! {
        span.key { code { (Outside(name)) } } " "
        span.kinds { (kinds(node)) } " "
        span.rows {
            (share_bar(node.rows, rows)) " "
            span.soft { (counted(node.rows, "row")) @if node.values != node.rows { ", " (counted(node.values, "value")) } }
        }
    };
    html! {
        li {
            @if is_inner(node) {
                // The first levels tell what the column holds.
                details open[depth < 1] {
                    summary.key-row { (line) }
                    (below(node, rows, left, depth + 1))
                }
            } @else {
                div.key-row { (line) }
            }
            @if *left == 0 { p.soft { "Further keys are not shown." } }
        }
    }
}
