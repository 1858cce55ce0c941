//! `snapshots`: lists the snapshots found in the roots of the jobs. It sends no request to the API.

use crate::{ListedSnapshot, Result, list_snapshots};
use clap::Args;
use indicatif::{HumanBytes, HumanCount};

use super::{
    global::Global,
    lines::Lines,
    storage::Storage,
    table::{CellText, minute},
};

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
        let header = ["job", "snapshot", "dataset", "rows", "bytes", "complete", "unchanged since"];
        super::print(&super::table::render(&header, all.iter().map(row)))
    }
}

fn row(snapshot: &ListedSnapshot) -> Vec<CellText> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    // Eight characters are enough to recognize a dataset.
    let dataset = snapshot.dataset.map(|id| id.to_string().chars().take(8).collect());
    let complete = match (&snapshot.problem, snapshot.complete) {
        (Some(problem), _) => format!("no: it {problem}"),
        (None, true) => "yes".to_owned(),
        (None, false) => "no: interrupted".to_owned(),
    };
    let unchanged = snapshot.unchanged_until.as_ref();
    let unchanged = unchanged.map(|until| format!("as of {}", minute(until)));
    vec![
        CellText::Whole(snapshot.job.clone()),
        CellText::Whole(snapshot.snapshot.to_string()),
        CellText::Whole(or_dash(dataset)),
        CellText::Right(or_dash(snapshot.rows.map(|rows| HumanCount(rows).to_string()))),
        CellText::Right(or_dash(snapshot.bytes.map(|bytes| HumanBytes(bytes).to_string()))),
        CellText::Left(complete),
        CellText::Whole(or_dash(unchanged)),
    ]
}
