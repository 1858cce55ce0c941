//! Writes record batches into the parts of an output: opens a part, digests its rows, closes and lists it.
//!
//! With splits, each group of pages has a part for each split, and the parts of a group are open at the same time. Without
//! them, each group has one part.
//!
//! The caller decides which rows there are and where a part ends. This module never publishes.

use std::{ops::RangeInclusive, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::{encoder::EncodedBatch, progress::Progress};
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
    /// The names and the fractions of the splits. Empty if the rows are not split.
    pub(crate) splits: Vec<(String, f64)>,
}

impl PartsPlan {
    /// Returns the number of parts of a group.
    pub(crate) fn width(&self) -> usize {
        self.splits.len().max(1)
    }

    /// Returns the number of threads that encode the part of a split: the larger the split is, the more.
    fn threads(&self, split: usize) -> usize {
        let share = self.splits.get(split).map_or(1.0, |(_, fraction)| *fraction);
        ((self.encode_threads as f64 * share).ceil() as usize).clamp(1, self.encode_threads.max(1))
    }
}

/// The parts of an output, the last group of which may be open.
pub(crate) struct PartsWriter {
    plan: PartsPlan,
    destination: Destination,
    /// The drafts, if the parts are written as drafts.
    drafts: Option<Drafts>,
    /// The parts of a group of pages; empty if none is open.
    open: Vec<OpenPart>,
    /// The finished parts, group by group.
    parts: Vec<Part>,
    /// The rows of the finished parts, without a digest: it is that of the rows in the order of the record.
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
        let rows = rows_of_groups(&kept, plan.width());
        Self { plan, destination, drafts: None, open: Vec::new(), parts: kept, rows, progress }
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

    /// Returns the finished parts and their rows. All parts of a split come before those of the next one, so that the
    /// digest does not depend on the sizes of the parts.
    pub(crate) fn finished(&mut self) -> (Vec<Part>, PartRows) {
        let parts = std::mem::take(&mut self.parts);
        in_order_of_record(&parts, self.plan.width(), std::mem::take(&mut self.rows))
    }

    /// Returns the number of finished parts.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns the rows of the finished parts. They have no digest.
    pub(crate) fn rows(&self) -> &PartRows {
        &self.rows
    }

    /// Returns the rows of the open parts, one for each split, which the caller counts. The rows that were read count for
    /// each of them. Empty if no part is open.
    pub(crate) fn open_rows(&mut self) -> impl Iterator<Item = &mut PartRows> {
        self.open.iter_mut().map(|part| &mut part.rows)
    }

    /// Opens the next group of parts.
    pub(crate) fn open(&mut self) -> Result<()> {
        for split in 0..self.plan.width() {
            let PartsPlan { target, encoding, schema, has_manifest, .. } = &self.plan;
            let index = self.parts.len() + split;
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
                _ => encoding.sink(schema, output, self.plan.threads(split)),
            };
            let sink = sink.map_err(|error| file.failure().unwrap_or(error))?;
            let nested_digest = encoding.is_nested().then(Digest::default);
            let rows = PartRows { nested_digest, ..PartRows::default() };
            self.open.push(OpenPart { file, sink, rows });
        }
        Ok(())
    }

    /// Writes rows of a split, which is 0 without splits. The caller counts them in [`open_rows`](Self::open_rows).
    pub(crate) fn write(&mut self, split: usize, batch: RecordBatch) -> Result<()> {
        let own = digest(&batch)?;
        self.write_digested(split, batch, own)
    }

    /// Writes rows like [`write`](Self::write). They have this digest.
    pub(crate) fn write_digested(
        &mut self,
        split: usize,
        batch: RecordBatch,
        digest: Digest,
    ) -> Result<()> {
        self.write_as(split, batch, digest, None)
    }

    /// Writes rows of a split whose JSON columns are nested. Returns the digest of the rows as text.
    pub(crate) fn write_nested(&mut self, split: usize, encoded: EncodedBatch) -> Result<Digest> {
        let EncodedBatch { nested, text, read_back, rescued: (rows, paths) } = encoded;
        let own = digest(&text)?;
        if let Some(part) = self.open.get_mut(split) {
            part.rows.rescued += rows;
            part.rows.rescued_paths.join(&paths.0);
        }
        self.write_as(split, nested, own, Some(digest(&read_back)?))?;
        Ok(own)
    }

    /// Writes rows of a split that have this digest. `nested` is their digest as they are read back, if their JSON
    /// columns are nested.
    fn write_as(
        &mut self,
        split: usize,
        batch: RecordBatch,
        digest: Digest,
        nested: Option<Digest>,
    ) -> Result<()> {
        let Some(part) = self.open.get_mut(split) else { return Ok(()) };
        let rows = batch.num_rows() as u64;
        part.rows.digest.join(digest, rows);
        if let Some(nested) = nested {
            part.rows.nested_digest.get_or_insert_default().join(nested, rows);
        }
        part.sink.write(batch)
    }

    /// Closes the open parts, and returns their entries in the manifest; none if no part is open. `facts` gets the number
    /// of rows that were read for earlier parts, the rows of a part, and the name of its split.
    pub(crate) fn close(
        &mut self,
        pages: RangeInclusive<u64>,
        facts: impl Fn(u64, &PartRows, Option<&str>) -> Facts,
    ) -> Result<Vec<Part>> {
        let mut closed: Vec<Part> = Vec::new();
        // After an error, the parts that are still open are discarded by `abort`.
        while !self.open.is_empty() {
            let part = self.open.remove(0);
            let split = self.plan.splits.get(closed.len()).map(|(name, _)| name.clone());
            let facts = facts(self.rows.read, &part.rows, split.as_deref());
            let index = self.parts.len() + closed.len();
            closed.push(self.close_part(part, index, pages.clone(), (split, &facts))?);
        }
        add_group(&mut self.rows, &closed.iter().map(PartRows::from).collect::<Vec<_>>());
        self.parts.extend(closed.iter().cloned());
        self.progress.set_files(self.parts.len() as u64);
        Ok(closed)
    }

    fn close_part(
        &self,
        part: OpenPart,
        index: usize,
        pages: RangeInclusive<u64>,
        (split, facts): (Option<String>, &Facts),
    ) -> Result<Part> {
        let rows = part.rows.written;
        let finished = part.sink.finish(Some(&facts.to_json()?));
        let finished = finished.map_err(|error| part.file.failure().unwrap_or(error))?;
        if finished.rows != rows {
            let text =
                format!("the sink wrote {} of {} rows", grouped(finished.rows), grouped(rows));
            return Err(Error::Internal(text));
        }
        let closed = part.file.close()?;
        Ok(Part {
            path: self.destination.part_name(index, self.plan.encoding.extension()),
            split,
            first_page: *pages.start(),
            last_page: *pages.end(),
            rows_read: part.rows.read,
            rows,
            failed: part.rows.failed,
            duplicates: part.rows.duplicates,
            replaced: part.rows.replaced,
            missing: part.rows.missing.unwrap_or_default(),
            rescued: part.rows.rescued,
            rescued_paths: part.rows.rescued_paths.0,
            bytes: closed.bytes,
            // Without a manifest the record is never read.
            sha256: closed.sha256().unwrap_or_default().to_owned(),
            digest: part.rows.digest.to_string(),
            nested_digest: part.rows.nested_digest.map(|digest| digest.to_string()),
        })
    }

    /// Discards the open parts after an error. Returns the error of the first file that failed, if that was the cause.
    pub(crate) fn abort(&mut self) -> Option<Error> {
        let mut failure = None;
        for part in self.open.drain(..) {
            failure = failure.or_else(|| part.file.failure());
            part.sink.abort();
        }
        failure
    }
}

/// Returns the finished parts like [`PartsWriter::finished`], from groups of this many parts.
pub(crate) fn listed_parts(parts: &[Part], width: usize) -> (Vec<Part>, PartRows) {
    in_order_of_record(parts, width, rows_of_groups(parts, width))
}

/// Returns the rows of groups of this many parts. They have no digest.
fn rows_of_groups(parts: &[Part], width: usize) -> PartRows {
    let mut rows = PartRows::default();
    for group in parts.chunks(width) {
        let of_parts = group.iter().map(PartRows::from).collect::<Vec<_>>();
        add_group(&mut rows, &of_parts);
    }
    rows
}

fn in_order_of_record(parts: &[Part], width: usize, mut rows: PartRows) -> (Vec<Part>, PartRows) {
    let of_split = |split| parts.iter().skip(split).step_by(width).cloned();
    let parts: Vec<Part> = (0..width).flat_map(of_split).collect();
    for part in &parts {
        let PartRows { written, digest, .. } = PartRows::from(part);
        rows.digest.join(digest, written);
    }
    (parts, rows)
}

/// Adds the rows of the parts of a group, for which the same rows were read.
fn add_group(sum: &mut PartRows, parts: &[PartRows]) {
    let digest = sum.digest;
    for (index, part) in parts.iter().enumerate() {
        let read = if index == 0 { part.read } else { 0 };
        sum.join(&PartRows { read, ..part.clone() });
    }
    sum.digest = digest;
}
