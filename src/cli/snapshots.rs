//! `snapshots`: lists the snapshots found in the roots of the jobs. It sends no request to the API.

use crate::{ListedSnapshot, Result, list_snapshots, text::grouped};
use clap::Args;
use indicatif::HumanBytes;

use super::{
    global::Global,
    lines::Lines,
    storage::Storage,
    table::{Fit, TableColumn, minute, render},
};

const COLUMNS: [TableColumn; 7] = [
    TableColumn::new("job", Fit::Whole),
    TableColumn::new("snapshot", Fit::Whole),
    TableColumn::new("dataset", Fit::Whole).left_out(3),
    TableColumn::new("rows", Fit::Number).left_out(4),
    TableColumn::new("bytes", Fit::Number).left_out(1),
    TableColumn::new("complete", Fit::Wrap),
    TableColumn::new("unchanged as of", Fit::Whole).left_out(2),
];

/// List the existing snapshots
#[derive(Debug, Args)]
pub(super) struct SnapshotsArgs {
    /// Names of jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: Storage,
}

impl SnapshotsArgs {
    pub(super) fn run(&self, global: &Global) -> Result<()> {
        let config = global.required_config()?;
        let storage = self.storage.options_with(global, Some(&config))?;
        let mut all = Vec::new();
        for job in super::snapshot::jobs_of(&config, &self.jobs)? {
            all.extend(list_snapshots(&job, &storage)?);
        }
        if self.json {
            return all.iter().try_for_each(super::print_json);
        }
        if all.is_empty() {
            return super::print(&Lines::one("no snapshots"));
        }
        super::print(&render(&COLUMNS, all.iter().map(row)))
    }
}

fn row(snapshot: &ListedSnapshot) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    // Eight characters are enough to recognize a dataset.
    let dataset = snapshot.dataset.map(|id| id.to_string().chars().take(8).collect());
    let complete = match (&snapshot.problem, snapshot.complete) {
        (Some(problem), _) => format!("no: it {problem}"),
        (None, true) => "yes".to_owned(),
        (None, false) => "no: interrupted".to_owned(),
    };
    vec![
        snapshot.job.clone(),
        snapshot.snapshot.to_string(),
        or_dash(dataset),
        or_dash(snapshot.rows.map(grouped)),
        or_dash(snapshot.bytes.map(|bytes| HumanBytes(bytes).to_string())),
        complete,
        or_dash(snapshot.unchanged_until.as_deref().map(minute)),
    ]
}
