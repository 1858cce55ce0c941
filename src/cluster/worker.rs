//! A worker: reads the pages of one range, stages their parts, and creates the record of the range.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::time::timeout;

use super::{place::ClusterOutput, plan::StoredPlan};
use crate::{
    client::Client,
    destination::{Destination, KeptPart, MOST_RANGES, RangeStart, WantedRange},
    error::{Error, Result},
    export::{
        Export, Progress, blocking, range::RangePages, slot::DestinationSlot, staging::GRACE,
        summary::failures,
    },
};

/// Writes one range of a plan. Any number of workers may run at the same time, on any number of machines, also for the same
/// range.
///
/// A worker keeps to the adaptive limit of its own requests. To divide a quota among workers, give each of them a part of
/// it: [`Rate::divided`](crate::Rate::divided).
#[derive(Debug)]
pub struct RangeWorker {
    client: Client,
    output: ClusterOutput,
    range: u32,
    /// Number of ranges that the caller expects.
    of: Option<u32>,
    encode_threads: Option<usize>,
    prefetch_bytes: Option<usize>,
    progress: Arc<Progress>,
}

/// What became of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RangeOutcome {
    /// This worker wrote it.
    Written,
    /// A worker had finished it before. No request was sent.
    AlreadyDone,
    /// Another worker finished it during this run. What this one wrote was removed.
    Overtaken,
    /// It has no pages.
    Empty,
}

/// The result of a worker.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RangeSummary {
    /// Id of the plan.
    pub plan: String,
    /// Number of the range, from 1.
    pub range: u32,
    /// Number of ranges of the plan.
    pub ranges: u32,
    /// What became of the range.
    pub outcome: RangeOutcome,
    /// Number of its first page. `None` if it has no pages.
    pub first_page: Option<u64>,
    /// Number of its last page.
    pub last_page: Option<u64>,
    /// Number of rows read for the range.
    pub rows_read: u64,
    /// Number of rows written.
    pub rows: u64,
    /// Number of parts.
    pub files: u64,
    /// Bytes of these parts.
    pub bytes: u64,
    /// Number of requests sent by this worker, including retries.
    pub requests: u64,
    /// Number of retried requests.
    pub retries: u64,
    /// Time of the run, in seconds.
    pub seconds: f64,
}

impl RangeWorker {
    /// Creates a worker for range `range` of `of`, which count from 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `range` is 0 or greater than `of`.
    pub fn new(client: Client, output: ClusterOutput, range: u32, of: u32) -> Result<Self> {
        if !(1..=of).contains(&range) {
            let why = "ranges count from 1 to their number, such as 3/16";
            return Err(Error::invalid("range", format!("{range}/{of}"), why));
        }
        Ok(Self { of: Some(of), ..Self::numbered(client, output, range) })
    }

    /// Creates a worker for the range with this index, which counts from 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no plan has that many ranges.
    pub fn with_index(client: Client, output: ClusterOutput, index: u32) -> Result<Self> {
        let range = index.checked_add(1).filter(|range| *range <= MOST_RANGES);
        let range = range.ok_or_else(|| {
            Error::invalid("range index", index.to_string(), "a plan has at most 99999 ranges")
        })?;
        Ok(Self::numbered(client, output, range))
    }

    fn numbered(client: Client, output: ClusterOutput, range: u32) -> Self {
        let client = client.metered();
        let (of, encode_threads, prefetch_bytes) = (None, None, None);
        Self { client, output, range, of, encode_threads, prefetch_bytes, progress: Arc::default() }
    }

    /// Sets the number of encoder threads; default one for each core, at most 16. The bytes do not depend on it.
    #[must_use]
    pub fn encode_threads(mut self, threads: usize) -> Self {
        self.encode_threads = Some(threads);
        self
    }

    /// Sets how many bytes of pages to prefetch; default 8 MiB.
    #[must_use]
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = Some(bytes);
        self
    }

    /// Returns the counters of this worker. They can be read while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Writes the range, unless a worker has finished it before.
    ///
    /// Must run within a tokio runtime. If the caller drops the future, the worker ends, and what it has staged stays until
    /// the plan is committed or aborted.
    ///
    /// # Errors
    /// After an error, the range has no record, and it can be run again:
    /// - [`Error::PlanEnded`], [`Error::NoPlan`], [`Error::CommitBegun`]: the plan was committed or aborted, or never begun,
    ///   or a commit has begun to publish.
    /// - [`Error::PlanDamaged`]: the plan was changed.
    /// - [`Error::Output`], [`Error::Invalid`]: the plan has other ranges, or this machine would give other bytes: another
    ///   version, base URL or key of pseudonyms.
    /// - [`Error::Incomplete`]: the dataset is no longer the one of the plan.
    /// - The errors of the API and of the files, as in [`Export::run`](crate::Export::run).
    pub async fn run(self) -> Result<RangeSummary> {
        self.run_until(std::future::pending()).await
    }

    /// Writes the range like [`run`](Self::run), or until `stop` resolves to an error. Then it ends with this error, and
    /// removes what it has staged.
    ///
    /// # Errors
    /// The error of `stop`, or the same as [`run`](Self::run).
    pub async fn run_until(self, stop: impl Future<Output = Error>) -> Result<RangeSummary> {
        let begun = Instant::now();
        let result = self.write(begun, stop).await.map_err(|error| match error {
            Error::Interrupted { signal, number, .. } => {
                let hint = Some("nothing of this range is kept: run the same command again");
                Error::Interrupted { signal, number, hint }
            }
            error => error,
        });
        if let Some(note) = failures(self.client.meter()) {
            self.progress.note(note);
        }
        result
    }

    async fn write(
        &self,
        begun: Instant,
        stop: impl Future<Output = Error>,
    ) -> Result<RangeSummary> {
        let output = self.output.clone();
        let (found, plan) = blocking(move || StoredPlan::find(&output)).await?;
        self.check_range(&plan)?;
        let export_plan = plan.export_plan(&self.output, self.client.base_url(), |options| {
            options.encode_threads = self.encode_threads;
            options.prefetch_bytes = self.prefetch_bytes.unwrap_or(options.prefetch_bytes);
        })?;
        let width = plan.layout.width();
        let Some(pages) = plan.range_pages(self.range) else {
            return Ok(self.summary(
                &plan,
                None,
                RangeOutcome::Empty,
                (&[], width),
                begun.elapsed(),
            ));
        };
        let layout = plan.layout.clone();
        let (plan_id, rows) = (plan.id.clone(), pages.rows());
        let wanted = WantedRange {
            plan: plan_id,
            range: self.range,
            pages: (pages.first, pages.last),
            rows,
            layout,
        };
        let temp_dir = self.output.temporary().cloned().unwrap_or_else(std::env::temp_dir);
        let attempt = match blocking(move || found.start(&wanted, &temp_dir)).await? {
            RangeStart::Begun(attempt) => attempt,
            RangeStart::Done(record) => {
                let parts = (&*record.parts, width);
                let outcome = RangeOutcome::AlreadyDone;
                return Ok(self.summary(&plan, Some(pages), outcome, parts, begun.elapsed()));
            }
        };
        let mut export = Export::new(self.client.clone(), export_plan);
        export.client = self.client.clone();
        export.progress = self.progress.clone();
        let mut slot = DestinationSlot::new(Destination::Range(attempt));
        let written = {
            let stop = pin!(stop);
            export.write_range(&mut slot, &pages, stop).await
        };
        let first_order = match written {
            Ok(first_order) => first_order,
            Err(error) => {
                if let Some(destination) = slot.into_inner() {
                    let discarded = blocking(move || Ok(destination.abandon()));
                    drop(timeout(GRACE, discarded).await);
                }
                return Err(error);
            }
        };
        let Destination::Range(attempt) = slot.take()? else {
            return Err(Error::Internal("a worker has another destination".to_owned()));
        };
        let parts = attempt.parts().to_vec();
        let is_own =
            blocking(move || attempt.finish((pages.first, pages.last), first_order)).await?;
        let outcome = if is_own { RangeOutcome::Written } else { RangeOutcome::Overtaken };
        Ok(self.summary(&plan, Some(pages), outcome, (&parts, width), begun.elapsed()))
    }

    /// Refuses a range that the plan does not have.
    fn check_range(&self, plan: &StoredPlan) -> Result<()> {
        let (range, ranges) = (self.range, plan.ranges);
        let value = match self.of {
            Some(of) if of != ranges => format!("{range}/{of}"),
            None if range > ranges => format!("index {}", range - 1),
            _ => return Ok(()),
        };
        let why = format!("the plan has {ranges} ranges, from 1/{ranges} to {ranges}/{ranges}");
        Err(Error::invalid("range", value, why))
    }

    fn summary(
        &self,
        plan: &StoredPlan,
        pages: Option<RangePages>,
        outcome: RangeOutcome,
        (parts, width): (&[KeptPart], usize),
        elapsed: Duration,
    ) -> RangeSummary {
        let meter = self.client.meter();
        let sum = |number: fn(&KeptPart) -> u64| parts.iter().map(number).sum();
        RangeSummary {
            plan: plan.id.clone(),
            range: self.range,
            ranges: plan.ranges,
            outcome,
            first_page: pages.map(|pages| pages.first),
            last_page: pages.map(|pages| pages.last),
            rows_read: parts.iter().step_by(width).map(|kept| kept.part.rows_read).sum(),
            rows: sum(|kept| kept.part.rows),
            files: parts.len() as u64,
            bytes: sum(|kept| kept.part.bytes),
            requests: meter.requests(),
            retries: meter.retries(),
            seconds: elapsed.as_secs_f64(),
        }
    }
}
