//! One export from its first request to its publication: stream → batches → sink → manifest.
//!
//! ```text
//! page 1 ─► plan known ─► lock, resume ─► pages ══► writer (a thread) ─► proof ─► publish
//!                                          └────── changed? another pass ◄──────┘
//! ```
//!
//! Nothing is published before the proof holds. This module does not know arguments or terminals.

mod handover;
mod into_sink;
pub(crate) mod plan;
pub(crate) mod progress;
mod room;
mod writer;

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{select, sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use self::{
    handover::{HANDOVER, pump},
    writer::Writer,
};
pub use self::{
    into_sink::write_pages,
    plan::{ExportOptions, ExportPlan},
    progress::Progress,
};
use crate::{
    client::{Client, Page},
    clock::{self, Clock, SystemClock},
    destination::{Destination, Header, Kept},
    error::{Error, Result},
    location::Target,
    paginator::{Begin, First, Ids, KeptPages, Pages, StreamOptions},
    proof::{DEFAULT_LIMIT_BYTES, PageFacts},
    record::manifest::{Completeness, Manifest, Tool},
    tasks::{self, Worker, stopped},
};

/// How long an interrupted run waits for its current work: 5 s for the writer, and 5 s more to tidy up.
const GRACE: Duration = Duration::from_secs(5);

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
    client: Client,
    plan: ExportPlan,
    progress: Arc<Progress>,
}

/// The result of an export.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The dataset.
    pub dataset: uuid::Uuid,
    /// The output, as given in the options.
    pub output: String,
    /// Rows of the dataset, as the API says.
    pub count: u64,
    /// Number of rows written.
    pub rows: u64,
    /// Number of files written.
    pub files: u64,
    /// Number of bytes written, after compression.
    pub bytes: u64,
    /// Whether the output is proven to contain every row of the dataset once.
    pub completeness: Completeness,
    /// A digest of the rows' content. Equal content has an equal digest in any format.
    pub digest: String,
    /// Number of pages read, including the pages of kept parts.
    pub pages: u64,
    /// Number of requests sent for this export, including retries.
    pub requests: u64,
    /// Number of retried requests.
    pub retries: u64,
    /// Number of bytes of pages received for this export, after decompression.
    pub received_bytes: u64,
    /// Time from the first request to the publication, in seconds.
    pub seconds: f64,
}

/// The result of a dry run.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DryRun {
    /// The dataset.
    pub dataset: uuid::Uuid,
    /// The output.
    pub output: String,
    /// Rows of the dataset, as the API says.
    pub count: u64,
    /// Number of rows that would be written.
    pub rows: u64,
    /// Number of rows that a page really contains.
    pub page_size: u64,
    /// Number of requests that the export would need if none fails.
    pub requests: u64,
}

impl Export {
    /// Makes an export of this plan through this client.
    pub fn new(client: Client, plan: ExportPlan) -> Self {
        // Other work may use the same client before and during this export.
        Self { client: client.metered(), plan, progress: Arc::default() }
    }

    /// Returns the counters of this export. They can be read while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Requests one page and reports what the export would do. Writes nothing.
    ///
    /// # Errors
    /// The same as [`run`](Self::run), as far as the dry run goes.
    pub async fn dry_run(&self) -> Result<DryRun> {
        let wanted = self.plan.wanted();
        blocking(move || Destination::probe(&wanted, true).map(drop)).await?;
        let options = &self.plan.options;
        let page = self.first_page().await?;
        let (page_rows, all) = (full_page(&page), rows_of(options, &page));
        let rows = all.min(options.limit.unwrap_or(u64::MAX));
        let requests = rows.checked_div(page_rows).map_or(1, |_| rows.div_ceil(page_rows).max(1));
        Ok(DryRun {
            dataset: options.dataset,
            output: self.plan.target.to_string(),
            count: page.count(),
            rows,
            page_size: page_rows,
            requests,
        })
    }

    /// Runs the export to its end.
    ///
    /// Must run within a tokio runtime. If the future is dropped, the export ends and releases its lock
    /// when the runtime runs next.
    ///
    /// # Errors
    /// After an error nothing is published.
    /// - The errors of [`Client::datapoints`]: the API, its pages, or the proof failed.
    /// - [`Error::Output`]: the output exists, or cannot be created.
    /// - [`Error::Locked`], [`Error::LockLost`]: another run writes the output, or took its lock.
    /// - [`Error::Io`], [`Error::Store`]: reading or writing failed.
    /// - [`Error::OutputClosed`]: the reader of standard output closed it.
    /// - [`Error::Encode`], [`Error::Internal`]: a bug.
    pub async fn run(self) -> Result<Summary> {
        self.run_until(std::future::pending()).await
    }

    /// Runs the export to its end, or until `stop` resolves to an error. The export then ends with this
    /// error. Finished parts are kept for a run that resumes this one.
    ///
    /// # Errors
    /// The error of `stop`, or the same as [`run`](Self::run). Nothing is published then, with one
    /// exception: `stop` comes during the publication, and the publication takes more than 5 s longer,
    /// because a store does not answer. In this case the method returns without waiting. A thread
    /// continues to publish and holds the lock until it finishes or the process ends. If the process
    /// ends first, the output is as after a kill.
    pub async fn run_until(self, stop: impl Future<Output = Error>) -> Result<Summary> {
        self.run_unless(|_| false, stop).await.map(|(summary, _)| summary)
    }

    /// Like [`run_until`](Self::run_until), but publishes and keeps nothing if `known` returns true for
    /// the digest of the content. The second value is true in this case.
    pub(crate) async fn run_unless(
        self,
        known: impl Fn(&str) -> bool,
        stop: impl Future<Output = Error>,
    ) -> Result<(Summary, bool)> {
        let begun = Instant::now();
        let started_at = now();
        let mut stop = pin!(stop);
        let wanted = self.plan.wanted();
        // Before page 1, so that an unwritable output costs no request.
        let mut probing = pin!(blocking(move || Destination::probe(&wanted, false)));
        let mut destination = select! {
            probed = probing.as_mut() => probed?,
            error = stop.as_mut() => {
                if let Ok(Ok(destination)) = timeout(GRACE, probing).await {
                    drop(timeout(GRACE, blocking(move || Ok(destination.abandon()))).await);
                }
                return Err(error);
            }
        };
        let passes =
            if self.plan.target == Target::Stdout { 1 } else { self.plan.options.max_passes };
        for pass in 1.. {
            let outcome = self.pass(&mut destination, &started_at, stop.as_mut()).await;
            let error = match outcome {
                Ok((manifest, bytes)) if known(&manifest.digest) => {
                    blocking(move || {
                        let forgotten = destination.forget();
                        destination.abandon();
                        forgotten
                    })
                    .await?;
                    return Ok((self.summary(&manifest, bytes, begun.elapsed()), true));
                }
                Ok((manifest, bytes)) => {
                    let sidecar = self.plan.options.manifest;
                    let published = manifest.clone();
                    let publishing = blocking(move || destination.publish(&published, sidecar));
                    let mut publishing = pin!(publishing);
                    select! {
                        published = publishing.as_mut() => published?,
                        error = stop.as_mut() => match timeout(GRACE, publishing).await {
                            // The publication was almost finished.
                            Ok(published) => published?,
                            Err(_) => return Err(self.stopped(error, manifest.parts.len())),
                        },
                    }
                    return Ok((self.summary(&manifest, bytes, begun.elapsed()), false));
                }
                Err(error) => error,
            };
            let moved = matches!(error, Error::Incomplete { .. });
            // If the dataset changed during the export, or rows are out of order, a later run cannot use
            // these parts.
            if moved || matches!(error, Error::OutOfOrder(_)) {
                let mut staged = destination.take();
                destination = blocking(move || match staged.forget() {
                    Ok(()) => Ok(staged),
                    Err(error) => {
                        staged.abandon();
                        Err(error)
                    }
                })
                .await?;
            }
            if moved && pass < passes {
                self.progress.note(format!("{error}; starting again from page 1"));
                continue;
            }
            let kept = blocking(move || Ok(destination.abandon()));
            let kept = match error {
                Error::Interrupted { .. } => timeout(GRACE, kept).await.unwrap_or(Ok(0))?,
                _ => kept.await?,
            };
            return Err(self.stopped(error, kept));
        }
        Err(Error::Internal("no pass ended".to_owned()))
    }

    /// Adds the number of kept parts to the error that ended the run.
    fn stopped(&self, error: Error, parts: usize) -> Error {
        let kept = if matches!(self.plan.target, Target::Directory(_)) { parts } else { 0 };
        error.with_kept_parts(kept, &self.plan.target)
    }

    /// Runs one pass: reads everything once and stages it. The caller publishes.
    async fn pass(
        &self,
        destination: &mut Destination,
        started_at: &str,
        mut stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<(Manifest, u64)> {
        let options = &self.plan.options;
        let (stream, fresh) = (self.stream_options(), destination.is_fresh());
        let first = self.client.first_of(options.dataset, &options.query, &stream, fresh);
        let first = select! {
            first = first => first?,
            error = stop.as_mut() => return Err(error),
        };
        let (count, page_rows) = (first.page().count(), full_page(first.page()));
        let plan = self.plan.fingerprint(self.client.base_url());
        let header = Header { plan, count, started_at: started_at.to_owned() };
        let kept = self.open(destination, &header, stop.as_mut()).await?;
        self.announce(first.page(), &kept);
        self.look_for_room(destination, first.page(), &kept).await?;

        let started_at = header.started_at.clone();
        let mut pages = self.pages(first, &kept, stream);
        let (sender, receiver) = mpsc::channel(HANDOVER);
        let (stopper, staged) = (destination.stopper(), destination.take());
        let mut writer = Writer::new(self.plan.clone(), count, staged, kept, self.progress.clone());
        let mut writing = Worker::start("writer", "the writer", move || {
            let result = writer.run(receiver);
            (writer.into_destination(), result)
        })?;
        // Pump in a separate task. This future may be part of the future that the runtime runs directly
        // (`block_on`). Waking that future would need another thread or a poll of all sockets, for every
        // page.
        let mut pumping =
            AbortOnDropHandle::new(tokio::spawn(async move { pump(&mut pages, sender).await }));
        let work = async {
            let pumped = (&mut pumping).await;
            let pumped = pumped.unwrap_or_else(|error| Err(stopped("the hand-over", error)));
            (pumped, writing.join().await)
        };
        let ended = select! {
            done = work => Ok(done),
            error = stop => {
                stopper.stop();
                Err(error)
            }
            error = stopper.lost() => Err(error),
        };
        drop(pumping);
        let (pumped, written) = match ended {
            Ok(done) => done,
            Err(error) => match timeout(GRACE, writing.join()).await {
                Ok(written) => (Err(error), written),
                // Do not wait for a store that does not answer: the next run tidies up.
                Err(_) => return Err(error),
            },
        };
        let (staged, written) = written?;
        *destination = staged;
        let finished = pumped.and(written)?;
        let bytes = finished.parts.iter().map(|part| part.bytes).sum();
        let manifest = Manifest {
            format_version: 1,
            tool: Tool::this(),
            base_url: self.client.base_url().to_owned(),
            dataset: self.plan.options.dataset,
            query: self.plan.options.query.clone(),
            started_at,
            finished_at: now(),
            completeness: self.plan.completeness(),
            count,
            pages: finished.pages,
            page_size: page_rows,
            rows: finished.rows,
            columns: self.plan.columns.clone(),
            format: self.plan.encoding.format(),
            compression: self.plan.encoding.compression().to_string(),
            digest: finished.digest.to_string(),
            snapshot: self.plan.snapshot.clone(),
            parts: finished.parts,
        };
        Ok((manifest, bytes))
    }

    /// Takes the lock and the parts of an interrupted run. Reading these parts can take long.
    async fn open(
        &self,
        destination: &mut Destination,
        header: &Header,
        stop: Pin<&mut impl Future<Output = Error>>,
    ) -> Result<Vec<Kept>> {
        let patience = if destination.stopper().has_lock() { GRACE } else { Duration::ZERO };
        let (mut staged, header) = (destination.take(), header.clone());
        let restart = self.plan.options.restart;
        let mut opening = Worker::start("opener", "opening the output", move || {
            let kept = staged.resume(&header, restart);
            let kept = kept.and_then(|kept| staged.open(&header).map(|()| kept));
            (staged, kept)
        })?;
        let (opened, stopped) = select! {
            opened = opening.join() => (opened, None),
            error = stop => match timeout(patience, opening.join()).await {
                Ok(opened) => (opened, Some(error)),
                Err(_) => return Err(error),
            },
        };
        let (staged, kept) = opened?;
        *destination = staged;
        stopped.map_or(kept, Err)
    }

    async fn first_page(&self) -> Result<Page> {
        let options = &self.plan.options;
        let page = options.pages.first();
        self.client.first_page(options.dataset, &options.query, page, options.page_size).await
    }

    fn stream_options(&self) -> StreamOptions {
        let options = &self.plan.options;
        StreamOptions {
            page_size: options.page_size,
            pages: options.pages,
            limit: options.limit,
            prefetch_bytes: options.prefetch_bytes,
            ..StreamOptions::default()
        }
    }

    fn pages(&self, first: First, kept: &[Kept], stream: StreamOptions) -> Pages {
        let options = &self.plan.options;
        let kept = kept
            .iter()
            .map(|kept| KeptPages {
                facts: PageFacts {
                    pages: kept.part.first_page..=kept.part.last_page,
                    count: first.page().count(),
                    has_next: kept.has_next,
                },
                rows: kept.part.rows,
                last_order: kept.last_order,
                ids: kept.ids.clone(),
            })
            .collect();
        let temp_dir = self.plan.temp_dir();
        let ids = Ids::Spilling { limit_bytes: DEFAULT_LIMIT_BYTES, temp_dir };
        let begin = Begin { first: Some(first), ids, kept };
        self.client.pages_after(begin, options.dataset, options.query.clone(), stream)
    }

    fn announce(&self, first: &Page, kept: &[Kept]) {
        let options = &self.plan.options;
        let rows = rows_of(options, first);
        let kept_rows = kept.iter().map(|kept| kept.part.rows).sum();
        self.progress.begin(rows.min(options.limit.unwrap_or(u64::MAX)), kept_rows);
        if let Some(last) = kept.last() {
            self.progress.note(format!(
                "resuming: {} finished {} kept ({} of {} rows, up to page {})",
                kept.len(),
                crate::text::plural(kept.len() as u64, "part"),
                kept_rows,
                first.count(),
                last.part.last_page,
            ));
        }
    }

    fn summary(&self, manifest: &Manifest, bytes: u64, elapsed: Duration) -> Summary {
        let meter = self.client.meter();
        Summary {
            dataset: manifest.dataset,
            output: self.plan.target.to_string(),
            count: manifest.count,
            rows: manifest.rows,
            files: manifest.parts.len() as u64,
            bytes,
            completeness: manifest.completeness,
            digest: manifest.digest.clone(),
            pages: manifest.pages,
            requests: meter.requests(),
            retries: meter.retries(),
            received_bytes: meter.bytes(),
            seconds: elapsed.as_secs_f64(),
        }
    }
}

impl Error {
    /// Adds a hint about the next run, and whether rows were already delivered.
    fn with_kept_parts(self, kept: usize, target: &Target) -> Self {
        match self {
            Self::Interrupted { signal, number, .. } => {
                let hint = match target {
                    _ if kept > 0 => "run the same command again to continue where it stopped",
                    Target::Stdout => "the output is not complete: run the same command again",
                    Target::File(_) => {
                        "nothing was written: run the same command again, or export to a directory \
                         (a path that ends in a slash), which can be resumed"
                    }
                    Target::Directory(_) => "no new part was finished: run the same command again",
                };
                Self::Interrupted { signal, number, hint: Some(hint) }
            }
            Self::Incomplete { seen, .. } => {
                Self::Incomplete { seen, delivered: matches!(target, Target::Stdout) }
            }
            error => error,
        }
    }
}

/// Returns the number of rows on the requested pages, estimated from the first of these pages.
fn rows_of(options: &ExportOptions, first: &Page) -> u64 {
    let page_rows = full_page(first);
    let skipped = (first.number() - 1).saturating_mul(page_rows);
    let end = options.pages.last().map_or(u64::MAX, |last| last.saturating_mul(page_rows));
    first.count().min(end).saturating_sub(skipped)
}

/// Returns the number of rows of a full page, from a page that may be the last and short.
fn full_page(page: &Page) -> u64 {
    let (rows, before) = (page.len() as u64, page.number() - 1);
    match page.count().saturating_sub(rows).checked_div(before) {
        Some(full) if !page.has_next() => full,
        _ => rows,
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tasks::blocking("a file operation", work).await?
}

fn now() -> String {
    clock::text(SystemClock.now())
}
