//! `status`: prints which ranges of an export by many workers are finished. It sends no request to the API.

use clap::Args;
use indicatif::HumanBytes;

use super::{
    global::Global,
    lines::Lines,
    planned::PlannedArguments,
    table::{Fit, TableColumn, render},
};
use crate::{
    Result,
    cluster::{self, ClusterStatus, RangeState, RangeStatus},
    text::{counted, grouped},
};

const COLUMNS: [TableColumn; 7] = [
    TableColumn::new("range", Fit::Whole),
    TableColumn::new("pages", Fit::Whole),
    TableColumn::new("rows", Fit::Number).left_out(3),
    TableColumn::new("state", Fit::Whole),
    TableColumn::new("files", Fit::Number).left_out(2),
    TableColumn::new("bytes", Fit::Number).left_out(1),
    TableColumn::new("problem", Fit::Wrap).left_out(4),
];

/// Print which ranges of an export that was begun are finished
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overmind-export status -o s3://lake/eval/
  overmind-export status -o s3://lake/eval/ --json | jq '.states[] | select(.state == \"missing\").range'")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    planned: PlannedArguments,
    /// Print the state as one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl StatusArgs {
    pub(super) fn run(&self, global: &Global) -> Result<()> {
        let status = cluster::status(&self.planned.output_alone(global)?)?;
        if self.json {
            return super::print_json(&status);
        }
        let mut lines = head(&status);
        let of = status.states.len();
        if status.commit_begun {
            lines = lines.and(
                "a commit has begun to publish: if it is no longer active, `overmind-export commit` continues it",
            );
        }
        lines.extend(render(&COLUMNS, status.states.iter().map(|state| row(state, of))));
        super::print(&lines)
    }
}

fn head(status: &ClusterStatus) -> Lines {
    let finished = grouped(status.finished);
    let ranges = counted(status.with_pages, "range");
    let without = status.states.len() as u64 - status.with_pages;
    let without = match without {
        0 => String::new(),
        without => format!(" · {} without pages", counted(without, "range")),
    };
    Lines::one(format_args!(
        "{finished} of {ranges} finished{without} · {} · plan {}",
        counted(status.plan.count, "row"),
        status.plan.plan
    ))
}

fn row(status: &RangeStatus, of: usize) -> Vec<String> {
    let range = &status.range;
    let pages = match (range.first_page, range.last_page) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "-".to_owned(),
    };
    let state = match status.state {
        RangeState::Done => "done",
        RangeState::Missing => "missing",
        RangeState::Unusable => "unusable",
        RangeState::Empty => "no pages",
    };
    let if_done = |text: String| if status.files > 0 { text } else { "-".to_owned() };
    vec![
        format!("{}/{of}", range.range),
        pages,
        grouped(range.rows),
        state.to_owned(),
        if_done(grouped(status.files)),
        if_done(HumanBytes(status.bytes).to_string()),
        status.problem.clone().unwrap_or_default(),
    ]
}
