//! `begin`: begins an export that many workers write.

use clap::Args;
use uuid::Uuid;

use super::{
    global::Global, lines::Lines, nesting::NestingArguments, output::OutputArguments,
    progress::Screen, query::FilterArguments, storage::Storage, transform::TransformArguments,
    values,
};
use crate::{
    Error, ExportOptions, Result,
    cluster::{self, ClusterPlan, PlannedRange},
    text::{counted, grouped, plural},
};

/// Begin an export that many workers write: fix its plan and its ranges of pages
#[derive(Debug, Args)]
#[command(after_help = "\
It sends one request. Run part for each range then, anywhere and in any order, and commit at the end.

Examples:
  overmind-export begin ID -o s3://lake/eval/ --ranges 16
  overmind-export part -o s3://lake/eval/ --range 3/16
  overmind-export commit -o s3://lake/eval/")]
pub(super) struct BeginArgs {
    /// Id of the dataset
    #[arg(value_name = "DATASET_ID", value_parser = values::dataset_id)]
    dataset: Uuid,
    /// Number of ranges, at most 99999; they begin where a part begins, so some can have no pages
    #[arg(long, value_name = "N", value_parser = values::positive::<u32>, help_heading = "Rows")]
    ranges: u32,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    nesting: NestingArguments,
    /// Rows to request per page; the API allows at most 100
    #[arg(long, value_name = "N", value_parser = values::positive::<u32>, default_value_t = 100, help_heading = "Rows")]
    page_size: u32,
    #[command(flatten)]
    transform: TransformArguments,
    #[command(flatten)]
    filters: FilterArguments,
    #[command(flatten)]
    storage: Storage,
}

impl BeginArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let (json, dry_run, ranges) = (self.output.json, self.output.dry_run, self.ranges);
        if self.output.encode_threads.is_some() || self.output.temp_dir.is_some() {
            let why =
                "--encode-threads and --temp-dir are options of part and commit, which do the work";
            return Err(Error::Usage(why.to_owned()));
        }
        let config = global.config()?;
        let storage = self.storage.options_with(global, config.as_ref())?;
        let (json_columns, nesting) = self.nesting.clone().options()?;
        let options = ExportOptions { storage, json_columns, nesting, ..self.into() };
        let client = global.client_of(config.as_ref())?;
        let plan = super::block_on(async {
            tokio::select! {
                plan = async {
                    match dry_run {
                        true => cluster::planned(&client, options, ranges).await,
                        false => cluster::begin(&client, options, ranges).await,
                    }
                } => plan,
                error = super::signals::interrupted() => Err(error),
            }
        })?;
        if let Some(note) = note(&plan) {
            screen.say(note);
        }
        match (json, dry_run) {
            (false, _) => super::print(&shown(&plan, dry_run)),
            (true, false) => super::print_json(&plan),
            (true, true) => {
                let mut would = serde_json::json!(plan);
                // The plan that begins has an id of its own.
                would.as_object_mut().map(|would| would.remove("plan"));
                super::print_json(&would)
            }
        }
    }
}

impl From<BeginArgs> for ExportOptions {
    fn from(typed: BeginArgs) -> Self {
        let (columns, drop) = typed.transform.output();
        Self {
            transform: typed.transform.into(),
            query: typed.filters.into(),
            columns,
            drop,
            page_size: typed.page_size,
            ..typed.output.of_dataset(typed.dataset)
        }
    }
}

/// Says how many ranges have no work.
fn note(plan: &ClusterPlan) -> Option<Lines> {
    let (without, ranges) = (plan.without_pages(), plan.ranges().len() as u64);
    if without == 0 {
        return None;
    }
    let verb = if without == 1 { "has" } else { "have" };
    Some(Lines::one(format_args!(
        "note: {} of {} {verb} no pages and no work: a range begins where a part begins, and this export has only {} such \
         {}. Give fewer --ranges, or a smaller --rows-per-file",
        grouped(without),
        counted(ranges, "range"),
        grouped(ranges - without),
        plural(ranges - without, "place"),
    )))
}

fn shown(plan: &ClusterPlan, is_dry: bool) -> Lines {
    let ranges = plan.ranges();
    let id = if is_dry { String::new() } else { format!(" · plan {}", plan.plan) };
    let lines = Lines::one(format_args!(
        "{} on {} in {}{id}",
        counted(plan.count, "row"),
        counted(plan.pages, "page"),
        counted(ranges.len() as u64, "range"),
    ))
    .and(format_args!("  {}", plan.output));
    ranges.iter().fold(lines, |lines, range| lines.and(range_line(range, ranges.len())))
}

/// Describes a range and its pages.
fn range_line(range: &PlannedRange, of: usize) -> String {
    let number = range.range;
    match (range.first_page, range.last_page) {
        (Some(first), Some(last)) => {
            format!("  {number}/{of}: pages {first} to {last} ({})", counted(range.rows, "row"))
        }
        _ => format!("  {number}/{of}: no pages"),
    }
}
