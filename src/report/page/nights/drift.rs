//! What the data did from snapshot to snapshot.

use maud::{Markup, html};

use super::{MomentForm, charts::whole, moments};
use crate::{
    report::{
        SnapshotChange, SnapshotData,
        drift::{self, DriftGroup, DriftLine, DriftTable},
        nights::JobNights,
        page::{
            chart::{Night, night_bars, share_line},
            text::Outside,
        },
    },
    text::{counted, grouped, line},
};

/// A share that moves by less is steady: one point.
const STEADY: f64 = 0.01;
/// Snapshots in a table that is open at first.
const OPEN_ROWS: usize = 12;

/// Returns one of the counts of a change.
type ChangeCount = fn(&SnapshotChange) -> u64;

/// The section of a job.
pub(super) fn section(place: usize, job: &JobNights) -> Markup {
    let (Some(first), Some(last)) = (job.data.first(), job.data.last()) else { return html! {} };
    let form = MomentForm::of(job.data.iter().map(|it| it.taken_at));
    let count = |value: ChangeCount, it: &SnapshotData| it.change.as_ref().map_or(0, value);
    let charts: [(&str, ChangeCount); 3] = [
        ("Rows added", |it| it.added),
        ("Rows removed", |it| it.removed),
        ("Rows changed", |it| it.changed),
    ];
    let counts = charts.iter().flat_map(|(_, value)| job.data.iter().map(|it| count(*value, it)));
    // One scale for the three charts, so that they can be compared.
    let scale = counts.max().unwrap_or(0) as f64;
    let chart = |name: &str, value: ChangeCount| {
        let night = |it: &SnapshotData| {
            let rows = count(value, it);
            let text = format!("{}: {}", form.text(it.taken_at), counted(rows, "row"));
            Night { value: Some(rows as f64), class: "", text }
        };
        let nights: Vec<Night> = job.data.iter().map(night).collect();
        let most = nights.iter().filter_map(|it| it.value).fold(0.0, f64::max);
        html! {
            figure.many {
                figcaption { (name) ", at most " (whole(most)) }
                (night_bars(&nights, name, scale))
                (moments(job.data.len(), &form.text(first.taken_at), &form.text(last.taken_at)))
            }
        }
    };
    html! {
        h3 { "The data of the last " (counted(job.data.len() as u64, "snapshot")) }
        @if job.data.len() > 1 {
            div.halves { @for (name, value) in charts { (chart(name, value)) } }
            p.soft { "These charts have one scale: the largest bar is " (counted(scale as u64, "row")) ". Each snapshot is compared with the one before." }
            (changes(place, job, form))
        }
        @for table in drift::tables(&job.data) { (shares(&job.job, &table, &job.data, form)) }
    }
}

/// The numbers of the charts.
fn changes(place: usize, job: &JobNights, form: MomentForm) -> Markup {
    let newest = job.data.len() - 1;
    let number = |count: Option<u64>| html! { td.number { @if let Some(count) = count { (grouped(count)) } @else { "–" } } };
    html! {
        details open[job.data.len() <= OPEN_ROWS] {
            summary { "Added, removed and changed rows of each snapshot" }
            div.scroll tabindex="0" role="region" aria-label=(format!("Changes of each snapshot of {}", line(&job.job))) {
                table {
                    thead {
                        tr {
                            th scope="col" { "Snapshot" } th.number scope="col" { "Rows" } th.number scope="col" { "Added" }
                            th.number scope="col" { "Removed" } th.number scope="col" { "Changed" }
                        }
                    }
                    tbody {
                        @for (index, it) in job.data.iter().enumerate().rev() {
                            tr {
                                th scope="row" {
                                    @if index == newest && job.last_change.is_some() { a href=(format!("#change-{place}")) { (form.text(it.taken_at)) } }
                                    @else { (form.text(it.taken_at)) }
                                }
                                td.number { (grouped(it.rows)) }
                                (number(it.change.map(|it| it.added)))
                                (number(it.change.map(|it| it.removed)))
                                (number(it.change.map(|it| it.changed)))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Whether the types of a column stay as they are. Then a table says nothing that a line does not.
fn is_steady(table: &DriftTable) -> bool {
    let steady = |line: &DriftLine| {
        let shares = || line.shares.iter().copied();
        shares().fold(0.0, f64::max) - shares().fold(1.0, f64::min) < STEADY
    };
    matches!(table.group, DriftGroup::Types(_))
        && table.others == 0
        && table.lines.iter().all(steady)
}

/// The shares of the values of a group.
fn shares(job: &str, table: &DriftTable, data: &[SnapshotData], form: MomentForm) -> Markup {
    let (name, percent) = (table.group.name(), |share: f64| format!("{:.1} %", share * 100.0));
    let (Some(first), Some(last)) = (data.first(), data.last()) else { return html! {} };
    let largest = |line: &DriftLine| {
        let jump = line.jumps.iter().copied().max_by(|a, b| a.size().total_cmp(&b.size()))?;
        let at = data.get(jump.place)?.taken_at;
        let sign = if jump.after > jump.before { '+' } else { '−' };
        Some(format!("{sign}{:.1} points on {}", jump.size() * 100.0, form.text(at)))
    };
    let places = |line: &DriftLine| line.jumps.iter().map(|jump| jump.place).collect::<Vec<_>>();
    let has_jumps = table.lines.iter().any(|line| !line.jumps.is_empty());
    if is_steady(table) {
        let all = table
            .lines
            .iter()
            .filter_map(|line| Some((&line.value, percent(*line.shares.last()?))));
        let all: Vec<String> = all.map(|(value, share)| format!("{value} {share}")).collect();
        return html! { p.note { (Outside(&name)) ": " (Outside(&all.join(", "))) " of all rows, the same in each snapshot to within a point." } };
    }
    html! {
        @if !table.lines.is_empty() {
            div.scroll tabindex="0" role="region" aria-label=(format!("{name} of {}", line(job))) {
                table.drift {
                    thead {
                        tr {
                            th scope="col" { (Outside(&name)) } th scope="col" { "Share of all rows, in each snapshot" }
                            th.number scope="col" { (form.text(first.taken_at)) } th.number scope="col" { (form.text(last.taken_at)) }
                            @if has_jumps { th scope="col" { "Largest jump" } }
                        }
                    }
                    tbody {
                        @for line in &table.lines {
                            tr {
                                th scope="row" dir="auto" { (Outside(&line.value)) }
                                td { (share_line(&line.shares, &places(line))) }
                                td.number { (percent(line.shares.first().copied().unwrap_or_default())) }
                                td.number { (percent(line.shares.last().copied().unwrap_or_default())) }
                                @if has_jumps { td { (largest(line).unwrap_or_default()) } }
                            }
                        }
                    }
                }
            }
            @if table.others > 0 {
                p.soft {
                    "and " (counted(table.others as u64, "other value"))
                    @if table.others_jumped > 0 { ", of which " (grouped(table.others_jumped as u64)) " jumped, too" }
                }
            }
        }
    }
}
