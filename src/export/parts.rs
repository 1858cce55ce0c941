//! Writes record batches into the parts of an output: opens a part, digests its rows, closes and lists it.
//!
//! The caller decides which rows there are and where a part ends. This module never publishes.

use std::{ops::RangeInclusive, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::progress::Progress;
use crate::{
    batch::BatchSize,
    destination::{Destination, Drafts, PartFile},
    error::{Error, Result},
    location::Target,
    proof::Digest,
    record::{
        facts::{Facts, digest},
        manifest::{Part, PartRows},
    },
    sink::{Encoding, Format, Sink},
    text::grouped,
};

/// How the parts of an output are written.
#[derive(Debug, Clone)]
pub(crate) struct PartsPlan {
    pub(crate) target: Target,
    pub(crate) encoding: Encoding,
    pub(crate) schema: SchemaRef,
    pub(crate) encode_threads: usize,
    /// Whether a manifest lists the parts with their SHA-256.
    pub(crate) has_manifest: bool,
}

/// The parts of an output, the last of which may be open.
pub(crate) struct PartsWriter {
    plan: PartsPlan,
    destination: Destination,
    /// The drafts, if the parts are written as drafts.
    drafts: Option<Drafts>,
    open: Option<OpenPart>,
    parts: Vec<Part>,
    /// The rows of the finished parts.
    rows: PartRows,
    progress: Arc<Progress>,
}

struct OpenPart {
    file: PartFile,
    sink: Box<dyn Sink>,
    /// Rows, including those that the caller has not passed on yet. The digest is that of the rows in the sink.
    rows: PartRows,
}

/// Returns the batch size. It depends only on the format, because it decides the bytes of a file.
pub(crate) fn batch_size(format: Format) -> BatchSize {
    match format {
        Format::Arrow => BatchSize::RECORD_BATCH,
        Format::Parquet => BatchSize::IN_CACHE,
        Format::JsonLines | Format::Csv => BatchSize::SMALL,
    }
}

impl PartsWriter {
    /// `kept` are the parts of an interrupted run.
    pub(crate) fn new(
        plan: PartsPlan,
        destination: Destination,
        kept: Vec<Part>,
        progress: Arc<Progress>,
    ) -> Self {
        let mut rows = PartRows::default();
        for part in &kept {
            rows.join(&PartRows::from(part));
        }
        Self { plan, destination, drafts: None, open: None, parts: kept, rows, progress }
    }

    /// Writes the parts as drafts.
    pub(crate) fn with_drafts(self, drafts: Drafts) -> Self {
        Self { drafts: Some(drafts), ..self }
    }

    pub(crate) fn destination(&mut self) -> &mut Destination {
        &mut self.destination
    }

    /// Returns the destination, and the drafts if the parts are drafts.
    pub(crate) fn into_destination(self) -> (Destination, Option<Drafts>) {
        (self.destination, self.drafts)
    }

    /// Returns the finished parts and their rows.
    pub(crate) fn finished(&mut self) -> (Vec<Part>, PartRows) {
        (std::mem::take(&mut self.parts), std::mem::take(&mut self.rows))
    }

    /// Returns the number of finished parts.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns the rows of the finished parts.
    pub(crate) fn rows(&self) -> &PartRows {
        &self.rows
    }

    /// Returns the rows of the open part, which the caller counts; `None` if no part is open.
    pub(crate) fn open_rows(&mut self) -> Option<&mut PartRows> {
        self.open.as_mut().map(|part| &mut part.rows)
    }

    /// Opens the next part.
    pub(crate) fn open(&mut self) -> Result<()> {
        let PartsPlan { target, encoding, schema, encode_threads, has_manifest } = &self.plan;
        let index = self.parts.len();
        let mut file = match &mut self.drafts {
            Some(drafts) => drafts.create(&mut self.destination, index)?,
            None => self.destination.create(index, encoding.extension())?,
        };
        if *has_manifest {
            file = file.hashed();
        }
        let (schema, output) = (schema.clone(), file.writer());
        let sink = match target {
            Target::Stdout if self.drafts.is_none() => encoding.streaming_sink(schema, output),
            _ => encoding.sink(schema, output, *encode_threads),
        };
        let sink = sink.map_err(|error| file.failure().unwrap_or(error))?;
        let nested_digest = encoding.is_nested().then(Digest::default);
        let rows = PartRows { nested_digest, ..PartRows::default() };
        self.open = Some(OpenPart { file, sink, rows });
        Ok(())
    }

    /// Writes rows of the open part. The caller counts them in [`open_rows`](Self::open_rows).
    pub(crate) fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let own = digest(&batch)?;
        self.write_as(batch, own, None)
    }

    /// Writes rows of the open part that have this digest. `nested` is their digest as they are read back, if their JSON
    /// columns are nested.
    pub(crate) fn write_as(
        &mut self,
        batch: RecordBatch,
        digest: Digest,
        nested: Option<Digest>,
    ) -> Result<()> {
        let Some(part) = &mut self.open else { return Ok(()) };
        let rows = batch.num_rows() as u64;
        part.rows.digest.join(digest, rows);
        if let Some(nested) = nested {
            part.rows.nested_digest.get_or_insert_default().join(nested, rows);
        }
        part.sink.write(batch)
    }

    /// Closes the open part, and returns its entry in the manifest. `facts` gets the number of rows that were read for
    /// earlier parts, and the rows of this one.
    pub(crate) fn close(
        &mut self,
        pages: RangeInclusive<u64>,
        facts: impl FnOnce(u64, &PartRows) -> Facts,
    ) -> Result<Option<Part>> {
        let Some(part) = self.open.take() else { return Ok(None) };
        let rows = part.rows.written;
        let facts = facts(self.rows.read, &part.rows);
        let finished = part.sink.finish(Some(&facts.to_json()?));
        let finished = finished.map_err(|error| part.file.failure().unwrap_or(error))?;
        if finished.rows != rows {
            let text =
                format!("the sink wrote {} of {} rows", grouped(finished.rows), grouped(rows));
            return Err(Error::Internal(text));
        }
        let closed = part.file.close()?;
        self.rows.join(&part.rows);
        let record = Part {
            path: self.destination.part_name(self.parts.len(), self.plan.encoding.extension()),
            first_page: *pages.start(),
            last_page: *pages.end(),
            rows_read: part.rows.read,
            rows,
            failed: part.rows.failed,
            duplicates: part.rows.duplicates,
            replaced: part.rows.replaced,
            bytes: closed.bytes,
            // Without a manifest the record is never read.
            sha256: closed.sha256().unwrap_or_default().to_owned(),
            digest: part.rows.digest.to_string(),
            nested_digest: part.rows.nested_digest.map(|digest| digest.to_string()),
        };
        self.parts.push(record.clone());
        self.progress.set_files(self.parts.len() as u64);
        Ok(Some(record))
    }

    /// Discards the open part after an error. Returns the error of its file, if that was the cause.
    pub(crate) fn abort(&mut self) -> Option<Error> {
        let part = self.open.take()?;
        let failure = part.file.failure();
        part.sink.abort();
        failure
    }
}
