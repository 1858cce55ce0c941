//! `export`: writes a dataset to a file, a directory of parts, or standard output.

use std::time::Duration;

use crate::{
    Client, DryRun, Export, ExportOptions, ExportPlan, PageRange, Result, Summary, TransformRecord,
    WrittenSplit,
    error::human,
    text::{counted, grouped, plural},
};
use clap::Args;
use uuid::Uuid;

use super::{
    flags::with_flags,
    global::Global,
    lines::Lines,
    missing::missing_values,
    nesting::NestingArguments,
    output::{self, OutputArguments},
    progress::Screen,
    query::FilterArguments,
    storage::Storage,
    transform::TransformArguments,
    values,
};

/// Export a dataset to a file, a directory of parts, or standard output
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overmind-export export ID -o rows.parquet
  overmind-export export ID -o today/ --rows-per-file 100000
  overmind-export export ID -o s3://bucket/datasets/today/
  overmind-export export ID -o - | jq -r .persona | sort | uniq -c")]
pub(super) struct ExportArgs {
    /// Id of the dataset
    #[arg(value_name = "DATASET_ID", value_parser = values::dataset_id)]
    dataset: Uuid,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    nesting: NestingArguments,
    /// Rows to request per page; the API allows at most 100
    #[arg(long, value_name = "N", value_parser = values::positive::<u32>, default_value_t = 100, help_heading = "Rows")]
    page_size: u32,
    /// Export only these pages, such as 3-7, 3- or 3
    #[arg(long, value_name = "A-B", value_parser = values::value::<PageRange>, default_value_t = PageRange::ALL, hide_default_value = true, help_heading = "Rows")]
    pages: PageRange,
    /// Read only the first N rows
    #[arg(long, value_name = "N", value_parser = values::positive::<u64>, help_heading = "Rows")]
    limit: Option<u64>,
    /// Read the whole dataset at most N times: it is read again if it changed during the export
    #[arg(long, value_name = "N", value_parser = values::positive::<u32>, default_value_t = 3, help_heading = "Rows")]
    max_passes: u32,
    /// Former form of --max-passes: the number of passes after the first
    #[arg(long, value_name = "N", value_parser = values::whole::<u32>, hide = true, conflicts_with = "max_passes")]
    sweeps: Option<u32>,
    /// How many bytes of pages to prefetch for the encoder
    #[arg(long, value_name = "BYTES", default_value = "8MiB", value_parser = values::bytes, help_heading = "Resources")]
    prefetch_bytes: usize,
    #[command(flatten)]
    transform: TransformArguments,
    #[command(flatten)]
    filters: FilterArguments,
    #[command(flatten)]
    storage: Storage,
}

impl ExportArgs {
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<()> {
        let (json, dry_run) = (self.output.json, self.output.dry_run);
        let config = global.config()?;
        let storage = self.storage.options_with(global, config.as_ref())?;
        let (json_columns, nesting) = self.nesting.clone().options()?;
        let options = ExportOptions { storage, json_columns, nesting, ..self.into() };
        let plan = ExportPlan::new(options)?;
        output::require_target(plan.target(), json, dry_run)?;
        let client = global.client_of(config.as_ref())?;
        if dry_run {
            return super::block_on(async {
                let would = Export::new(client, plan).dry_run().await?;
                if json {
                    super::print_json(&would)
                } else {
                    let lines = Lines::one(announce(&would));
                    super::print(&planned(lines, would.transform.as_ref()))
                }
            });
        }
        let summary = super::block_on(run(client, plan, screen))?;
        if json {
            super::print_json(&summary)?;
        }
        Ok(())
    }
}

/// Runs a plan, shows its progress, stops it on a signal, and prints a summary.
pub(super) async fn run(client: Client, plan: ExportPlan, screen: &Screen) -> Result<Summary> {
    let job = Export::new(client.clone(), plan);
    let shown = screen.show(client, job.progress());
    let result = job.run_until(super::signals::interrupted()).await;
    shown.end();
    let summary = result?;
    screen.say(report(&summary));
    Ok(summary)
}

impl From<ExportArgs> for ExportOptions {
    fn from(typed: ExportArgs) -> Self {
        let (columns, drop) = typed.transform.output();
        Self {
            transform: typed.transform.into(),
            query: typed.filters.into(),
            columns,
            drop,
            page_size: typed.page_size,
            pages: typed.pages,
            limit: typed.limit,
            max_passes: typed.sweeps.map_or(typed.max_passes, |more| more.saturating_add(1)),
            prefetch_bytes: typed.prefetch_bytes,
            ..typed.output.of_dataset(typed.dataset)
        }
    }
}

pub(super) fn report(summary: &Summary) -> Lines {
    use crate::Completeness;
    let seconds = summary.seconds.max(0.001);
    let claim = match summary.completeness {
        Completeness::Proven if summary.transform.is_some() => "complete: every row read once",
        Completeness::Proven => "complete: every row once",
        Completeness::Partial => "a part of the dataset",
    };
    // Rows of an interrupted run were not fetched now.
    let fetched = summary.rows_read.saturating_sub(summary.kept_rows);
    let rows = written_rows(summary.rows, summary.rows_read, summary.transform.as_ref());
    // A commit fetches no rows.
    let rate = match fetched {
        0 if summary.rows_read > 0 => String::new(),
        _ => format!(" · {} rows/s", grouped((fetched as f64 / seconds) as u64)),
    };
    let lines = Lines::one(format_args!(
        "{rows} in {} ({}) · {}{rate} · {claim}",
        counted(summary.files, "file"),
        indicatif::HumanBytes(summary.bytes),
        human(Duration::from_secs_f64(seconds)),
    ))
    .and(format_args!("  {}", summary.output));
    let lines = split_rows(lines, &summary.splits);
    let lines = replaced_rows(lines, &summary.replaced_rows, summary.transform.as_ref());
    let (rows, read) = (summary.rows, summary.rows_read);
    let lines = missing_rows(lines, summary.duplicate_rows, rows, read);
    let lines = empty_card(lines, summary.has_empty_card);
    let named = |text: &str| with_flags(text).into_owned();
    let lines = missing_values(lines, &summary.missing, ("no row", rows), named);
    let lines = failed_rows(lines, summary.failed_rows, summary.transform.as_ref());
    rescued_rows(lines, summary.rescued_rows, &summary.rescued_paths)
}

/// Adds a line about values that do not fit the types of their columns, if there are any.
pub(super) fn rescued_rows(lines: Lines, rescued: u64, paths: &[String]) -> Lines {
    match rescued {
        0 => lines,
        rescued => lines.and(format_args!(
            "  values that do not fit the schema are in the column _rescued: {}, {}",
            counted(rescued, "row"),
            super::snapshot::first_paths(paths)
        )),
    }
}

/// Returns the number of rows read and written. Without a transformation, these are the same.
pub(super) fn written_rows(rows: u64, read: u64, transform: Option<&TransformRecord>) -> String {
    match transform {
        None => counted(rows, "row"),
        Some(TransformRecord { map: Some(_), .. }) => {
            format!("{} from {} read,", counted(rows, "line"), counted(read, "row"))
        }
        Some(_) => format!("{} of {} read,", counted(rows, "row"), grouped(read)),
    }
}

/// Adds a line about the rows of the splits, if there are any, and a note about those without rows.
pub(super) fn split_rows(lines: Lines, splits: &[WrittenSplit]) -> Lines {
    let rows = splits.iter().map(|it| format!("{} {}", it.name, grouped(it.rows)));
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return lines;
    }
    let lines = lines.and(format_args!("  rows of the splits: {}", rows.join(", ")));
    let empty = splits.iter().filter(|it| it.rows == 0).map(|it| it.name.as_str());
    let empty: Vec<_> = empty.collect();
    if empty.is_empty() || empty.len() == splits.len() {
        return lines;
    }
    let which = plural(empty.len() as u64, "split");
    lines.and(format_args!(
        "  note: no row is in the {which} {}: few keys differ, or the same hashes chose the rows before; try another --seed or \
         --split-by",
        empty.join(", ")
    ))
}

/// Adds a line for each option that has replaced values.
pub(super) fn replaced_rows(
    lines: Lines,
    replaced: &[u64],
    transform: Option<&TransformRecord>,
) -> Lines {
    let mut replaced = replaced.iter();
    transform.into_iter().fold(lines, |lines, transform| {
        let options = [("masked", &transform.mask), ("pseudonymised", &transform.pseudonymise)];
        options.into_iter().filter(|(_, paths)| !paths.is_empty()).fold(
            lines,
            |lines, (what, paths)| {
                let path = |(path, rows): (_, &u64)| format!("{path} in {}", counted(*rows, "row"));
                let paths: Vec<_> = paths.iter().zip(&mut replaced).map(path).collect();
                lines.and(format_args!("  {what}: {}", paths.join(", ")))
            },
        )
    })
}

/// Adds a line about rows that were left out because they equal earlier ones, and one if no row was kept.
pub(super) fn missing_rows(lines: Lines, duplicates: u64, rows: u64, read: u64) -> Lines {
    let lines = match duplicates {
        0 => lines,
        more => {
            let rows = counted(more, "row");
            lines.and(format_args!("  left out, because they equal an earlier row: {rows}"))
        }
    };
    match (rows, read) {
        (0, 1..) => lines.and(
            "  nothing was kept: preview --explain shows why; a misspelled field is null in every row",
        ),
        _ => lines,
    }
}

/// Adds a line about a dataset card of an export without rows, if there is one.
pub(super) fn empty_card(lines: Lines, is_empty: bool) -> Lines {
    match is_empty {
        true => lines.and(
            "  load_dataset of Hugging Face reads the card of an export without rows only with streaming=True",
        ),
        false => lines,
    }
}

/// Adds a line about rows on which an expression failed, if there are any.
pub(super) fn failed_rows(lines: Lines, failed: u64, transform: Option<&TransformRecord>) -> Lines {
    let what = match transform {
        _ if failed == 0 => return lines,
        Some(it) if it.keeps_failed_rows() => {
            let has_keys = it.dedupe.is_some() || it.split_by.is_some();
            match (it.conditions.is_empty(), has_keys) {
                (true, false) => "with null in a column, because",
                (false, false) => "left out, or with null in a column, because",
                // A row whose key failed equals no other row, and its key of a split is null.
                (true, true) => "kept, although",
                (false, true) => "left out or kept, although",
            }
        }
        _ => "left out, because",
    };
    let failed = counted(failed, "row");
    lines.and(format_args!("  {what} an expression failed: {failed}"))
}

/// Adds lines about the splits that a dry run would write, and about the values that it would replace.
pub(super) fn planned(lines: Lines, transform: Option<&TransformRecord>) -> Lines {
    let Some(transform) = transform else { return lines };
    let splits = transform.split.iter().map(|it| format!("{} {}", it.name, it.fraction));
    let listed = [
        ("splits", splits.collect()),
        ("masked", transform.mask.clone()),
        ("pseudonymised", transform.pseudonymise.clone()),
    ];
    let listed = listed.iter().filter(|(_, texts)| !texts.is_empty());
    listed.fold(lines, |lines, (what, texts)| {
        lines.and(format_args!("  {what}: {}", texts.join(", ")))
    })
}

fn announce(would: &DryRun) -> String {
    let resumed = match would.kept_rows {
        0 => String::new(),
        kept => format!("; {} of an interrupted run would be kept", counted(kept, "row")),
    };
    format!(
        "would {} {} of {} in {} of {} to {}{resumed}",
        if would.transform.is_some() { "read" } else { "export" },
        grouped(would.rows),
        counted(would.count, "row"),
        counted(would.requests, "request"),
        counted(would.rows_per_page, "row"),
        would.output,
    )
}
