//! The blocking half of an export: it writes pages to files, on its own thread.
//!
//! Parts end on page boundaries, by rows and by bytes of values. A part therefore depends only on its pages. A
//! transformation chooses the rows of a page and computes columns before the batches are built. The proof does not see
//! it: it counts every row that was read. This module never publishes.

use std::{io::Write, path::PathBuf, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    batch::BatchBuilder,
    client::Page,
    destination::{Destination, Drafts, KeptPart, PartFile},
    error::{Error, Result},
    export::{
        duplicates::{Duplicates, entries},
        encoder::NestedEncoder,
        handover::WriterMessage,
        output_plan::BYTES_PER_FILE,
        part_grid::PartGrid,
        parts::{PartsPlan, PartsWriter, batch_size},
        plan::ExportPlan,
        progress::Progress,
        shaping::{WriterInterrupt, computed_columns, ended_early, shape_pages, split_rows},
    },
    location::Target,
    record::manifest::{Part, PartRows, add_replaced},
    transform::{HashKey, Shaped, Shaper, Stage, StageLimits, keep_missing},
};

/// The staged output.
pub(super) struct Finished {
    pub(super) rows: PartRows,
    pub(super) pages: u64,
    pub(super) parts: Vec<Part>,
}

pub(super) struct Writer {
    plan: ExportPlan,
    /// One for each split; one without splits.
    builders: Vec<BatchBuilder>,
    parts: PartsWriter,
    /// Encodes JSON columns of given types.
    encoder: Option<NestedEncoder>,
    /// Whether a later run can keep finished parts.
    is_kept: bool,
    /// The parts of an interrupted run, one of each group.
    kept: Vec<KeptPart>,
    /// The key of the hashes by which rows are compared, if no key of pseudonyms decides it.
    hash_key: Option<HashKey>,
    /// The pages of the open parts.
    open: Option<OpenPages>,
    scope: WriterScope,
    progress: Arc<Progress>,
    is_interrupted: WriterInterrupt,
}

/// The rows that a writer writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriterScope {
    /// Number of rows of the dataset.
    pub(super) count: u64,
    /// Number of rows of the export that come before.
    pub(super) first_row: u64,
    pub(super) grid: PartGrid,
    /// Whether these are all rows of the export.
    pub(super) is_whole: bool,
}

/// The pages of a group of parts.
struct OpenPages {
    ids: Option<PartFile>,
    first_page: u64,
    last_page: u64,
    has_next: bool,
    last_order: Option<i64>,
    /// Bytes of values, including those still in the builders.
    bytes: u64,
}

impl Writer {
    pub(super) fn new(
        plan: ExportPlan,
        scope: WriterScope,
        destination: Destination,
        kept: Vec<KeptPart>,
        progress: Arc<Progress>,
    ) -> Self {
        let encoding = plan.first_encoding();
        let builder = || BatchBuilder::new(&plan.columns, batch_size(encoding.format()));
        let encoder = plan.given_types();
        let of_kept = kept.iter().map(|kept| kept.part.clone()).collect::<Vec<_>>();
        let written = of_kept.iter().map(|part| part.rows).sum::<u64>();
        let before = (plan.splits().is_empty() && scope.is_whole).then_some(written);
        let encoder = encoder
            .map(|types| NestedEncoder::new(plan.columns(), types, plan.rescues()).after(before));
        let schema = encoder.as_ref().map_or_else(|| builder().schema(), NestedEncoder::schema);
        let parts = PartsPlan {
            target: plan.target.clone(),
            encoding,
            schema,
            encode_threads: plan.encode_threads,
            has_manifest: plan.has_manifest(),
            splits: plan.splits(),
        };
        let builders = (0..parts.width()).map(|_| builder()).collect();
        // A later run keeps finished parts, or their drafts.
        let is_kept = !plan.has_drafts() || destination.keeps_drafts();
        // The parts of a group share their ids.
        let kept = kept.into_iter().step_by(parts.width()).collect();
        let mut parts = PartsWriter::new(parts, destination, of_kept, progress.clone());
        if plan.has_drafts() {
            parts = parts.with_drafts(Drafts::new(plan.temp_dir(), encoding.extension()));
        }
        Self {
            builders,
            plan,
            parts,
            encoder,
            is_kept,
            kept,
            hash_key: None,
            open: None,
            scope,
            progress,
            is_interrupted: WriterInterrupt::default(),
        }
    }

    pub(super) fn interrupt(&self) -> WriterInterrupt {
        self.is_interrupted.clone()
    }

    /// Returns the destination, and the drafts if the parts are drafts.
    pub(super) fn into_destination(self) -> (Destination, Option<Drafts>) {
        self.parts.into_destination()
    }

    /// Writes the pages until the end message. If the channel closes without it, returns an error.
    pub(super) fn run(&mut self, mut messages: mpsc::Receiver<WriterMessage>) -> Result<Finished> {
        let result = self.write(&mut messages);
        if result.is_err()
            && let Some(failure) = self.parts.abort()
        {
            return Err(failure);
        }
        result
    }

    fn write(&mut self, messages: &mut mpsc::Receiver<WriterMessage>) -> Result<Finished> {
        if let Some(shaper) = self.plan.shaper.clone() {
            let bytes = self.plan.options.prefetch_bytes;
            self.hash_key = self.chosen_hash_key(&shaper)?;
            let hash_key = self.hash_key.or(shaper.hash_key());
            let limits = StageLimits { threads: self.plan.encode_threads, bytes, hash_key };
            let (stage, interrupt) = (Stage::start(shaper, limits)?, self.is_interrupted.clone());
            let mut duplicates = Duplicates::new(self.plan.temp_dir());
            if self.plan.compares() {
                duplicates.keep(&self.kept)?;
            }
            let mut write = |mut shaped: Shaped<Page>| {
                duplicates.decide(&mut shaped)?;
                self.page(&shaped.block, Some(&shaped))
            };
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

    /// Returns the key of the hashes by which rows are compared: that of the kept parts, or a new one. `None` if rows are not
    /// compared, or if the key of pseudonyms decides it.
    fn chosen_hash_key(&self, shaper: &Shaper) -> Result<Option<HashKey>> {
        if !shaper.compares() || shaper.hash_key().is_some() {
            return Ok(None);
        }
        let Some(kept) = self.kept.first() else { return HashKey::random().map(Some) };
        let key = kept.hash_key.as_deref().and_then(HashKey::of_hex);
        let missing = || Error::Internal("a kept part has no key of its hashes".to_owned());
        key.map(Some).ok_or_else(missing)
    }

    /// Writes the rows of a page: all, or those that the transformation keeps.
    fn page(&mut self, page: &Page, shaped: Option<&Shaped<Page>>) -> Result<()> {
        if self.open.is_none() {
            self.open_parts(page.number())?;
        }
        let before = self.pushed_bytes();
        let (mut written, columns) = (vec![0; self.builders.len()], computed_columns(shaped));
        for (index, split, row) in split_rows(page, shaped) {
            let (Some(builder), Some(rows)) =
                (self.builders.get_mut(split), written.get_mut(split))
            else {
                return Err(Error::Internal("a row of an unknown split".to_owned()));
            };
            builder.push(&row, (columns, index))?;
            *rows += 1;
            if builder.is_full() {
                self.flush(split)?;
            }
        }
        self.progress.add_rows(page.len() as u64);
        let pushed = self.pushed_bytes() - before;
        let Some(pages) = &mut self.open else { return Ok(()) };
        if let Some(file) = &mut pages.ids {
            // Closing the file reports the error.
            drop(file.write_all(&entries(page, shaped)));
        }
        pages.last_page = page.number();
        pages.has_next = page.has_next();
        pages.last_order = page.last_order();
        pages.bytes += pushed;
        let mut full = pages.bytes >= BYTES_PER_FILE || self.scope.grid.ends_at(page.number());
        // An expression can fail before the split of the row is known. The first part has the rows that are left out.
        let mut failed = shaped.map_or(0, |shaped| shaped.failed.len() as u64);
        let mut duplicates = shaped.map_or(0, Shaped::duplicate_rows);
        let mut replaced = shaped.into_iter().flat_map(|shaped| &shaped.replaced);
        for (rows, written) in self.parts.open_rows().zip(written) {
            if let Some(replaced) = replaced.next() {
                add_replaced(&mut rows.replaced, replaced);
            }
            if let Some(shaped) = shaped {
                keep_missing(&mut rows.missing, &shaped.missing);
            }
            rows.read += page.len() as u64;
            rows.written += written;
            rows.failed += std::mem::take(&mut failed);
            rows.duplicates += std::mem::take(&mut duplicates);
            full |= rows.written >= self.plan.rows_per_file;
        }
        // Close the last part now, while the ids are counted.
        if full && matches!(self.plan.target, Target::Directory(_)) || page.ends_stream() {
            self.close_parts()?;
        }
        Ok(())
    }

    fn pushed_bytes(&self) -> u64 {
        self.builders.iter().map(BatchBuilder::pushed_bytes).sum()
    }

    fn finish(&mut self) -> Result<Finished> {
        // A dataset without rows also gets a file, with the schema.
        if self.open.is_none() && self.parts.len() == 0 {
            self.open_parts(self.plan.options.pages.first())?;
        }
        self.close_parts()?;
        // A path may match only in the rows of another worker.
        if let Some(shaper) = self.plan.shaper.as_ref().filter(|_| self.scope.is_whole) {
            let rows = self.parts.rows();
            let missing = rows.missing.as_deref().unwrap_or_default();
            shaper.check_replaced(rows.written, &rows.replaced, missing)?;
        }
        let (parts, rows) = self.parts.finished();
        let of_first_split = parts.iter().take(parts.len() / self.builders.len());
        let pages = of_first_split.map(|part| part.last_page - part.first_page + 1).sum();
        Ok(Finished { rows, pages, parts })
    }

    fn open_parts(&mut self, page: u64) -> Result<()> {
        let (index, extension) = (self.parts.len(), self.plan.first_encoding().extension());
        self.parts.open()?;
        for rows in self.parts.open_rows() {
            rows.replaced = vec![0; self.plan.replaced_paths()];
        }
        let ids = match self.is_kept {
            true => self.parts.destination().create_ids(index, extension)?,
            false => None,
        };
        let ids = ids.map(PartFile::hashed);
        self.open = Some(OpenPages {
            ids,
            first_page: page,
            last_page: page,
            has_next: false,
            last_order: None,
            bytes: 0,
        });
        Ok(())
    }

    /// Passes a builder's rows to the sink of its split.
    fn flush(&mut self, split: usize) -> Result<()> {
        let Some(builder) = self.builders.get_mut(split) else { return Ok(()) };
        let Some(batch) = builder.finish()? else { return Ok(()) };
        let Some(encoder) = &mut self.encoder else { return self.parts.write(split, batch) };
        let mut first = 0;
        while first < batch.num_rows() {
            let encoded = encoder.encode(&batch, first)?;
            let encoded = encoded.map_err(|place| place.explain(&batch))?;
            first += encoded.rows();
            self.parts.write_nested(split, encoded)?;
        }
        Ok(())
    }

    fn close_parts(&mut self) -> Result<()> {
        (0..self.builders.len()).try_for_each(|split| self.flush(split))?;
        let Some(pages) = self.open.take() else { return Ok(()) };
        let facts = |first_row, rows: &PartRows, split: Option<&str>| {
            self.plan.facts(self.scope.count, self.scope.first_row + first_row, rows, split)
        };
        let closed = self.parts.close(pages.first_page..=pages.last_page, facts)?;
        let ids = pages.ids.as_ref().map(PartFile::close).transpose()?;
        let ids_sha256 = ids.and_then(|ids| ids.sha256().map(str::to_owned));
        // A page that the limit has cut would look short to the proof of a later run.
        let is_cut = self.plan.options.limit.is_some_and(|limit| self.parts.rows().read >= limit);
        if self.is_kept && !is_cut {
            for part in closed {
                let kept = KeptPart {
                    part,
                    has_next: pages.has_next,
                    last_order: pages.last_order,
                    entry_bytes: self.plan.entry_bytes(),
                    ids_sha256: ids_sha256.clone(),
                    hash_key: self.hash_key.map(HashKey::to_hex),
                    ids: PathBuf::new(),
                };
                self.parts.destination().keep(kept)?;
            }
        }
        Ok(())
    }
}
