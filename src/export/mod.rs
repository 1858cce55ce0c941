//! One export from its first request to its publication: stream → batches → sink → manifest.
//!
//! ```text
//! page 1 ─► plan known ─► lock, resume ─► pages ══► writer (a thread) ─► proof ─► publish
//!                                          └────── changed? another pass ◄──────┘
//! ```
//!
//! The proof checks that each row of the dataset was read exactly once. Nothing is published until the proof
//! succeeds. This module does not depend on command-line arguments or terminals.

pub(crate) mod columns;
pub(crate) mod described;
mod disk_space;
pub(crate) mod duplicates;
pub(crate) mod encoder;
mod explained;
mod first_seen;
mod handover;
mod into_sink;
pub(crate) mod lanes;
mod nesting;
pub(crate) mod nesting_options;
pub(crate) mod output_form;
pub(crate) mod output_plan;
pub(crate) mod part_grid;
pub(crate) mod parts;
mod pass;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod range;
pub(crate) mod schema_file;
mod shaping;
pub(crate) mod slot;
pub(crate) mod splits;
pub(crate) mod staging;
pub(crate) mod summary;
mod transformed;
mod writer;

use std::{pin::pin, sync::Arc, time::Instant};

use tokio::time::timeout;

pub(crate) use self::{explained::ExplanationsSoFar, summary::unchecked};
pub use self::{
    explained::{ExplainedRows, RowExplanation, explain_rows},
    into_sink::write_pages,
    nesting_options::NestingOptions,
    plan::{ExportOptions, ExportPlan},
    progress::Progress,
    summary::{DryRun, Summary},
    transformed::{TransformPlan, TransformedRows, write_transformed},
};
use self::{
    slot::DestinationSlot,
    staging::{GRACE, discard, probe, publish},
};
use crate::{
    client::{Client, Page},
    clock::{self, Clock, SystemClock},
    destination::{self, Destination, Header, Resumable},
    error::{Error, Result},
    location::Target,
    paginator::{full_page, rows_of},
    tasks,
};

/// An export that is ready to run.
///
/// ```no_run
/// # async fn export() -> overmind_export::Result<()> {
/// use overmind_export::{Client, Export, ExportOptions, ExportPlan};
///
/// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
/// let plan = ExportPlan::new(ExportOptions::new(dataset, "rows.parquet"))?;
/// let summary = Export::new(Client::from_env()?, plan).run().await?;
/// println!("{} rows", summary.rows);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Export {
    pub(crate) client: Client,
    pub(crate) plan: ExportPlan,
    pub(crate) progress: Arc<Progress>,
}

impl Export {
    /// Creates an export with this client and this plan.
    pub fn new(client: Client, plan: ExportPlan) -> Self {
        // A separate meter counts only the requests of this export. Other work may use the same client before
        // and during the export.
        Self { client: client.metered(), plan, progress: Arc::default() }
    }

    /// Returns the counters of this export. They can be read while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Requests one page and reports what the export would do. Writes nothing.
    ///
    /// # Errors
    /// The errors of [`run`](Self::run) that can occur until page 1 has been received.
    pub async fn dry_run(&self) -> Result<DryRun> {
        let wanted = self.plan.wanted();
        blocking(move || Destination::probe(&wanted, true).map(drop)).await?;
        let options = &self.plan.options;
        let page = self.first_page().await?;
        let page_rows = full_page(&page);
        let rows = rows_of(options.pages, options.limit, &page);
        let pages = rows.checked_div(page_rows).map_or(1, |_| rows.div_ceil(page_rows).max(1));
        let kept = self.resumable(page.count()).await?;
        let requests = match kept {
            None => pages,
            // The first and the last kept page are requested again.
            Some(kept) => {
                let kept = (kept.last_page + 1).saturating_sub(options.pages.first());
                pages.saturating_sub(kept) + if kept == 1 { 1 } else { 2 }
            }
        };
        let kept_rows = kept.map_or(0, |kept| kept.rows_read);
        Ok(DryRun {
            dataset: options.dataset,
            output: self.plan.target.to_string(),
            count: page.count(),
            rows,
            transform: self.plan.transform_record().cloned(),
            rows_per_page: page_rows,
            kept_rows,
            requests,
        })
    }

    /// Returns what this export would keep of an interrupted one.
    async fn resumable(&self, count: u64) -> Result<Option<Resumable>> {
        if self.plan.options.restart {
            return Ok(None);
        }
        let (wanted, plan) = (self.plan.wanted(), self.plan.fingerprint(self.client.base_url()));
        let header = Header { plan, count, started_at: String::new() };
        blocking(move || destination::resumable(&wanted, &header)).await
    }

    pub(crate) async fn first_page(&self) -> Result<Page> {
        let options = &self.plan.options;
        let page = options.pages.first();
        self.client.first_page(options.dataset, &options.query, page, options.page_size).await
    }

    /// Runs the export to its end.
    ///
    /// Must run within a tokio runtime. If the caller drops the future, the export ends. It releases its lock
    /// the next time that the runtime runs.
    ///
    /// # Errors
    /// After an error before the publication, nothing is published:
    /// - The errors of [`DatasetReader::datapoints`](crate::DatasetReader::datapoints): the API, its pages, or the proof failed.
    /// - [`Error::Row`], [`Error::UnmatchedPath`], [`Error::UnmatchedNode`], [`Error::Nesting`]: an expression failed on a row, or a path
    ///   leads to no value.
    /// - [`Error::Output`]: the output exists, or cannot be created.
    /// - [`Error::Locked`], [`Error::LockLost`]: another run writes the output, or took its lock.
    /// - [`Error::PartChanged`], [`Error::Damaged`]: a finished part was changed, or its upload is lost.
    /// - [`Error::Io`], [`Error::Store`]: reading or writing failed.
    /// - [`Error::Stdout`], [`Error::OutputClosed`]: standard output failed, or its reader closed it.
    ///
    /// After these errors of the publication, a part of the output or all of it can be published. The
    /// [hint](Error::hint) says what to do:
    /// - [`Error::Unpublished`], [`Error::NotDurable`]: a rename or the sync of a folder failed.
    /// - [`Error::Replaced`]: another program wrote the output, or another run took the lock.
    /// - [`Error::Store`]: the store failed. The next run finishes the publication of a prefix.
    ///
    /// Anything else is a bug:
    /// - [`Error::Encode`], [`Error::Internal`]: a bug.
    pub async fn run(self) -> Result<Summary> {
        self.run_until(std::future::pending()).await
    }

    /// Runs the export to its end, or until `stop` resolves to an error. The export then ends with this
    /// error. Finished parts are kept for a run that resumes this one.
    ///
    /// # Errors
    /// The error of `stop`, or the same as [`run`](Self::run). After the error of `stop` nothing is published, with
    /// one exception: `stop` resolves during the publication, and the publication does not finish within 5 s,
    /// because a store does not answer. In this case the method returns without waiting any longer. A thread
    /// continues to publish. It holds the lock until it finishes or the process ends. If the process ends
    /// first, the output is in the same state as after a kill.
    pub async fn run_until(self, stop: impl Future<Output = Error>) -> Result<Summary> {
        self.run_unless(|_| false, stop).await.map(|(summary, _)| summary)
    }

    /// Like [`run_until`](Self::run_until), but calls `known` with the digest of the content. If `known`
    /// returns true, the run publishes nothing and deletes its staged files. The second returned value is
    /// the result of `known`.
    pub(crate) async fn run_unless(
        self,
        known: impl Fn(&str) -> bool,
        stop: impl Future<Output = Error>,
    ) -> Result<(Summary, bool)> {
        let result = self.passes(known, stop).await;
        if let Some(note) = summary::failures(self.client.meter()) {
            self.progress.note(note);
        }
        result
    }

    async fn passes(
        &self,
        known: impl Fn(&str) -> bool,
        stop: impl Future<Output = Error>,
    ) -> Result<(Summary, bool)> {
        let begun = Instant::now();
        let started_at = now();
        let mut stop = pin!(stop);
        // If the output cannot be written, the export sends no request.
        let mut slot = DestinationSlot::new(probe(self.plan.wanted(), stop.as_mut()).await?);
        let to_stdout = self.plan.target == Target::Stdout;
        let passes = if to_stdout { 1 } else { self.plan.options.max_passes };
        for pass in 1.. {
            let error = match self.pass(&mut slot, &started_at, stop.as_mut()).await {
                Ok(manifest) => {
                    let destination = slot.take()?;
                    let is_known = known(&manifest.digest);
                    if is_known {
                        blocking(move || discard(destination)).await?;
                    } else {
                        let (published, sidecar) = (manifest.clone(), self.plan.options.manifest);
                        let stopped = publish(destination, published, sidecar, stop).await?;
                        if let Some(error) = stopped {
                            return Err(self.stopped(error, manifest.parts.len()));
                        }
                    }
                    return Ok((self.summary(&manifest, begun.elapsed()), is_known));
                }
                Err(error) => error,
            };
            let changed = matches!(error, Error::Incomplete { .. });
            // If the dataset changed during the export, rows are out of order, or a path is misspelled, a later run
            // cannot use these parts.
            let is_wrong = matches!(
                error,
                Error::OutOfOrder(_)
                    | Error::UnmatchedPath { .. }
                    | Error::UnmatchedNode { .. }
                    | Error::Nesting(_)
            );
            if changed || is_wrong {
                let staged = slot.take()?;
                slot.put_back(blocking(move || forget(staged)).await?);
            }
            if !changed || pass >= passes {
                return Err(self.give_up(slot, error).await?);
            }
            self.progress.note(format!("{error}; starting again from page 1"));
        }
        Err(Error::Internal("no pass ended".to_owned()))
    }

    /// Keeps the finished parts for a later run. Returns the error that ended this run, with a hint about
    /// the later run.
    async fn give_up(&self, slot: DestinationSlot, error: Error) -> Result<Error> {
        // A thread that did not stop in time still has the destination.
        let Some(destination) = slot.into_inner() else { return Ok(self.stopped(error, 0)) };
        let kept = blocking(move || Ok(destination.abandon()));
        let kept = match error {
            Error::Interrupted { .. } => timeout(GRACE, kept).await.unwrap_or(Ok(0))?,
            _ => kept.await?,
        };
        Ok(self.stopped(error, kept))
    }

    /// Adds the number of kept parts to the error that ended the run.
    fn stopped(&self, error: Error, parts: usize) -> Error {
        let kept = if matches!(self.plan.target, Target::Directory(_)) { parts } else { 0 };
        error.with_kept_parts(kept, &self.plan.target)
    }
}

/// Deletes the staged files before another pass. If this fails, releases the destination.
fn forget(mut destination: Destination) -> Result<Destination> {
    match destination.forget() {
        Ok(()) => Ok(destination),
        Err(error) => {
            destination.abandon();
            Err(error)
        }
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tasks::blocking("a file operation", work).await?
}

pub(crate) fn now() -> String {
    clock::text(SystemClock.now())
}
