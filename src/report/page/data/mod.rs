//! The section about the data: what is odd, an overview of the columns, and what each column holds.

pub(super) mod remarks;
mod tree;

use maud::{Markup, html};

use super::{
    chart::{figure_class, histogram, share_bar, value_bars},
    text::{Outside, Spaced, share},
};
use crate::{
    batch::{Column, timestamp_text},
    report::{
        ExportReport,
        profile::{
            ColumnProfile, ValueProfile,
            figures::{CommonValues, ExtremeRow, LengthBar, Lengths},
            numbers::{Numbers, float_text},
            tree::few::FewValues,
        },
    },
    text::{counted, grouped, line, plural},
};

/// Most values of a list of common values.
const MOST_VALUES: usize = 20;

/// The section.
pub(super) fn section(report: &ExportReport) -> Markup {
    let (profile, rows) = (&report.seen.profile, report.rows());
    html! {
        section #data aria-labelledby="data-title" {
            h2 #data-title { "The data" }
            @if rows == 0 {
                p.empty { "The export has no rows. Its columns are:" }
            }
            (overview(report))
            @if rows > 0 {
                (legend(report))
                @for column in profile.columns.iter().filter(|it| has_details(it, rows)) { (details(report, column)) }
            }
        }
    }
}

/// What the marks of the figures mean. Without an estimate, nothing has to be explained.
fn legend(report: &ExportReport) -> Markup {
    let profile = &report.seen.profile;
    let has_sketch = profile.columns.iter().any(|it| distinct(report, it).starts_with('≈'));
    let has_median = profile.columns.iter().any(|it| !it.lengths.median().1);
    html! {
        p.note {
            @if has_sketch || has_median {
                "≈ marks estimates: "
                @if has_sketch { "distinct values by HyperLogLog (standard error 0.8 %)" }
                @if has_sketch && has_median { ", " }
                @if has_median { "medians to within 1 %" }
                ". "
            } @else { "All figures of this table are exact. " }
            "Lengths are in characters."
        }
    }
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
                            td.number { @if report.masked.has_column(column.column.name()) { "masked" } @else { (grouped(column.nulls)) } }
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
    match (profile.distinct.count(), profile.api) {
        (_, Some(Column::Id)) => {
            grouped(values.saturating_sub(seen.repeated_ids.rows - seen.repeated_ids.distinct))
        }
        (_, Some(Column::Input)) => grouped(seen.inputs.keys),
        ((count, true), _) => grouped(count),
        (_, Some(Column::Order)) if seen.orders.falls.count == 0 => grouped(values),
        ((count, false), _) => format!("≈ {}", grouped(count.min(values))),
    }
}

/// The median, with a mark if it is an estimate.
fn median(lengths: &Lengths) -> String {
    match lengths.median() {
        (exact, true) => grouped(exact),
        (about, false) => format!("≈ {}", grouped(about)),
    }
}

/// The text below a chart of lengths. The bars of long lengths are wider steps.
fn axis(lengths: &Lengths, bars: &[LengthBar]) -> Markup {
    let (Some(shortest), Some(longest)) = (&lengths.shortest, &lengths.longest) else {
        return html! {};
    };
    html! {
        div.axis {
            @if shortest.length == longest.length { span { "always " (grouped(longest.length)) } }
            @else {
                span { (grouped(shortest.length)) } " "
                @if !are_equal_steps(bars) { span { "logarithmic" } " " }
                span { (grouped(longest.length)) }
            }
        }
    }
}

fn are_equal_steps(bars: &[LengthBar]) -> bool {
    let width = |bar: &LengthBar| bar.high - bar.low;
    bars.first().map(width) == bars.last().map(width)
}

/// The height of the highest bar, which says what the others are, and the median, whose bar has another color.
fn highest(bars: &[LengthBar], median: &str) -> String {
    let most = bars.iter().map(|bar| bar.rows).max().unwrap_or(0);
    let highest = format!("; the highest bar is {}", counted(most, "row"));
    match bars.len() {
        ..2 => highest,
        _ => format!("; median {median}{highest}"),
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
                    @if report.masked.has_column(name) { "masked" }
                    @else if profile.nulls == 0 { "never null" }
                    @else if values == 0 { "always null" }
                    @else { "null in " (counted(profile.nulls, "row")) " (" (share(profile.nulls, rows)) " of all rows)" }
                }
                @if values > 0 { span.soft { (distinct(report, profile)) " distinct" } }
            }
            div.halves {
                (lengths(report, profile))
                @if let Some(tree) = profile.values.tree() { (few_values(report, &tree.root.few, (name, values))) }
                @match &profile.values {
                    ValueProfile::Text(common) => (common_values(report, common, (name, values), "value")),
                    ValueProfile::Tags(_, common) => (common_values(report, common, (name, values), "label")),
                    ValueProfile::Number(numbers) => {
                        div {
                            (self::numbers(report, numbers, profile))
                            @if profile.api == Some(Column::Order) { (order(report)) }
                        }
                    }
                    ValueProfile::Bool { yes } => {
                        p {
                            "true in " (counted(*yes, "row")) " (" (share(*yes, values)) " of " (counted(values, "value")) "), false in "
                            (counted(values - yes, "row")) " (" (share(values - yes, values)) ")."
                        }
                    }
                    ValueProfile::Timestamp(Some((first, last))) if report.shows_rows => {
                        p { "From " (timestamp_text(*first)) " to " (timestamp_text(*last)) "." }
                    }
                    _ => {}
                }
                @if profile.api == Some(Column::Input) { (conversations(report)) }
            }
            @if let Some(json) = profile.values.tree().filter(|_| values > 0) { (tree::tree(report, json, name)) }
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
            figcaption { "Length in characters" (highest(&bars, &median(lengths))) }
            (histogram((&bars, lengths.median().0), "character", &label))
            (axis(lengths, &bars))
            @if report.shows_rows {
                p.soft { "Shortest: " (extreme(report, shortest)) ". Longest: " (extreme(report, longest)) "." }
            }
        }
    }
}

/// The row with an extreme value, with its id if the page does not show the row.
fn extreme(report: &ExportReport, row: &ExtremeRow) -> Markup {
    let is_shown = report.seen.rows.iter().any(|it| it.number == row.row);
    html! {
        (row_link(report, row.row))
        @if !is_shown && !row.id.is_empty() { " (" code { (Outside(&row.id)) } ")" }
    }
}

/// A row by its number: a link if the page shows it.
fn row_link(report: &ExportReport, number: u64) -> Markup {
    let text = format!("row {}", grouped(number));
    let shown = report.seen.rows.iter().find(|it| it.number == number);
    html! {
        @if let Some(shown) = shown { a href=(format!("#{}", super::rows::anchor(shown))) { (text) } } @else { (text) }
    }
}

/// The values of a column that are few. `values` is the number of values that are not null.
fn few_values(report: &ExportReport, few: &FewValues, (name, values): (&str, u64)) -> Markup {
    let all = few.sorted();
    // Among values that occur once, shares say nothing.
    if !report.shows_rows || all.first().is_none_or(|it| it.count < 2) {
        return html! {};
    }
    let others = values.saturating_sub(all.iter().map(|it| it.count).sum());
    let is_mixed = tree::is_mixed(&all);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("Values of {}", line(name))) {
            table.common {
                thead { tr { th scope="col" { "Value" } th.number scope="col" { "Rows" } th scope="col" { "Share of " (counted(values, "value")) } } }
                tbody {
                    @for it in all {
                        tr {
                            th scope="row" dir="auto" { (tree::few_value(it, is_mixed)) }
                            td.number { (grouped(it.count)) }
                            td.share-cell { (share_bar(it.count, values)) }
                        }
                    }
                    @if others > 0 {
                        tr { th scope="row" { span.null { "arrays and objects" } } td.number { (grouped(others)) } td.share-cell { (share_bar(others, values)) } }
                    }
                }
            }
        }
    }
}

/// The mark of counts that are estimates.
fn mark(values: &CommonValues) -> &'static str {
    if values.is_exact() { "" } else { "≈ " }
}

/// The most common values. `values` is the number of values that are not null.
fn common_values(
    report: &ExportReport,
    common: &CommonValues,
    (name, values): (&str, u64),
    noun: &str,
) -> Markup {
    if common.total() == 0 || !report.shows_rows {
        return html! {};
    }
    let mut top = common.top(MOST_VALUES);
    // Among many values, those that occur once say nothing.
    if common.different() > MOST_VALUES {
        top.retain(|(_, count)| *count > 1);
    }
    if top.is_empty() {
        let most = common.most();
        return html! {
            p.soft {
                "No " (noun) " of at most 256 bytes occurs "
                @if common.is_exact() { "twice." } @else { "in more than " (counted(most, "row")) "." }
            }
        };
    }
    let more = common.different().saturating_sub(top.len()) as u64;
    let about = mark(common);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("Most common {} of {}", plural(2, noun), line(name))) {
            table.common {
                thead { tr { th scope="col" { "Most common " (plural(2, noun)) } th.number scope="col" { "Rows" } th scope="col" { "Share of " (counted(values, "value")) } } }
                tbody {
                    @for (value, count) in &top {
                        tr {
                            th scope="row" dir="auto" { @if value.is_empty() { span.null { "empty text" } } @else { (Spaced(value)) } }
                            td.number { (about) (grouped(*count)) }
                            td.share-cell { (share_bar(*count, values)) }
                        }
                    }
                }
            }
            @if more > 0 && common.is_exact() { p.soft { "and " (counted(more, &format!("other {noun}"))) } }
            @if common.long() > 0 { p.soft { (counted(common.long(), "value")) " of more than 256 bytes " (if common.long() == 1 { "is" } else { "are" }) " not in this list." } }
        }
    }
}

/// The distribution of numbers.
fn numbers(report: &ExportReport, numbers: &Numbers, profile: &ColumnProfile) -> Markup {
    let says = |low: String, high: String| html! { p { "From " (low) " to " (high) "." } };
    let range = match (numbers.integers, numbers.floats) {
        (Some((low, high)), _) => (signed(low), signed(high)),
        (None, Some((low, high))) => (float_text(low), float_text(high)),
        (None, None) => return html! {},
    };
    if !report.shows_rows {
        return html! {};
    }
    // The order of rows only rises.
    if profile.api == Some(Column::Order) {
        return says(range.0, range.1);
    }
    let values = report.rows() - profile.nulls;
    let (bars, about) = (numbers.bars(), if numbers.sampled().is_some() { "≈ " } else { "" });
    let median = numbers.median().map(|it| format!("{about}{it}")).unwrap_or_default();
    let label = format!(
        "Values of {}: from {} to {}, median {median}",
        line(profile.column.name()),
        range.0,
        range.1
    );
    html! {
        @if bars.is_empty() { (says(range.0, range.1)) } @else {
            figure.some {
                figcaption {
                    "Values, in equal steps"
                    @if let Some(sampled) = numbers.sampled() { ", of a sample of " (counted(sampled, "row")) }
                    (highest(&bars, &median))
                }
                (value_bars(&bars, &label))
                div.axis { span { (range.0) } " " span { (range.1) } }
            }
        }
        (few_values(report, &numbers.few, (profile.column.name(), values)))
    }
}

/// An integer with its thousands apart.
fn signed(number: i64) -> String {
    format!("{}{}", if number < 0 { "-" } else { "" }, grouped(number.unsigned_abs()))
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
                figcaption { "Turns of conversations, in " (counted(with, "row")) " (" (share(with, rows)) " of all rows)" (highest(&bars, &median(&turns.turns))) }
                (histogram((&bars, turns.turns.median().0), "turn", &label))
                (axis(&turns.turns, &bars))
            }
            @if report.shows_rows {
                @let total = turns.roles.total();
                @let (roles, about) = (turns.roles.top(MOST_VALUES), mark(&turns.roles));
                @let (more, long) = (turns.roles.different().saturating_sub(roles.len()) as u64, turns.roles.long());
                table.common {
                    thead { tr { th scope="col" { "Role" } th.number scope="col" { "Turns" } th scope="col" { "Share of " (counted(total, "turn")) } } }
                    tbody {
                        @for (role, count) in &roles {
                            tr { th scope="row" dir="auto" { (Spaced(role)) } td.number { (about) (grouped(*count)) } td.share-cell { (share_bar(*count, total)) } }
                        }
                    }
                }
                @if more > 0 && turns.roles.is_exact() { p.soft { "and " (counted(more, "other role")) } }
                @if !turns.roles.is_exact() { p.soft { "There are more roles, and too many to count all of them." } }
                @if long > 0 { p.soft { (counted(long, "turn")) " with a role of more than 256 bytes " (if long == 1 { "is" } else { "are" }) " not in this list." } }
            }
        }
    }
}
