//! Writes the rows of a stream of pages that a transformation keeps into one sink, without a plan of an export.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use futures::Stream;
use tokio::sync::mpsc;

use super::{
    blocking,
    columns::output_columns,
    duplicates::Duplicates,
    handover::{QUEUED_BATCHES, WriterMessage, forward},
    output_plan::checked_threads,
    shaping::{
        InterruptOnDrop, WriterInterrupt, computed_columns, ended_early, kept_rows, shape_pages,
    },
};
use crate::{
    batch::{BatchBuilder, BatchColumn, BatchSize, Column, OutputColumn},
    client::Page,
    error::Result,
    paginator::StreamOptions,
    record::manifest::add_replaced,
    sink::{Sink, Written},
    tasks::cores,
    transform::{Shaped, Shaper, Stage, StageLimits, Transform, TransformRecord, keep_missing},
};

/// A checked transformation and the columns of its output, for [`write_transformed`] and
/// [`explain_rows`](crate::explain_rows). Only the latter knows splits.
#[derive(Debug, Clone)]
pub struct TransformPlan {
    /// `None` if all rows are written as they are.
    shaper: Option<Arc<Shaper>>,
    columns: Vec<BatchColumn>,
    batch_size: BatchSize,
    limits: StageLimits,
}

impl TransformPlan {
    /// Checks the options, compiles the expressions, reads the key of pseudonyms and chooses the columns. Sends nothing.
    ///
    /// `columns` names all columns of the output, in their order. With `None`, the output has the columns of the API,
    /// and then the computed ones. `drop` names the columns that the output does not have.
    ///
    /// # Errors
    /// [`Error::Expression`](crate::Error::Expression), [`Error::Invalid`](crate::Error::Invalid) or
    /// [`Error::Usage`](crate::Error::Usage) for the first wrong option, and
    /// [`Error::ConfigurationFile`](crate::Error::ConfigurationFile) for a key of pseudonyms that cannot be used.
    pub fn new(transform: &Transform, columns: Option<&[String]>, drop: &[String]) -> Result<Self> {
        let shaper = Shaper::compile(transform)?.map(Arc::new);
        let columns = output_columns(columns, drop, shaper.as_deref())?;
        Ok(Self::with(shaper, columns))
    }

    /// Returns the plan that changes nothing, with these columns of the API.
    pub(super) fn of_api(columns: &[Column]) -> Self {
        Self::with(None, columns.iter().copied().map(BatchColumn::from).collect())
    }

    fn with(shaper: Option<Arc<Shaper>>, columns: Vec<BatchColumn>) -> Self {
        let bytes = StreamOptions::default().prefetch_bytes;
        let limits = StageLimits { threads: cores(), bytes, hash_key: None };
        Self { shaper, columns, batch_size: BatchSize::RECORD_BATCH, limits }
    }

    /// Sets the number of rows of a batch.
    #[cfg(feature = "cli")]
    pub(crate) fn batches_of(mut self, rows: usize) -> Self {
        self.batch_size.rows = rows;
        self
    }

    /// Sets the number of threads that transform rows, from 1 to 256; default one for each core, but at most 16. Any
    /// number gives the same rows.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for another number.
    pub fn threads(mut self, threads: usize) -> Result<Self> {
        self.limits.threads = checked_threads(threads)?;
        Ok(self)
    }

    /// Returns the columns, in the order of the output.
    pub fn columns(&self) -> impl Iterator<Item = &OutputColumn> {
        self.columns.iter().map(|it| &it.column)
    }

    /// Returns the schema of the record batches.
    pub fn schema(&self) -> SchemaRef {
        BatchBuilder::new(&self.columns, self.batch_size).schema()
    }

    /// Returns the compiled transformation.
    pub(super) fn shaper(&self) -> Option<Arc<Shaper>> {
        self.shaper.clone()
    }

    pub(super) fn limits(&self) -> StageLimits {
        self.limits
    }

    /// Returns how rows are chosen and changed, for records; `None` if all are written as they are.
    pub fn record(&self) -> Option<&TransformRecord> {
        self.shaper.as_deref().map(Shaper::recorded)
    }
}

/// What [`write_transformed`] or [`TransformedBatches`](crate::TransformedBatches) has read and written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TransformedRows {
    /// Number of rows of the pages, or of the export.
    pub rows_read: u64,
    /// Number of rows on which an expression failed. They were left out, or have null in a computed column.
    pub failed_rows: u64,
    /// Number of rows that were left out because they equal an earlier one.
    pub duplicate_rows: u64,
    /// Number of rows in which each path of the transformation has replaced a value: the paths of
    /// [`mask`](TransformRecord::mask), then those of [`pseudonymise`](TransformRecord::pseudonymise), in their order.
    pub replaced_rows: Vec<u64>,
    /// What no row gave to the expressions, as in [`Part::missing`](crate::Part::missing).
    pub missing: Vec<String>,
    /// What the sink has written: the rows that were kept. Batches that are returned have no bytes.
    pub written: Written,
}

/// Writes the rows of a stream of pages that a transformation keeps into a sink, which may be your own implementation.
///
/// The sink gets the batches in the order of the rows. They are as large as those of
/// [`write_pages`](crate::write_pages), and are cut after the transformation. Pages that are being transformed take 8
/// MiB in addition to those of the stream; a single page may be larger. Dropping the future stops the transformation,
/// also one whose expression does not end, and aborts the sink.
///
/// Whether the rows are all rows of the dataset is proven by the stream, over the rows that were read.
///
/// # Errors
/// The first error of the stream, of an expression or of the sink, and
/// [`Error::UnmatchedPath`](crate::Error::UnmatchedPath) after the last row. [`Error::Usage`](crate::Error::Usage) for a
/// plan with splits, before anything is read. The sink is then aborted once, unless its [`finish`](Sink::finish) failed.
///
/// ```
/// use overmind_export::{
///     Client, Encoding, Format, Transform, TransformPlan, demo, write_transformed,
/// };
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dataset = demo::Dataset::generated(300, 7);
/// # let id = dataset.id;
/// # let server = demo::Server::start(demo::Options::default(), vec![dataset]).await?;
/// # let client = Client::builder().base_url(server.url()).api_key("demo").build()?;
/// let transform = Transform::new().keep_where(".persona != null").column("topic", None, ".tags.topic?");
/// let plan = TransformPlan::new(&transform, None, &["tags".to_owned()])?;
/// let sink = Encoding::from(Format::JsonLines).sink(plan.schema(), Box::new(std::io::sink()), 1)?;
/// let done = write_transformed(client.dataset(id).pages(), &plan, sink).await?;
/// assert_eq!(done.rows_read, 300);
/// assert!(done.written.rows < 300);
/// # Ok(())
/// # }
/// ```
pub async fn write_transformed(
    mut pages: impl Stream<Item = Result<Page>> + Unpin,
    plan: &TransformPlan,
    sink: Box<dyn Sink>,
) -> Result<TransformedRows> {
    if let Err(error) = plan.shaper.as_deref().map_or(Ok(()), Shaper::require_no_splits) {
        sink.abort();
        return Err(error);
    }
    let (sender, receiver) = mpsc::channel(QUEUED_BATCHES);
    let interrupt = InterruptOnDrop::default();
    let mut writer = SinkWriter {
        builder: BatchBuilder::new(&plan.columns, plan.batch_size),
        sink,
        rows_read: 0,
        rows: 0,
        failed_rows: 0,
        duplicate_rows: 0,
        replaced: vec![0; plan.record().map_or(0, TransformRecord::replaced_paths)],
        missing: None,
    };
    let (plan, interrupted) = (plan.clone(), interrupt.0.clone());
    let writing = blocking(move || match writer.run(&plan, receiver, &interrupted) {
        Ok(()) => writer.finish(),
        Err(error) => {
            writer.sink.abort();
            Err(error)
        }
    });
    let forwarding = async {
        let forwarded = forward(&mut pages, sender).await;
        if forwarded.is_err() {
            interrupt.0.set();
        }
        forwarded
    };
    let (forwarded, written) = futures::join!(forwarding, writing);
    forwarded.and(written)
}

/// Writes pages into a sink, and counts their rows.
struct SinkWriter {
    builder: BatchBuilder,
    sink: Box<dyn Sink>,
    rows_read: u64,
    /// Number of rows that were kept.
    rows: u64,
    failed_rows: u64,
    duplicate_rows: u64,
    replaced: Vec<u64>,
    /// What no row so far gave to the expressions.
    missing: Option<Vec<String>>,
}

impl SinkWriter {
    /// Writes the pages until the end message, the last batch included.
    fn run(
        &mut self,
        plan: &TransformPlan,
        mut messages: mpsc::Receiver<WriterMessage>,
        interrupt: &WriterInterrupt,
    ) -> Result<()> {
        let is_whole = match &plan.shaper {
            Some(shaper) => {
                let stage = Stage::start(shaper.clone(), plan.limits)?;
                let mut duplicates = Duplicates::new(std::env::temp_dir());
                let mut write = |mut shaped: Shaped<Page>| {
                    duplicates.decide(&mut shaped)?;
                    self.page(&shaped.block, Some(&shaped))
                };
                shape_pages(&mut messages, stage, interrupt, &mut write)?
            }
            None => loop {
                match messages.blocking_recv() {
                    Some(WriterMessage::Pages(pages)) => {
                        pages.iter().try_for_each(|page| self.page(page, None))?;
                    }
                    end => break end.is_some(),
                }
            },
        };
        if !is_whole {
            return Err(ended_early());
        }
        self.flush()?;
        match &plan.shaper {
            Some(shaper) => {
                let missing = self.missing.as_deref().unwrap_or_default();
                shaper.check_replaced(self.rows, &self.replaced, missing)
            }
            None => Ok(()),
        }
    }

    /// Writes the rows of a page: all, or those that the transformation keeps.
    fn page(&mut self, page: &Page, shaped: Option<&Shaped<Page>>) -> Result<()> {
        let columns = computed_columns(shaped);
        for (index, row) in kept_rows(page, shaped) {
            self.builder.push(&row, (columns, index))?;
            self.rows += 1;
            if self.builder.is_full() {
                self.flush()?;
            }
        }
        self.rows_read += page.len() as u64;
        if let Some(shaped) = shaped {
            self.failed_rows += shaped.failed.len() as u64;
            self.duplicate_rows += shaped.duplicate_rows();
            for replaced in &shaped.replaced {
                add_replaced(&mut self.replaced, replaced);
            }
            keep_missing(&mut self.missing, &shaped.missing);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.builder.finish()?.map_or(Ok(()), |batch| self.sink.write(batch))
    }

    fn finish(self) -> Result<TransformedRows> {
        // There are no facts of an export: the pages may come from anywhere.
        let written = self.sink.finish(None)?;
        Ok(TransformedRows {
            rows_read: self.rows_read,
            failed_rows: self.failed_rows,
            duplicate_rows: self.duplicate_rows,
            replaced_rows: self.replaced,
            missing: self.missing.unwrap_or_default(),
            written,
        })
    }
}
