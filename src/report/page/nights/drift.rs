//! What the data did from snapshot to snapshot.

use std::{cmp::Reverse, collections::BTreeSet, ops::Range};

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use uuid::Uuid;

use super::{
    MomentForm,
    charts::{TimeAxis, whole},
};
use crate::{
    report::{
        SnapshotChange, SnapshotData,
        drift::{self, DriftLine, DriftTable},
        nights::{JobNights, NightsChange},
        page::{
            changes,
            chart::{Night, share_line},
            text::{Outside, share},
        },
        shares::DriftGroup,
    },
    text::{counted, grouped, line},
};

/// A share that moves by less is steady: one point.
const STEADY: f64 = 0.01;
/// Snapshots in the table that is open at first.
const OPEN_ROWS: usize = 12;

/// Returns one of the counts of a change.
type ChangeCount = fn(&SnapshotChange) -> u64;

/// The section of a job.
pub(super) fn section(place: usize, job: &JobNights) -> Markup {
    if job.data.is_empty() {
        return html! {};
    }
    let taken: Vec<DateTime<Utc>> = job.data.iter().map(|it| it.taken_at).collect();
    let (form, axis) = (MomentForm::of(taken.iter().copied()), TimeAxis::of(&taken));
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
        let night = |(bar, it): (usize, &SnapshotData)| {
            let rows = count(value, it);
            let text = format!("{}: {}", form.text(it.taken_at), counted(rows, "row"));
            Night { slot: axis.place(bar), value: Some(rows as f64), class: "", text }
        };
        let nights: Vec<Night> = job.data.iter().enumerate().map(night).collect();
        let most = nights.iter().filter_map(|it| it.value).fold(0.0, f64::max);
        axis.figure(&nights, name, &format!(", highest {}", whole(most)), scale)
    };
    html! {
        h3 { "The data of the last " (counted(job.data.len() as u64, "snapshot")) }
        (other_datasets(job))
        @if job.data.len() > 1 {
            div.halves { @for (name, value) in charts { (chart(name, value)) } }
            p.soft { "These charts have one scale: the largest bar is " (counted(scale as u64, "row")) ". Each snapshot is compared with the one before." }
            (changes(place, job, form))
        }
        (all_shares(job, form))
        (hidden(job))
    }
}

/// Says which dataset it is, if the job has snapshots of other datasets, whose rows were not read.
pub(super) fn other_datasets(job: &JobNights) -> Markup {
    let (Some(newest), others @ 1..) = (job.snapshots.last(), job.other_datasets()) else {
        return html! {};
    };
    html! {
        p.note {
            "Only snapshots of dataset " (dataset_name(job, newest.dataset)) " were read, which is that of the newest snapshot. The rows of "
            (counted(others, "other dataset")) " of this job are not on this page."
        }
    }
}

/// The name and the id of a dataset.
pub(super) fn dataset_name(job: &JobNights, dataset: Uuid) -> Markup {
    let results = job.runs.iter().rev().flat_map(|run| &run.snapshots);
    let name = results.filter(|it| it.dataset == dataset).find_map(|it| it.name.as_deref());
    html! { @if let Some(name) = name { (Outside(name)) " " } code { (dataset) } }
}

/// The values that have no shares in some snapshots: masked ones, and columns that are not in all snapshots.
fn hidden(job: &JobNights) -> Markup {
    let shared = || job.data.iter().map(|it| &it.shared);
    let masked: BTreeSet<&str> =
        shared().flat_map(|it| it.masked.paths()).map(String::as_str).collect();
    let columns: BTreeSet<&String> = shared().flat_map(|it| &it.columns).collect();
    let some = columns.into_iter().filter(|name| !shared().all(|it| it.columns.contains(*name)));
    let (masked, some) = (Vec::from_iter(masked), Vec::from_iter(some.map(String::as_str)));
    html! {
        @if !masked.is_empty() {
            p.note { "Masked in at least one of these snapshots: " (Outside(&masked.join(", "))) ". Masked values have no shares." }
        }
        @if !some.is_empty() {
            p.note { "Not in all of these snapshots: " (Outside(&some.join(", "))) ". Without the column, there are no shares." }
        }
    }
}

/// What changed between two snapshots, below a title.
pub(super) fn change(job: &JobNights, change: &NightsChange, anchor: &str, title: &str) -> Markup {
    let form = MomentForm::of(job.data.iter().map(|it| it.taken_at));
    let (Some(from), Some(to)) = (job.data.get(change.from), job.data.get(change.to)) else {
        return html! {};
    };
    html! {
        (changes::part(&change.seen, anchor, &format!("{title}: {} to {}", form.text(from.taken_at), form.text(to.taken_at))))
        (command(job, from, to))
    }
}

/// The command that shows all rows that differ between two snapshots.
pub(super) fn command(job: &JobNights, from: &SnapshotData, to: &SnapshotData) -> Markup {
    let (from, to) = (job.below_root(&from.location), job.below_root(&to.location));
    html! {
        p.soft {
            "This comparison alone, in the folder of the snapshots: "
            code.copyable { (concat!(env!("CARGO_PKG_NAME"), " report ")) (Outside(&from)) " " (Outside(&to)) " -o changes.html" }
        }
    }
}

/// The numbers of the charts, the newest snapshots first.
fn changes(place: usize, job: &JobNights, form: MomentForm) -> Markup {
    let open = job.data.len().saturating_sub(OPEN_ROWS);
    html! {
        (changes_table(place, job, form, open..job.data.len(), "Changes of each snapshot"))
        @if open > 0 {
            details {
                summary { (counted(open as u64, "earlier snapshot")) }
                (changes_table(place, job, form, 0..open, "Changes of earlier snapshots"))
            }
        }
    }
}

fn changes_table(
    place: usize,
    job: &JobNights,
    form: MomentForm,
    shown: Range<usize>,
    label: &str,
) -> Markup {
    let number = |count: Option<u64>| html! { td.number { @if let Some(count) = count { (grouped(count)) } @else { "–" } } };
    let has_respelled = |it: &SnapshotChange| it.respelled.is_some_and(|rows| rows > 0);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("{label} of {}", line(&job.job))) {
            table {
                thead {
                    tr {
                        th scope="col" { "Snapshot" } th.number scope="col" { "Rows" } th.number scope="col" { "Added" }
                        th.number scope="col" { "Removed" } th.number scope="col" { "Changed" } th scope="col" { "Changed columns, with their rows" }
                    }
                }
                tbody {
                    @for (index, it) in job.data.iter().enumerate().rev().filter(|(index, _)| shown.contains(index)) {
                        tr {
                            th scope="row" {
                                @if job.last_change.as_ref().is_some_and(|it| it.to == index) { a href=(format!("#change-{place}")) { (form.text(it.taken_at)) } }
                                @else { (form.text(it.taken_at)) }
                            }
                            td.number { (grouped(it.rows)) }
                            (number(it.change.as_ref().map(|it| it.added)))
                            (number(it.change.as_ref().map(|it| it.removed)))
                            (number(it.change.as_ref().map(|it| it.changed)))
                            td {
                                @if let Some(change) = &it.change {
                                    (columns(change))
                                    @if has_respelled(change) { span.soft { "; in " (counted(change.respelled.unwrap_or(0), "row")) " only the spelling" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The columns that differ, those with the most rows first: `tags 649, input 3`.
pub(super) fn columns(change: &SnapshotChange) -> String {
    let mut columns: Vec<_> = change.columns.iter().collect();
    columns.sort_by_key(|(column, rows)| (Reverse(**rows), **column));
    let texts = columns.iter().map(|(column, rows)| format!("{column} {}", grouped(**rows)));
    texts.collect::<Vec<_>>().join(", ")
}

/// The shares of all groups. Types that stay as they are have one line together, and keys only if their types jumped.
fn all_shares(job: &JobNights, form: MomentForm) -> Markup {
    let tables = drift::tables(&job.data);
    let (mut shown, mut steady, mut keys) = (Vec::new(), Vec::new(), 0);
    for table in &tables {
        let has_jumps = table.lines.iter().any(|line| !line.jumps.is_empty());
        match &table.group {
            DriftGroup::Types(place) if !place.keys.is_empty() && !has_jumps => keys += 1,
            DriftGroup::Types(place) if place.keys.is_empty() && is_steady(table) => {
                steady.push(place.name());
            }
            _ => shown.push(table),
        }
    }
    html! {
        @for table in shown { (shares(&job.job, table, &job.data, form)) }
        @if job.data.len() > 1 && (!steady.is_empty() || keys > 0) {
            p.note {
                "No type of JSON value moved much"
                @if !steady.is_empty() { " in " (Outside(&steady.join(", "))) }
                @if keys > 0 { @if !steady.is_empty() { ", and" } " in " (counted(keys, "key")) " of JSON columns" }
                "."
            }
        }
    }
}

/// A share in percent.
pub(super) fn share_text(of: f64) -> String {
    // As exact as shares of rows, which it is one of.
    const WHOLE: u64 = 1_000_000_000;
    share((of * WHOLE as f64).round() as u64, WHOLE)
}

/// Whether the types of a column stay as they are. Then a table says nothing that a line does not.
fn is_steady(table: &DriftTable) -> bool {
    let steady = |line: &DriftLine| {
        let known = || line.shares.iter().zip(&table.known).filter(|(_, known)| **known);
        let shares = || known().map(|(share, _)| *share);
        shares().fold(0.0, f64::max) - shares().fold(1.0, f64::min) < STEADY
    };
    table.others == 0 && table.lines.iter().all(steady)
}

/// The shares of the values of a group.
fn shares(job: &str, table: &DriftTable, data: &[SnapshotData], form: MomentForm) -> Markup {
    let name = table.group.name();
    let percent = |share: Option<&f64>, known: Option<&bool>| match (share, known) {
        (Some(share), Some(true)) if table.is_estimate => format!("≈ {}", share_text(*share)),
        (Some(share), Some(true)) => share_text(*share),
        _ => "–".to_owned(),
    };
    let (Some(first), Some(last)) = (data.first(), data.last()) else { return html! {} };
    let largest = |line: &DriftLine| {
        let jump = line.jumps.iter().copied().max_by(|a, b| a.size().total_cmp(&b.size()))?;
        let at = data.get(jump.place)?.taken_at;
        let sign = if jump.after > jump.before { '+' } else { '−' };
        let about = if jump.is_estimate { "≈ " } else { "" };
        Some(format!("{about}{sign}{:.1} points on {}", jump.size() * 100.0, form.text(at)))
    };
    let places = |line: &DriftLine| line.jumps.iter().map(|jump| jump.place).collect::<Vec<_>>();
    let has_jumps = table.lines.iter().any(|line| !line.jumps.is_empty());
    html! {
        @if !table.lines.is_empty() {
            div.scroll tabindex="0" role="region" aria-label=(format!("{} of {}", line(&name), line(job))) {
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
                                td.number { (percent(line.shares.first(), table.known.first())) }
                                td.number { (percent(line.shares.last(), table.known.last())) }
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
