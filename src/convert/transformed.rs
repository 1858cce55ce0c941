//! Reads the rows of an export back through a transformation, as record batches. Writes nothing.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use uuid::Uuid;

use super::{
    block::{BatchBlock, QUEUED_BLOCKS},
    outcome::outcomes,
    source_plan::SourcePlan,
};
use crate::{
    batch::{BatchBuilder, BatchSize, OutputColumn},
    error::{Error, Result},
    export::{TransformedRows, duplicates::Duplicates, output_plan::checked_threads},
    location::Location,
    paginator::StreamOptions,
    readback::ReadOptions,
    record::manifest::Completeness,
    tasks::cores,
    transform::{Shaped, Shaper, Stage, StageLimits, Transform, TransformRecord, keep_missing},
};

/// How often a waiting caller looks whether it is stopped.
const POLL: Duration = Duration::from_millis(50);

/// Iterator over the rows of an export that a transformation keeps, as record batches, in the order of the export.
///
/// It reads what [`Convert`](crate::Convert) reads, with the same checks: the rows of each file are compared with the
/// recorded number and digest, and the last batch comes after the check of its file. Expressions see the fields of the
/// API, but not the computed columns of the export. Splits are refused. A batch ends after 1,000 rows, or with the row
/// that reaches 1 MiB of values. Memory is bounded, as for [`Batches`](crate::Batches). Dropping the iterator ends the
/// reading. After an error it returns no more batches.
///
/// ```no_run
/// use overmind_export::{Location, ReadOptions, Transform, TransformedBatches};
///
/// let transform = Transform::new()
///     .keep_where(".tags.passed == false")
///     .column("turns", "int".parse::<overmind_export::ColumnType>()?, ".input.messages | length");
/// let place = Location::from("rows.parquet");
/// let mut failed = TransformedBatches::open(&place, &ReadOptions::default(), &transform, &[])?;
/// for batch in &mut failed {
///     println!("{} rows", batch?.num_rows());
/// }
/// println!("of {}", failed.totals().rows_read);
/// # Ok::<(), overmind_export::Error>(())
/// ```
pub struct TransformedBatches {
    plan: SourcePlan,
    batch_size: BatchSize,
    threads: usize,
    temp_dir: PathBuf,
    running: Option<RunningRead>,
    totals: TransformedRows,
    has_ended: bool,
}

/// The reading thread, the transformation, and the rows that were not returned yet.
struct RunningRead {
    blocks: Receiver<Result<Option<BatchBlock>>>,
    /// Ends the reader.
    stop: Arc<AtomicBool>,
    /// The next block, which has no room in the transformation yet.
    waiting: Option<BatchBlock>,
    stage: Option<Stage<BatchBlock>>,
    duplicates: Duplicates,
    builder: BatchBuilder,
    ready: VecDeque<RecordBatch>,
    /// What no row so far gave to the expressions.
    missing: Option<Vec<String>>,
    has_read_all: bool,
}

impl Drop for RunningRead {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

impl TransformedBatches {
    /// Opens an export, and checks the transformation and the columns against it. Blocks.
    ///
    /// `options.columns` names all columns of the batches, in this order; if there are none, they are the columns of the
    /// export, and then the computed ones. `drop` names columns to leave out. Set `options.stop` from another thread to
    /// end the iteration with [`Error::Interrupted`].
    ///
    /// # Errors
    /// [`Error::Expression`], [`Error::Invalid`] or [`Error::Usage`] for the first wrong option. [`Error::Io`] or
    /// [`Error::Store`] when the export does not exist or cannot be read, [`Error::Damaged`] when it is not an export, or
    /// does not match its record, [`Error::ChangedCells`] when it is CSV with protected cells.
    pub fn open(
        location: &Location,
        options: &ReadOptions,
        transform: &Transform,
        drop: &[String],
    ) -> Result<Self> {
        let shaper = Shaper::compile(transform)?.map(Arc::new);
        shaper.as_deref().map_or(Ok(()), Shaper::require_no_splits)?;
        let names = Some(options.columns.as_slice()).filter(|names| !names.is_empty());
        // The checks need the whole rows.
        let read = ReadOptions { columns: Vec::new(), ..options.clone() };
        let plan = SourcePlan::open(location, read, (names, drop), shaper)?;
        Ok(Self::of(plan, cores(), &std::env::temp_dir()))
    }

    /// Reads the rows of a plan. `temp_dir` is the folder where ids are sorted.
    pub(super) fn of(plan: SourcePlan, threads: usize, temp_dir: &Path) -> Self {
        let temp_dir = temp_dir.to_owned();
        let (batch_size, totals) = (BatchSize::SMALL, TransformedRows::default());
        Self { plan, batch_size, threads, temp_dir, running: None, totals, has_ended: false }
    }

    /// Sets the number of threads that transform rows, from 1 to 256; default one for each core, but at most 16. Any
    /// number gives the same rows.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number.
    pub fn threads(mut self, threads: usize) -> Result<Self> {
        self.threads = checked_threads(threads)?;
        Ok(self)
    }

    /// Sets the number of rows of a batch.
    #[cfg(feature = "cli")]
    pub(crate) fn batches_of(mut self, rows: usize) -> Self {
        self.batch_size.rows = rows;
        self
    }

    /// Returns the columns of the batches, in their order.
    pub fn columns(&self) -> impl Iterator<Item = &OutputColumn> {
        self.plan.columns()
    }

    /// Returns the schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        BatchBuilder::new(&self.plan.columns, self.batch_size).schema()
    }

    /// Returns how rows are chosen and changed, for records; `None` if all are returned as they are.
    pub fn record(&self) -> Option<&TransformRecord> {
        self.plan.shaper.as_deref().map(|shaper| shaper.recorded())
    }

    /// Returns the number of rows of the export; `None` if it does not say it.
    pub fn source_rows(&self) -> Option<u64> {
        self.plan.source.rows
    }

    /// Returns the dataset; `None` if the export does not say it.
    pub fn dataset(&self) -> Option<Uuid> {
        self.plan.source.origin.dataset
    }

    /// Returns the number of rows of the dataset, as the API said; `None` if the export does not say it.
    pub fn count(&self) -> Option<u64> {
        self.plan.source.origin.count
    }

    /// Returns whether the export states that every row of the dataset was read.
    pub fn completeness(&self) -> Completeness {
        self.plan.source.origin.completeness()
    }

    /// Returns the numbers of the rows so far, also of those that were read ahead. After the last batch, they are those
    /// of the whole export.
    pub fn totals(&self) -> &TransformedRows {
        &self.totals
    }

    fn start(&self) -> Result<RunningRead> {
        let mut reader = self.plan.reader(false, self.temp_dir.clone());
        let stop = Arc::<AtomicBool>::default();
        reader.options.stop = stop.clone();
        let (sender, blocks) = mpsc::sync_channel(QUEUED_BLOCKS);
        let reading = std::thread::Builder::new().name("reader".to_owned());
        let spawned = reading.spawn(move || {
            let read = reader.read(|block| match sender.send(Ok(Some(block))) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            });
            // Sending fails only if the iterator was dropped.
            drop(sender.send(read.map(|_| None)));
        });
        spawned.map_err(Error::no_thread)?;
        let bytes = StreamOptions::default().prefetch_bytes;
        let limits = StageLimits { threads: self.threads, bytes, hash_key: None };
        let stage = self.plan.shaper.clone().map(|shaper| Stage::start(shaper, limits));
        Ok(RunningRead {
            blocks,
            stop,
            waiting: None,
            stage: stage.transpose()?,
            duplicates: Duplicates::new(self.temp_dir.clone()),
            builder: BatchBuilder::new(&self.plan.columns, self.batch_size),
            ready: VecDeque::new(),
            missing: None,
            has_read_all: false,
        })
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        if self.running.is_none() {
            let paths = self.record().map_or(0, TransformRecord::replaced_paths);
            self.totals.replaced_rows = vec![0; paths];
            self.running = Some(self.start()?);
        }
        let Some(running) = &mut self.running else { return Ok(None) };
        loop {
            if let Some(batch) = running.ready.pop_front() {
                return Ok(Some(batch));
            }
            if !running.step(&self.plan.read, &mut self.totals)? {
                break;
            }
        }
        let last = running.builder.finish()?;
        if last.is_none()
            && let Some(shaper) = &self.plan.shaper
        {
            let TransformedRows { written, replaced_rows, missing, .. } = &self.totals;
            shaper.check_replaced(written.rows, replaced_rows, missing)?;
        }
        Ok(last)
    }
}

impl Iterator for TransformedBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let batch = self.batch().transpose();
        if !matches!(batch, Some(Ok(_))) {
            (self.has_ended, self.running) = (true, None);
        }
        batch
    }
}

impl std::fmt::Debug for TransformedBatches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.source_rows();
        f.debug_struct("TransformedBatches").field("source_rows", &rows).finish_non_exhaustive()
    }
}

impl RunningRead {
    /// Reads the next block, or takes the oldest one that is transformed. Returns whether there was one.
    fn step(&mut self, read: &ReadOptions, totals: &mut TransformedRows) -> Result<bool> {
        if self.waiting.is_none() && !self.has_read_all {
            self.waiting = self.next_block(read)?;
            self.has_read_all = self.waiting.is_none();
        }
        match (&mut self.stage, self.waiting.take()) {
            (None, None) => return Ok(false),
            (None, Some(block)) => self.add(&block, None, totals)?,
            (Some(stage), Some(block)) if stage.has_room(&block) => stage.submit(block),
            (Some(stage), waiting) => {
                self.waiting = waiting;
                if stage.is_empty() {
                    return Ok(false);
                }
                let Some(mut shaped) = stage.take(|| read.go_on().is_err())? else {
                    return read.go_on().map(|()| false);
                };
                self.duplicates.decide(&mut shaped)?;
                self.add(&shaped.block, Some(&shaped), totals)?;
            }
        }
        Ok(true)
    }

    /// Waits for the next block; `None` after the last.
    fn next_block(&self, read: &ReadOptions) -> Result<Option<BatchBlock>> {
        loop {
            read.go_on()?;
            match self.blocks.recv_timeout(POLL) {
                Ok(block) => return block,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Internal("the reader ended early".to_owned()));
                }
            }
        }
    }

    /// Adds the rows of a block that are kept.
    fn add(
        &mut self,
        block: &BatchBlock,
        shaped: Option<&Shaped<BatchBlock>>,
        totals: &mut TransformedRows,
    ) -> Result<()> {
        let computed: &[ArrayRef] = shaped.map_or(&[], |shaped| &shaped.columns);
        for outcome in outcomes(block, shaped) {
            totals.rows_read += 1;
            totals.written.rows += outcome.lines as u64;
            totals.duplicate_rows += u64::from(outcome.is_duplicate);
            totals.failed_rows += u64::from(outcome.has_failed);
            if let Some(edited) = outcome.edited {
                edited.count_paths(&mut totals.replaced_rows);
            }
            let edited = outcome.edited_row(block);
            for line in 0..outcome.lines {
                outcome.push(&mut self.builder, block, (computed, line), edited.as_ref())?;
                if self.builder.is_full() {
                    self.ready.extend(self.builder.finish()?);
                }
            }
        }
        if let Some(shaped) = shaped {
            keep_missing(&mut self.missing, &shaped.missing);
            totals.missing = self.missing.clone().unwrap_or_default();
        }
        Ok(())
    }
}
