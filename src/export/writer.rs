//! The blocking half of an export: it writes pages to files, on its own thread.
//!
//! Parts end on page boundaries, by rows and by bytes of values. A part therefore depends only on its pages. A
//! transformation chooses the rows of a page and computes columns before the batches are built. The proof does not see
//! it: it counts every row that was read. This module never publishes.

use std::{io::Write, sync::Arc};

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    batch::{BatchBuilder, BatchSize},
    client::Page,
    destination::{Destination, KeptPart, PartFile},
    error::{Error, Result},
    export::{
        handover::WriterMessage,
        plan::{BYTES_PER_FILE, ExportPlan},
        progress::Progress,
        shaping::{WriterInterrupt, computed_columns, ended_early, kept_rows, shape_pages},
    },
    location::Target,
    record::{
        facts::digest,
        manifest::{Part, PartRows, add_replaced},
    },
    sink::{Format, Sink},
    text::grouped,
    transform::{Shaped, Stage, StageLimits},
};

/// The staged output.
pub(super) struct Finished {
    pub(super) rows: PartRows,
    pub(super) pages: u64,
    pub(super) parts: Vec<Part>,
}

pub(super) struct Writer {
    plan: ExportPlan,
    count: u64,
    destination: Destination,
    builder: BatchBuilder,
    open: Option<OpenPart>,
    parts: Vec<Part>,
    /// The rows of the finished parts.
    rows: PartRows,
    progress: Arc<Progress>,
    is_interrupted: WriterInterrupt,
}

struct OpenPart {
    file: PartFile,
    ids: Option<PartFile>,
    sink: Box<dyn Sink>,
    first_page: u64,
    last_page: u64,
    has_next: bool,
    last_order: Option<i64>,
    /// Rows, including those still in the builder. The digest is that of the rows in the sink.
    rows: PartRows,
    /// Bytes of values, including those still in the builder.
    bytes: u64,
}

/// A part also ends when this many times the rows of a full part were read for it. Otherwise, a run whose
/// transformation keeps few rows would finish no part for a later run to keep.
const READ_FOR_A_PART: u64 = 4;

/// Returns the batch size. It depends only on the format, because it decides the bytes of a file.
fn batch_size(format: Format) -> BatchSize {
    match format {
        Format::Arrow => BatchSize::RECORD_BATCH,
        Format::Parquet => BatchSize::IN_CACHE,
        Format::JsonLines | Format::Csv => BatchSize::SMALL,
    }
}

impl Writer {
    pub(super) fn new(
        plan: ExportPlan,
        count: u64,
        destination: Destination,
        kept: Vec<KeptPart>,
        progress: Arc<Progress>,
    ) -> Self {
        let parts: Vec<Part> = kept.into_iter().map(|kept| kept.part).collect();
        let mut rows = PartRows::default();
        for part in &parts {
            rows.join(&PartRows::from(part));
        }
        Self {
            count,
            destination,
            builder: BatchBuilder::new(&plan.columns, batch_size(plan.encoding.format())),
            plan,
            open: None,
            rows,
            parts,
            progress,
            is_interrupted: WriterInterrupt::default(),
        }
    }

    pub(super) fn interrupt(&self) -> WriterInterrupt {
        self.is_interrupted.clone()
    }

    pub(super) fn into_destination(self) -> Destination {
        self.destination
    }

    /// Writes the pages until the end message. If the channel closes without it, returns an error.
    pub(super) fn run(&mut self, mut messages: mpsc::Receiver<WriterMessage>) -> Result<Finished> {
        let result = self.write(&mut messages);
        if result.is_err()
            && let Some(part) = self.open.take()
        {
            let failure = part.file.failure();
            part.sink.abort();
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        result
    }

    fn write(&mut self, messages: &mut mpsc::Receiver<WriterMessage>) -> Result<Finished> {
        if let Some(shaper) = self.plan.shaper.clone() {
            let bytes = self.plan.options.prefetch_bytes;
            let limits = StageLimits { threads: self.plan.encode_threads, bytes };
            let (stage, interrupt) = (Stage::start(shaper, limits)?, self.is_interrupted.clone());
            let mut write = |shaped: Shaped<Page>| self.page(&shaped.block, Some(&shaped));
            return match shape_pages(messages, stage, &interrupt, &mut write)? {
                true => self.finish(),
                false => Err(ended_early()),
            };
        }
        while let Some(message) = messages.blocking_recv() {
            match message {
                WriterMessage::Pages(pages) => {
                    for page in pages {
                        self.page(&page, None)?;
                    }
                }
                WriterMessage::End => return self.finish(),
            }
        }
        Err(ended_early())
    }

    /// Writes the rows of a page: all, or those that the transformation keeps.
    fn page(&mut self, page: &Page, shaped: Option<&Shaped<Page>>) -> Result<()> {
        if self.open.is_none() {
            self.open_part(page.number())?;
        }
        let before = self.builder.pushed_bytes();
        let (mut written, columns) = (0, computed_columns(shaped));
        for (index, row) in kept_rows(page, shaped) {
            self.builder.push(&row, (columns, index))?;
            written += 1;
            if self.builder.is_full() {
                self.flush()?;
            }
        }
        self.progress.add_rows(page.len() as u64);
        let pushed = self.builder.pushed_bytes() - before;
        let Some(part) = &mut self.open else { return Ok(()) };
        if let Some(file) = &mut part.ids {
            let ids: Vec<u8> = page.ids().flat_map(Uuid::into_bytes).collect();
            // Closing the file reports the error.
            drop(file.write_all(&ids));
        }
        part.last_page = page.number();
        part.has_next = page.has_next();
        part.last_order = page.last_order();
        part.rows.read += page.len() as u64;
        part.rows.written += written;
        if let Some(shaped) = shaped {
            part.rows.failed += shaped.failed;
            add_replaced(&mut part.rows.replaced, &shaped.replaced);
        }
        part.bytes += pushed;
        let most_read = self.plan.rows_per_file.saturating_mul(READ_FOR_A_PART);
        let full = part.rows.written >= self.plan.rows_per_file
            || part.rows.read >= most_read
            || part.bytes >= BYTES_PER_FILE;
        // Close the last part now, while the ids are counted.
        if full && matches!(self.plan.target, Target::Directory(_)) || page.ends_stream() {
            self.close_part()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Finished> {
        // A dataset without rows also gets a file, with the schema.
        if self.open.is_none() && self.parts.is_empty() {
            self.open_part(self.plan.options.pages.first())?;
        }
        self.close_part()?;
        if let Some(shaper) = &self.plan.shaper {
            shaper.check_replaced(self.rows.written, &self.rows.replaced)?;
        }
        let pages = self.parts.iter().map(|part| part.last_page - part.first_page + 1).sum();
        let parts = std::mem::take(&mut self.parts);
        Ok(Finished { rows: self.rows.clone(), pages, parts })
    }

    fn open_part(&mut self, page: u64) -> Result<()> {
        let index = self.parts.len();
        let encoding = self.plan.encoding;
        let mut file = self.destination.create(index, encoding.extension())?;
        if self.plan.has_manifest() {
            file = file.hashed();
        }
        let ids = self.destination.create_ids(index, encoding.extension())?;
        let (schema, output) = (self.builder.schema(), file.writer());
        let sink = match self.plan.target {
            Target::Stdout => encoding.streaming_sink(schema, output),
            _ => encoding.sink(schema, output, self.plan.encode_threads),
        };
        let sink = sink.map_err(|error| file.failure().unwrap_or(error))?;
        self.open = Some(OpenPart {
            file,
            ids,
            sink,
            first_page: page,
            last_page: page,
            has_next: false,
            last_order: None,
            rows: PartRows { replaced: vec![0; self.plan.replaced_paths()], ..PartRows::default() },
            bytes: 0,
        });
        Ok(())
    }

    /// Passes the builder's rows to the sink.
    fn flush(&mut self) -> Result<()> {
        let (Some(batch), Some(part)) = (self.builder.finish()?, &mut self.open) else {
            return Ok(());
        };
        let rows = batch.num_rows() as u64;
        part.rows.digest.join(digest(&batch)?, rows);
        part.sink.write(batch)
    }

    fn close_part(&mut self) -> Result<()> {
        self.flush()?;
        let Some(part) = self.open.take() else { return Ok(()) };
        let rows = part.rows.written;
        let facts = self.plan.facts(self.count, self.rows.read, &part.rows);
        let finished = part.sink.finish(Some(&facts.to_json()?));
        let finished = finished.map_err(|error| part.file.failure().unwrap_or(error))?;
        if finished.rows != rows {
            let text =
                format!("the sink wrote {} of {} rows", grouped(finished.rows), grouped(rows));
            return Err(Error::Internal(text));
        }
        let closed = part.file.close()?;
        if let Some(ids) = &part.ids {
            ids.close()?;
        }
        self.rows.join(&part.rows);
        let record = Part {
            path: self.destination.part_name(self.parts.len(), self.plan.encoding.extension()),
            first_page: part.first_page,
            last_page: part.last_page,
            rows_read: part.rows.read,
            rows,
            failed: part.rows.failed,
            replaced: part.rows.replaced,
            bytes: closed.bytes,
            // Without a manifest the record is never read.
            sha256: closed.sha256().unwrap_or_default().to_owned(),
            digest: part.rows.digest.to_string(),
        };
        // A page that the limit has cut would look short to the proof of a later run.
        if self.plan.options.limit.is_none_or(|limit| self.rows.read < limit) {
            self.destination.keep(&record, part.has_next, part.last_order)?;
        }
        self.parts.push(record);
        self.progress.set_files(self.parts.len() as u64);
        Ok(())
    }
}
