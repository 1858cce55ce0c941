//! Tables of the runs and of the snapshots of a job.

use maud::{Markup, html};

use super::{rows_of, status};
use crate::{
    clock,
    report::{
        nights::JobNights,
        page::text::{Outside, bytes, time},
    },
    snapshots::RetentionAction,
    text::{counted, grouped, line},
};

/// Most runs in a table.
const MOST_RUNS: usize = 200;
/// Most snapshots that are listed.
const MOST_SNAPSHOTS: usize = 200;

/// All runs.
pub(super) fn runs(job: &JobNights) -> Markup {
    let runs = job.runs.iter().rev().take(MOST_RUNS);
    html! {
        details {
            summary {
                @if job.runs.len() > MOST_RUNS { "The last " (MOST_RUNS) " runs as a table" } @else { "All runs as a table" }
            }
            div.scroll tabindex="0" role="region" aria-label=(format!("Runs of {}", line(&job.job))) {
                table {
                    thead {
                        tr {
                            th scope="col" { "Started" } th scope="col" { "Result" }
                            th.number scope="col" { "Rows" } th.number scope="col" { "Bytes stored" } th.number scope="col" { "Seconds" }
                            th.number scope="col" { "Requests" } th.number scope="col" { "Retries" } th.number scope="col" { "Deleted" }
                        }
                    }
                    tbody {
                        @for run in runs {
                            tr {
                                th scope="row" { (time(&run.started_at)) }
                                td { (status(run)) }
                                td.number { (grouped(rows_of(run))) }
                                td.number { (bytes(run.bytes)) }
                                td.number { (format!("{:.1}", run.seconds)) }
                                td.number { (grouped(run.requests)) }
                                td.number { (grouped(run.retries)) }
                                td.number { (grouped(run.pruned.len() as u64)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The snapshots that exist.
pub(super) fn snapshots(job: &JobNights) -> Markup {
    let deleted: usize = job.runs.iter().map(|run| run.pruned.len()).sum();
    let more = job.snapshots.len().saturating_sub(MOST_SNAPSHOTS);
    let why = |snapshot: &str| {
        let decision =
            job.retention.iter().find(|it| snapshot.trim_end_matches('/').ends_with(&it.path));
        decision.map(|it| match it.action {
            RetentionAction::Remove => format!("expired: {}", it.why),
            _ => it.why.clone(),
        })
    };
    html! {
        @if !job.snapshots.is_empty() {
            details {
                summary { (counted(job.snapshots.len() as u64, "snapshot")) " kept" }
                div.scroll tabindex="0" role="region" aria-label=(format!("Snapshots of {}", line(&job.job))) {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Taken" } th scope="col" { "Path" } th.number scope="col" { "Version" } th.number scope="col" { "Rows" }
                                th.number scope="col" { "Bytes" } @if !job.retention.is_empty() { th scope="col" { "Retention" } }
                            }
                        }
                        tbody {
                            @for snapshot in job.snapshots.iter().rev().take(MOST_SNAPSHOTS) {
                                tr {
                                    th scope="row" { (time(&clock::text(snapshot.stamp.time()))) }
                                    td { code.copyable { (Outside(&job.below_root(&snapshot.location))) } }
                                    td.number { @if let Some(version) = snapshot.version { (version) } }
                                    td.number { (grouped(snapshot.rows)) }
                                    td.number { (bytes(snapshot.bytes)) }
                                    @if !job.retention.is_empty() { td { (Outside(&why(&snapshot.location).unwrap_or_default())) } }
                                }
                            }
                        }
                    }
                }
                @if more > 0 { p.soft { "and " (counted(more as u64, "older snapshot")) } }
                @if let [.., before, newest] = job.snapshots.as_slice() {
                    p.soft {
                        "What changed between two of them, for example the last two, in the folder of the snapshots: "
                        code.copyable { (concat!(env!("CARGO_PKG_NAME"), " report ")) (Outside(&job.below_root(&before.location))) " " (Outside(&job.below_root(&newest.location))) " -o changes.html" }
                    }
                }
            }
        }
        @if deleted > 0 { p.note { "Retention has deleted " (counted(deleted as u64, "snapshot")) " in these runs." } }
    }
}
