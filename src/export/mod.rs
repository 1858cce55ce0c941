//! One export from its first request to its publication: stream → batches → sink → manifest.
//!
//! ```text
//! page 1 ─► plan known ─► lock, resume ─► pages ══► writer (a thread) ─► proof ─► publish
//!                                          └──────────── moved? sweep again ◄──┘
//! ```
//!
//! Nothing is published before the proof holds. Knows nothing of arguments or terminals.

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

/// How long a run that was told to stop waits for what it is in the middle of: for the writer, and
/// once more for tidying up.
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

/// What an export came to.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The dataset.
    pub dataset: uuid::Uuid,
    /// Where it went, as it was asked for.
    pub output: String,
    /// Rows of the dataset, as the API says.
    pub count: u64,
    /// Rows written.
    pub rows: u64,
    /// Files written.
    pub files: u64,
    /// Bytes written, after compression.
    pub bytes: u64,
    /// Whether every row of the dataset is there once: proven, or not claimed.
    pub completeness: Completeness,
    /// A digest of the rows' content, equal for equal content in any format.
    pub digest: String,
    /// Pages read, those of parts that were kept included.
    pub pages: u64,
    /// Requests sent for this export, retries included.
    pub requests: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Bytes of pages received for this export, after decompression.
    pub received_bytes: u64,
    /// Seconds from the first request to the publication.
    pub seconds: f64,
}

/// What an export would do.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DryRun {
    /// The dataset.
    pub dataset: uuid::Uuid,
    /// Where it would go.
    pub output: String,
    /// Rows of the dataset, as the API says.
    pub count: u64,
    /// Rows that would be written.
    pub rows: u64,
    /// Rows that a page really holds.
    pub page_size: u64,
    /// Requests that it would take, if none fails.
    pub requests: u64,
}

impl Export {
    /// An export of this plan through this client.
    pub fn new(client: Client, plan: ExportPlan) -> Self {
        // The client may have done other things, and may do some while this runs.
        Self { client: client.metered(), plan, progress: Arc::default() }
    }

    /// The counters of this export, to be read while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Asks for one page and says what the export would do; writes nothing.
    ///
    /// # Errors
    /// As [`run`](Self::run), as far as it goes.
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
    /// Must run within a tokio runtime. Dropped, it ends, and lets go of its lock, when the runtime
    /// runs next.
    ///
    /// # Errors
    /// Nothing was published then.
    /// - As [`Client::datapoints`]: of the API, its pages and what they prove.
    /// - [`Error::Output`]: the output exists, or cannot be made.
    /// - [`Error::Locked`], [`Error::LockLost`]: another run writes it, or took its lock.
    /// - [`Error::Io`], [`Error::Store`]: reading or writing failed.
    /// - [`Error::OutputClosed`]: who read standard output has had enough.
    /// - [`Error::Encode`], [`Error::Internal`]: a bug.
    pub async fn run(self) -> Result<Summary> {
        self.run_until(std::future::pending()).await
    }

    /// Runs the export to its end, or until `stop` gives the error to end with. Parts that are
    /// finished by then are kept for a run that continues this one.
    ///
    /// # Errors
    /// What `stop` gave, or as [`run`](Self::run); nothing was published then, with one exception: if
    /// `stop` comes while the export is being published, which takes more than 5 s longer (a store that
    /// does not answer), this returns without waiting for it. A thread then still publishes, and holds
    /// the lock, until it has come to its end or the process ends; what it leaves is as after a kill.
    pub async fn run_until(self, stop: impl Future<Output = Error>) -> Result<Summary> {
        self.run_unless(|_| false, stop).await.map(|(summary, _)| summary)
    }

    /// As [`run_until`](Self::run_until), but publishes nothing, and keeps nothing, if the content
    /// turns out to have a digest that is known already. Says whether it was.
    pub(crate) async fn run_unless(
        self,
        known: impl Fn(&str) -> bool,
        stop: impl Future<Output = Error>,
    ) -> Result<(Summary, bool)> {
        let begun = Instant::now();
        let started_at = now();
        let mut stop = pin!(stop);
        let wanted = self.plan.wanted();
        // Before page 1, so that a place that cannot be written costs no request.
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
                            // It was as good as there.
                            Ok(published) => published?,
                            Err(_) => return Err(self.stopped(error, manifest.parts.len())),
                        },
                    }
                    return Ok((self.summary(&manifest, bytes, begun.elapsed()), false));
                }
                Err(error) => error,
            };
            let moved = matches!(error, Error::Incomplete { .. });
            // Parts of rows that moved, or that are not in order, are of no use to a later run.
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

    /// What ended the run, with what the next one will find.
    fn stopped(&self, error: Error, parts: usize) -> Error {
        let kept = if matches!(self.plan.target, Target::Directory(_)) { parts } else { 0 };
        error.with_kept_parts(kept, &self.plan.target)
    }

    /// Reads everything once and stages it; the caller publishes.
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
        // A task: what wakes the future that a runtime was given to run, which this may be part of, is
        // another thread's work or a look at all sockets, for every page.
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
                // A store that does not answer keeps nobody who wants to go: the next run tidies up.
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

    /// Takes the lock, and what an interrupted run left: reading that again can take long.
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
                "continuing: {} finished {} kept ({} of {} rows, up to page {})",
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
    /// Says what the next run will find, and what has left already.
    fn with_kept_parts(self, kept: usize, target: &Target) -> Self {
        match self {
            Self::Interrupted { signal, number, .. } => {
                let hint = match target {
                    _ if kept > 0 => "run the same command again to continue where it stopped",
                    Target::Stdout => "the output is not complete: run the same command again",
                    Target::File(_) => {
                        "nothing was written: a single file starts over; export to a directory \
                         (a path that ends in a slash) to be able to continue"
                    }
                    Target::Directory(_) => "nothing new was finished: run the same command again",
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

/// Rows of the pages that are asked for, going by the first of them.
fn rows_of(options: &ExportOptions, first: &Page) -> u64 {
    let page_rows = full_page(first);
    let skipped = (first.number() - 1).saturating_mul(page_rows);
    let end = options.pages.last().map_or(u64::MAX, |last| last.saturating_mul(page_rows));
    first.count().min(end).saturating_sub(skipped)
}

/// Rows of a full page: what the page holds, unless it is the last, which may be short.
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
