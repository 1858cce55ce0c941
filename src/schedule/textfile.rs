//! The last runs of jobs as a file for the textfile collector of Prometheus' node_exporter. It reads the Prometheus
//! text format, not OpenMetrics. The file is for runs that a timer starts: they have no server.

use std::fmt::{Display, Write};

use chrono::{DateTime, Utc};

use crate::snapshots::{JobResult, Status};

/// The name and the help of a gauge.
type Gauge = (&'static str, &'static str);

const LAST_RUN: Gauge = ("last_run_timestamp_seconds", "When the last run ended, with any result.");
const LAST_SUCCESS: Gauge = (
    "last_success_timestamp_seconds",
    "End of the last run that stored or found no change; 0 if there was none.",
);
const DURATION: Gauge = ("run_duration_seconds", "Duration of the last run.");
const EXIT_CODE: Gauge = ("last_run_exit_code", "Exit code of the last run; 0 if it succeeded.");
const ROWS: Gauge = ("last_run_rows", "Rows that the last run stored.");
const BYTES: Gauge = ("last_run_bytes", "Bytes that the last run stored, after compression.");
const RESCUED: Gauge =
    ("rescued_rows", "Rows of the newest snapshot with values that do not fit the pinned schema.");

/// Returns the metrics of these jobs in the Prometheus text format. Each job comes with its runs, oldest first.
///
/// A job that never succeeded has 0 as the time of its last success. A job without runs has no other metric.
pub fn textfile(jobs: &[(String, Vec<JobResult>)]) -> String {
    let mut text = String::new();
    let last = || jobs.iter().filter_map(|(job, runs)| Some((job.as_str(), runs.last()?)));
    let success = |runs: &[JobResult]| {
        let last = runs.iter().rfind(|run| run.status != Status::Failed);
        last.map_or(0, seconds)
    };
    put(&mut text, LAST_RUN, last().map(|(job, run)| (job, seconds(run))));
    let successes = jobs.iter().map(|(job, runs)| (job.as_str(), success(runs)));
    put(&mut text, LAST_SUCCESS, successes);
    put(&mut text, DURATION, last().map(|(job, run)| (job, run.seconds)));
    put(&mut text, EXIT_CODE, last().map(|(job, run)| (job, run.exit_code)));
    put(&mut text, ROWS, last().map(|(job, run)| (job, run.rows)));
    put(&mut text, BYTES, last().map(|(job, run)| (job, run.bytes)));
    let good = |(job, runs): &'_ (String, Vec<JobResult>)| {
        let run = runs.iter().rfind(|run| run.status != Status::Failed)?;
        Some((job.clone(), run.newest_rescued_rows()))
    };
    let rescued: Vec<_> = jobs.iter().filter_map(good).collect();
    put(&mut text, RESCUED, rescued.iter().map(|(job, rows)| (job.as_str(), *rows)));
    text
}

/// Returns the end of a run in seconds since 1970.
fn seconds(run: &JobResult) -> i64 {
    run.finished_at.parse::<DateTime<Utc>>().map_or(0, |time| time.timestamp())
}

/// Adds a gauge with a value for each job. The name of a job needs no escapes in a label.
fn put<'a>(
    text: &mut String,
    (name, help): Gauge,
    values: impl Iterator<Item = (&'a str, impl Display)>,
) {
    let name = format!("overmind_export_{name}");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (job, value) in values {
        let _ = writeln!(text, "{name}{{job=\"{job}\"}} {value}");
    }
}
