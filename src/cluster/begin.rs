//! Begins an export by many workers: fixes the plan and writes it to the staging of the output.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{
    options::PlannedOptions,
    place::directory,
    plan::{ClusterPlan, StoredPlan},
};
use crate::{
    client::Client,
    destination::{Destination, MOST_RANGES, OutputRequest, PlanStart, PlanUse},
    error::{Error, Result},
    export::{Export, ExportOptions, ExportPlan, blocking, now},
    paginator::full_page,
};

/// Longest time to wait for another run that holds the lock of the output: 10 s. A commit holds it longer, and then it is
/// an error.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two attempts: 100 ms.
const PAUSE: Duration = Duration::from_millis(100);

/// Begins an export that many workers write in this number of ranges, at most 99,999. Requests page 1, and writes the plan
/// next to the output.
///
/// A second call with the same options, while the dataset has the same number of rows, returns the plan that is there.
/// Ranges begin where a part of the export begins: every [`rows_per_file`](ExportOptions::rows_per_file) rows, or with a
/// transformation that leaves out rows, every four times as many. So with many ranges and few rows, some ranges have no
/// pages.
///
/// Of the options, `encode_threads`, `prefetch_bytes` and `max_passes` have no meaning here: each
/// [`RangeWorker`](super::RangeWorker) has its own.
///
/// Must run within a tokio runtime.
///
/// # Errors
/// Nothing is begun after an error:
/// - [`Error::Usage`], [`Error::Invalid`]: an option is not valid, or many workers cannot apply it: `dedupe` compares all
///   rows, nested columns need given types, and `pages` and `limit` choose a part of the dataset.
/// - [`Error::Output`]: the output exists or cannot be made, or another plan or an interrupted export is there, and
///   `restart` is not set.
/// - [`Error::Locked`]: another run is writing the output, for longer than 10 s.
/// - The errors of the first page of [`Export::run`].
pub async fn begin(client: &Client, options: ExportOptions, ranges: u32) -> Result<ClusterPlan> {
    let restart = options.restart;
    let output = options.output.clone();
    let plan = checked(options, ranges)?;
    let wanted = OutputRequest { plan_use: PlanUse::Allow, ..plan.wanted() };
    // If the output cannot be written, nothing is requested.
    let destination = patiently(|| probe(&wanted)).await?;
    let new = match stored(client, plan, ranges).await {
        Ok(new) => new,
        Err(error) => {
            blocking(move || Ok(destination.abandon())).await?;
            return Err(error);
        }
    };
    let mut probed = Some(destination);
    let begun = patiently(|| {
        let (probed, wanted) = (probed.take(), wanted.clone());
        let (new, path) = (new.clone(), output.clone());
        blocking(move || {
            let destination = match probed {
                Some(destination) => destination,
                None => Destination::probe(&wanted, false)?,
            };
            let json = new.to_json()?;
            let difference = |found: &[u8]| match StoredPlan::parse(found, &path) {
                Ok(found) => found.difference(&new),
                Err(_) => Some("it was changed, or this version cannot read it".to_owned()),
            };
            destination.begin_plan(&json, &PlanStart { restart, difference: &difference })
        })
    });
    Ok(StoredPlan::parse(&begun.await?, &output)?.shown(&output))
}

async fn probe(wanted: &OutputRequest) -> Result<Destination> {
    let wanted = wanted.clone();
    blocking(move || Destination::probe(&wanted, false)).await
}

/// Repeats a step for as long as another run holds the lock of the output, at most for [`PATIENCE`]. Another `begin` holds
/// it for a moment, and may have the same plan.
async fn patiently<T, F: Future<Output = Result<T>>>(mut step: impl FnMut() -> F) -> Result<T> {
    let begun = Instant::now();
    loop {
        match step().await {
            Err(Error::Locked { .. }) if begun.elapsed() < PATIENCE => sleep(PAUSE).await,
            result => return result,
        }
    }
}

/// Returns the plan that [`begin`] would write. Requests page 1, and writes nothing.
///
/// # Errors
/// Those of [`begin`] about the options, the output and page 1.
pub async fn plan(client: &Client, options: ExportOptions, ranges: u32) -> Result<ClusterPlan> {
    let output = options.output.clone();
    let plan = checked(options, ranges)?;
    let wanted = OutputRequest { plan_use: PlanUse::Allow, ..plan.wanted() };
    blocking(move || Destination::probe(&wanted, true).map(drop)).await?;
    Ok(stored(client, plan, ranges).await?.shown(&output))
}

/// Checks the options, and refuses what needs all rows at one place.
fn checked(options: ExportOptions, ranges: u32) -> Result<ExportPlan> {
    if !(1..=MOST_RANGES).contains(&ranges) {
        let why = "use 1 to 99999";
        return Err(Error::invalid("number of ranges", ranges.to_string(), why));
    }
    let plan = ExportPlan::new(options)?;
    directory(&plan.target)?;
    PlannedOptions::of(&plan.options)?;
    if plan.compares() {
        return Err(Error::Usage(
            "`dedupe` compares all rows of the export, and a worker sees only its own: leave it out, and give it to \
             `overmind-export convert`, which reads the finished export"
                .to_owned(),
        ));
    }
    if plan.has_drafts() {
        return Err(Error::Usage(
            "many workers need the types of nested columns before they begin: give `schema`, which \
             `overmind-export schema` prints"
                .to_owned(),
        ));
    }
    Ok(plan)
}

async fn stored(client: &Client, plan: ExportPlan, ranges: u32) -> Result<StoredPlan> {
    let export = Export::new(client.clone(), plan);
    let page = export.first_page().await?;
    let facts = (page.count(), full_page(&page));
    StoredPlan::new(&export.plan, client.base_url(), facts, (ranges, now()))
}
