//! Commits an export by many workers: refuses gaps, proves all rows, and publishes once.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{select, time::timeout};

use super::{
    coverage::{CoveredRange, RangeProblem, covered},
    place::ClusterOutput,
    plan::StoredPlan,
};
use crate::{
    client::Client,
    destination::{
        Destination, Header, KeptPart, OutputRequest, PlanUse, RangeRecord, finish_begun,
        tidy_published,
    },
    error::{Error, Result},
    export::{
        Export, Progress, Summary, blocking,
        described::ReadExport,
        parts::listed_parts,
        slot::DestinationSlot,
        staging::{GRACE, probe, publish},
        summary::failures,
    },
    record::{
        manifest::{Manifest, Part},
        place,
        written::WrittenRange,
    },
    tasks::{Worker, on_threads},
};

/// Publishes an export whose ranges many workers have written.
///
/// It takes the lock of the output, checks that each range has a record and that the parts have the recorded bytes, counts
/// the ids of all rows in bounded memory, requests the first and the last page again, and publishes in one step. It
/// never removes the parts of workers, unless it has published.
#[derive(Debug)]
pub struct ClusterCommit {
    client: Client,
    output: ClusterOutput,
    progress: Arc<Progress>,
}

impl ClusterCommit {
    /// Creates a commit. Sends nothing.
    pub fn new(client: Client, output: ClusterOutput) -> Self {
        Self { client: client.metered(), output, progress: Arc::default() }
    }

    /// Returns the counters of this commit. They can be read while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Commits the export. If an earlier commit was killed after it had begun to publish, this finishes its publication.
    ///
    /// Must run within a tokio runtime.
    ///
    /// # Errors
    /// After an error before the publication, nothing is published, and all ranges are kept:
    /// - [`Error::MissingRanges`]: ranges are missing, or their parts were changed or are lost.
    /// - [`Error::Incomplete`], [`Error::OutOfOrder`]: the rows of all ranges are not those of the dataset. Begin again with
    ///   `restart`.
    /// - [`Error::PlanEnded`], [`Error::NoPlan`]: there is no plan, and no export that many workers wrote. If there is such
    ///   an export, its summary is returned again, with a note that names its plan. The export can also be an older one, if
    ///   the plan was aborted or never begun: compare the plan. This needs a record at its usual place.
    /// - [`Error::PlanDamaged`]: the plan was changed. Abort it, and begin again.
    /// - [`Error::Locked`]: another commit is active.
    ///
    /// The other errors are those of [`Export::run`](crate::Export::run).
    pub async fn run(self) -> Result<Summary> {
        self.run_until(std::future::pending()).await
    }

    /// Commits the export like [`run`](Self::run), or until `stop` resolves to an error.
    ///
    /// # Errors
    /// The error of `stop`, or the same as [`run`](Self::run).
    pub async fn run_until(self, stop: impl Future<Output = Error>) -> Result<Summary> {
        let result = self.commit(stop).await.map_err(|error| match error {
            Error::Interrupted { signal, number, .. } => {
                let hint = Some("no range is lost: `overmind-export commit` continues it");
                Error::Interrupted { signal, number, hint }
            }
            error => error,
        });
        if let Some(note) = failures(self.client.meter()) {
            self.progress.note(note);
        }
        result
    }

    async fn commit(&self, stop: impl Future<Output = Error>) -> Result<Summary> {
        let begun = Instant::now();
        let mut stop = pin!(stop);
        let output = self.output.clone();
        let start = blocking(move || look(&output)).await?;
        let shown = self.output.given().display().to_string();
        let (plan, plan_bytes) = match start {
            CommitStart::Planned(plan, bytes) => (plan, bytes),
            CommitStart::Finished(manifest) => {
                return Ok(self.summary(&manifest, shown, begun.elapsed()));
            }
            CommitStart::Committed(manifest) => {
                let (when, plan) = (&manifest.finished_at, manifest.plan.as_deref());
                let plan = plan.map_or(String::new(), |plan| format!(" of plan {plan}"));
                self.progress.note(format!(
                    "no plan is there: the export{plan} was committed before, at {when}, and this step changed nothing"
                ));
                return Ok(self.summary(&manifest, shown, begun.elapsed()));
            }
        };
        let export_plan = plan.export_plan(&self.output, self.client.base_url(), |_| ())?;
        let mut export = Export::new(self.client.clone(), export_plan);
        export.client = self.client.clone();
        export.progress = self.progress.clone();
        let wanted = OutputRequest { plan_use: PlanUse::Commit, ..export.plan.wanted() };
        let mut slot = DestinationSlot::new(probe(wanted, stop.as_mut()).await?);
        let manifest =
            match self.prepare(&mut slot, &export, (&plan, plan_bytes), stop.as_mut()).await {
                Ok(manifest) => manifest,
                Err(error) => {
                    if let Some(destination) = slot.into_inner() {
                        let released = blocking(move || Ok(destination.abandon()));
                        drop(timeout(GRACE, released).await);
                    }
                    return Err(error);
                }
            };
        match publish(slot.take()?, manifest.clone(), false, stop).await? {
            Some(error) => Err(error),
            None => Ok(self.summary(&manifest, shown, begun.elapsed())),
        }
    }

    /// Gathers the ranges, proves them, and prepares their publication.
    async fn prepare(
        &self,
        slot: &mut DestinationSlot,
        export: &Export,
        (plan, plan_bytes): (&StoredPlan, Vec<u8>),
        mut stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<Manifest> {
        let width = plan.layout.width();
        let (of_plan, path) = (plan.clone(), self.output.given().clone());
        let gathering = move |destination: &mut Destination| {
            let found = destination.gather(&plan_bytes)?;
            let ranges = covered(&of_plan, found, width);
            gather(destination, (&of_plan, path), ranges, width)
        };
        let records = on_thread(slot, stop.as_mut(), gathering).await?;
        let orders: BTreeMap<u64, Option<i64>> =
            records.iter().map(|record| (record.first_page, record.first_order)).collect();
        let kept: Vec<KeptPart> = records.iter().flat_map(|record| record.parts.clone()).collect();
        export.prove(&plan.all_pages(), &kept, &orders, stop.as_mut()).await?;

        let parts: Vec<Part> = kept.into_iter().map(|kept| kept.part).collect();
        let (parts, rows) = listed_parts(&parts, width);
        if let Some(shaper) = &export.plan.shaper {
            let missing = rows.missing.as_deref().unwrap_or_default();
            shaper.check_replaced(rows.written, &rows.replaced, missing)?;
        }
        let manifest = export.describe(ReadExport {
            started_at: plan.begun_at.clone(),
            completeness: export.plan.completeness(),
            count: plan.count,
            rows_per_page: plan.rows_per_page,
            pages: plan.pages(),
            rows,
            parts,
            nested: export.plan.given_types().map(|types| export.plan.recorded_types(types)),
            ranges: records.iter().map(|record| written(record, width)).collect(),
            plan: Some(plan.id.clone()),
        })?;
        let header = Header {
            plan: export.plan.fingerprint(self.client.base_url()),
            count: plan.count,
            started_at: plan.begun_at.clone(),
        };
        on_thread(slot, stop, move |destination| destination.settle(&header)).await?;
        Ok(manifest)
    }

    fn summary(&self, manifest: &Manifest, output: String, elapsed: Duration) -> Summary {
        Summary::of(manifest, output, self.client.meter(), manifest.rows_read, elapsed)
    }
}

/// What a commit finds.
enum CommitStart {
    /// An ended commit had begun to publish, and its publication is finished now.
    Finished(Box<Manifest>),
    /// There is no plan, and the export at the output was committed before.
    Committed(Box<Manifest>),
    /// The plan, and its bytes.
    Planned(Box<StoredPlan>, Vec<u8>),
}

/// Finishes the publication of an ended commit; otherwise finds the plan.
fn look(output: &ClusterOutput) -> Result<CommitStart> {
    let (found, wanted) = match StoredPlan::find(output) {
        Ok((begun, plan)) => {
            let wanted = plan.request(output)?;
            (Ok((begun, plan)), wanted)
        }
        Err(
            error @ (Error::PlanEnded { .. } | Error::NoPlan { .. } | Error::PlanDamaged { .. }),
        ) => (Err(error), output.request()?),
        Err(error) => return Err(error),
    };
    if let Some(manifest) = finish_begun(&wanted)? {
        return Ok(CommitStart::Finished(Box::new(manifest)));
    }
    match found {
        Ok((begun, plan)) => Ok(CommitStart::Planned(Box::new(plan), begun.plan().to_vec())),
        Err(ended @ (Error::PlanEnded { .. } | Error::NoPlan { .. })) => match committed(output)? {
            Some(manifest) => {
                tidy_published(&wanted);
                Ok(CommitStart::Committed(Box::new(manifest)))
            }
            None => Err(ended),
        },
        Err(error) => Err(error),
    }
}

/// Returns the record of the export at the output, if many workers wrote it. Its usual place is read. A record of an earlier
/// version does not have the plan, but several ranges.
fn committed(output: &ClusterOutput) -> Result<Option<Manifest>> {
    let place = place::written(&output.location()?, None);
    // A file that is not a record says nothing about a commit.
    let manifest = Manifest::load(&place).or_else(|error| match error {
        Error::Damaged { .. } => Ok(None),
        error => Err(error),
    });
    Ok(manifest?.filter(|manifest| manifest.plan.is_some() || manifest.ranges.len() > 1))
}

/// Reads the parts of all ranges, and returns their records in order.
///
/// # Errors
/// [`Error::MissingRanges`] with the problems and the ranges to write again; `path` is that of the output.
fn gather(
    destination: &mut Destination,
    (plan, path): (&StoredPlan, PathBuf),
    mut ranges: Vec<CoveredRange>,
    width: usize,
) -> Result<Vec<RangeRecord>> {
    let (mut before, mut records) = (0, Vec::new());
    for range in &mut ranges {
        if let Ok(record) = &mut range.record {
            records.push((record, before));
        }
        // The names of the parts that come next count those of this range, also if they cannot be used.
        before += range.parts / width;
    }
    let check = |(record, before)| destination.check_range(record, before);
    let checked = on_threads("check", records, check);
    for (range, parts) in ranges.iter_mut().filter(|it| it.record.is_ok()).zip(checked) {
        match parts? {
            Ok(parts) => destination.take_range(parts)?,
            Err(why) => range.record = Err(RangeProblem::Unusable(why)),
        }
    }
    let problems: Vec<String> = ranges.iter().filter_map(|range| range.problem(plan)).collect();
    if problems.is_empty() {
        return Ok(ranges.into_iter().filter_map(|range| range.record.ok()).collect());
    }
    let again = ranges.iter().filter(|range| range.record.is_err()).map(|range| range.range);
    Err(Error::MissingRanges { path, problems, ranges: again.collect(), of: plan.ranges })
}

fn written(record: &RangeRecord, width: usize) -> WrittenRange {
    WrittenRange {
        first_page: record.first_page,
        last_page: record.last_page,
        rows_read: record.rows_read(width),
        rows: record.parts.iter().map(|kept| kept.part.rows).sum(),
    }
}

/// Works with the destination on a thread of its own, because reading the parts can take long.
async fn on_thread<T: Send + 'static>(
    slot: &mut DestinationSlot,
    stop: Pin<&mut impl Future<Output = Error>>,
    work: impl FnOnce(&mut Destination) -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut destination = slot.take()?;
    let mut working = Worker::start("commit", "checking the parts", move || {
        let result = work(&mut destination);
        (destination, result)
    })?;
    let ((destination, result), stopped) = select! {
        done = working.join() => (done?, None),
        error = stop => match timeout(GRACE, working.join()).await {
            Ok(done) => (done?, Some(error)),
            Err(_) => return Err(error),
        },
    };
    slot.put_back(destination);
    stopped.map_or(result, Err)
}
