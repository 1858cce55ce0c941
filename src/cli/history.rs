//! `history`: prints the runs in the histories of the jobs. It sends no request to the API.

use std::time::Duration;

use crate::{
    Error, JobResult, Result, SnapshotResult, Status,
    chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc},
    error::human,
    snapshots::{RunHistory, unreadable_text},
    text::{counted, grouped},
};
use clap::Args;
use indicatif::HumanBytes;

use super::{
    flags::with_flags,
    global::Global,
    lines::{self, Lines},
    progress::Screen,
    storage::Storage,
    table::{Fit, TableColumn, minute, render},
};

const COLUMNS: [TableColumn; 7] = [
    TableColumn::new("job", Fit::Whole),
    TableColumn::new("started", Fit::Whole),
    TableColumn::new("result", Fit::Whole),
    TableColumn::new("rows", Fit::Number).left_out(3),
    TableColumn::new("bytes", Fit::Number).left_out(1),
    TableColumn::new("time", Fit::Number).left_out(2),
    TableColumn::new("details", Fit::Wrap),
];

/// Print the past runs of the jobs, oldest first
#[derive(Debug, Args)]
#[command(after_help = "\
Times are UTC. A date means the whole day.

Examples:
  overmind-export history triage-eval --since 2026-11-01
  overmind-export history --json | jq 'select(.status == \"failed\")'")]
pub(super) struct HistoryArgs {
    /// Names of jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Only runs that started on this day or later, such as 2026-11-23; also a time, such as
    /// 2026-11-23T02:00:00Z
    #[arg(long, value_name = "DATE", value_parser = span)]
    since: Option<TimeSpan>,
    /// Only runs that started on this day or earlier
    #[arg(long, value_name = "DATE", value_parser = span)]
    until: Option<TimeSpan>,
    /// Print one JSON object per line instead of a table: the lines of history.jsonl
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: Storage,
}

/// The day or the second that a person typed.
#[derive(Debug, Clone, Copy)]
struct TimeSpan {
    begin: DateTime<Utc>,
    /// The first moment after it.
    end: DateTime<Utc>,
}

impl HistoryArgs {
    pub(super) fn run(&self, global: &Global, screen: &Screen) -> Result<()> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since.begin >= until.end
        {
            return Err(Error::Usage("--since is later than --until".to_owned()));
        }
        let config = global.required_config()?;
        let storage = self.storage.options_with(global, Some(&config))?;
        let mut runs = Vec::new();
        for job in super::snapshot::jobs_of(&config, &self.jobs)? {
            let history = RunHistory::of_job(&job, &storage)?;
            if let Some(text) = unreadable_text(history.unreadable) {
                screen.say(Lines::one(format_args!("{}: {text}", job.name)));
            }
            runs.extend(history.runs.into_iter().filter(|run| self.wants(run)));
        }
        runs.sort_by_key(started);
        if self.json {
            return runs.iter().try_for_each(super::print_json);
        }
        if runs.is_empty() {
            return super::print(&Lines::one("no runs"));
        }
        super::print(&render(&COLUMNS, runs.iter().map(row)))
    }

    fn wants(&self, run: &JobResult) -> bool {
        let started = started(run);
        let is_after = |since: TimeSpan| started.is_some_and(|time| time >= since.begin);
        let is_before = |until: TimeSpan| started.is_some_and(|time| time < until.end);
        self.since.is_none_or(is_after) && self.until.is_none_or(is_before)
    }
}

fn started(run: &JobResult) -> Option<DateTime<Utc>> {
    run.started_at.parse().ok()
}

/// Parses a date or a time.
fn span(text: &str) -> std::result::Result<TimeSpan, String> {
    let day = |date: NaiveDate| {
        let end = date.checked_add_days(Days::new(1))?;
        let [begin, end] = [date, end].map(|date| date.and_time(NaiveTime::MIN).and_utc());
        Some(TimeSpan { begin, end })
    };
    let second = |begin: DateTime<Utc>| {
        let end = begin.checked_add_signed(TimeDelta::seconds(1))?;
        Some(TimeSpan { begin, end })
    };
    let date = text.parse().ok().and_then(day);
    date.or_else(|| text.parse().ok().and_then(second)).ok_or_else(|| {
        "give a date, such as 2026-11-23, or a time, such as 2026-11-23T02:00:00Z".to_owned()
    })
}

fn row(run: &JobResult) -> Vec<String> {
    let result = match run.status {
        Status::Stored => "stored",
        Status::Unchanged => "unchanged",
        Status::Failed if run.was_interrupted() => "interrupted",
        Status::Failed => "failed",
    };
    let if_stored = |text: String| if run.bytes > 0 { text } else { "-".to_owned() };
    vec![
        run.job.clone(),
        minute(&run.started_at),
        result.to_owned(),
        if_stored(grouped(run.rows)),
        if_stored(HumanBytes(run.bytes).to_string()),
        human(Duration::try_from_secs_f64(run.seconds).unwrap_or_default()),
        details(run),
    ]
}

/// Returns what the run did, or why it failed.
fn details(run: &JobResult) -> String {
    if let Some(failure) = run.failure() {
        let text = format!("exit {}: {}", failure.exit_code, lines::one_line(failure));
        return with_flags(&text).into_owned();
    }
    let stored = |it: &&SnapshotResult| it.status == Status::Stored;
    let stored: Vec<_> = run.snapshots.iter().filter(stored).collect();
    let mut text = match (stored.as_slice(), run.snapshots.as_slice()) {
        ([one], _) => {
            format!("snapshot {}", one.snapshot.map(|it| it.to_string()).unwrap_or_default())
        }
        ([], [one]) => format!("same {}", one.unchanged_by.as_deref().unwrap_or("data")),
        ([], all) => format!("{} unchanged", counted(all.len() as u64, "dataset")),
        (stored, _) => counted(stored.len() as u64, "snapshot"),
    };
    if !run.pruned.is_empty() {
        text += &format!("; removed {}", grouped(run.pruned.len() as u64));
    }
    text
}
