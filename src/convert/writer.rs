//! Writes the rows of a conversion: transforms them, cuts batches and parts. The cuts depend only on the rows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use arrow_array::ArrayRef;

use super::{
    block::BatchBlock,
    checks::damaged,
    order::SourceOrder,
    outcome::{RowOutcome, outcomes},
    plan::ConvertPlan,
};
use crate::{
    batch::BatchBuilder,
    destination::{Destination, KeptPart},
    error::{Error, Result},
    export::{
        Progress,
        duplicates::Duplicates,
        encoder::NestedEncoder,
        nesting_options::TypeChoice,
        output_plan::BYTES_PER_FILE,
        parts::{PartsPlan, PartsWriter, batch_size},
    },
    location::Target,
    nested::NestedField,
    paginator::StreamOptions,
    proof::Digest,
    record::manifest::{Part, PartRows},
    transform::{Shaped, Stage, StageLimits, TransformRecord, keep_missing},
};

/// How often a waiting writer looks whether the run is stopped.
const POLL: Duration = Duration::from_millis(50);

/// What the reader sends.
pub(super) enum ReadMessage {
    Block(BatchBlock),
    /// All rows were read and checked.
    End,
}

/// The staged output.
pub(super) struct Converted {
    pub(super) rows: PartRows,
    pub(super) parts: Vec<Part>,
    /// The digest of the rows in the order of the source, if they should be those of the source.
    pub(super) unchanged: Option<Digest>,
}

pub(super) struct ConvertWriter {
    plan: ConvertPlan,
    /// One for each split; one without splits.
    builders: Vec<BatchBuilder>,
    parts: PartsWriter,
    /// Makes nested columns, and their types.
    nested: Option<(NestedEncoder, Vec<NestedField>)>,
    /// Bytes of values before the open parts.
    bytes_before: u64,
    /// The order of the source; `None` without splits, or if rows change.
    order: Option<SourceOrder>,
    progress: Arc<Progress>,
    is_stopped: Arc<AtomicBool>,
}

impl ConvertWriter {
    pub(super) fn new(
        plan: ConvertPlan,
        destination: Destination,
        progress: Arc<Progress>,
        is_stopped: Arc<AtomicBool>,
        types: Option<Vec<NestedField>>,
    ) -> Self {
        let output = &plan.output;
        let builder =
            || BatchBuilder::new(&plan.rows.columns, batch_size(output.encoding.format()));
        let splits = plan.splits();
        let nested = types.map(|types| {
            let before = splits.is_empty().then_some(0);
            let encoder = NestedEncoder::new(plan.columns(), &types, plan.rescues).after(before);
            match plan.nesting {
                Some(TypeChoice::Found(_)) => (encoder.strict(), types),
                _ => (encoder, types),
            }
        });
        let schema =
            nested.as_ref().map_or_else(|| builder().schema(), |(encoder, _)| encoder.schema());
        let parts = PartsPlan {
            target: output.target.clone(),
            encoding: output.encoding,
            schema,
            encode_threads: output.encode_threads,
            has_manifest: output.has_manifest(),
            splits,
        };
        let width = parts.width();
        let builders = (0..width).map(|_| builder()).collect();
        let is_reordered = width > 1 && plan.is_unchanged();
        let order = is_reordered.then(|| SourceOrder::of_splits(width));
        let parts = PartsWriter::new(parts, destination, Vec::new(), progress.clone());
        Self { plan, builders, parts, nested, bytes_before: 0, order, progress, is_stopped }
    }

    pub(super) fn into_destination(self) -> Destination {
        self.parts.into_destination().0
    }

    /// Writes the blocks until the end message. Without it, returns an error.
    pub(super) fn run(&mut self, messages: &Receiver<ReadMessage>) -> Result<Converted> {
        let result = self.write(messages);
        if result.is_err()
            && let Some(failure) = self.parts.abort()
        {
            return Err(failure);
        }
        result
    }

    fn write(&mut self, messages: &Receiver<ReadMessage>) -> Result<Converted> {
        match self.plan.rows.shaper.clone() {
            None => {
                while let Some(block) = self.next(messages)? {
                    self.block(&block, None)?;
                }
            }
            Some(shaper) => {
                let bytes = StreamOptions::default().prefetch_bytes;
                let limits =
                    StageLimits { threads: self.plan.output.encode_threads, bytes, hash_key: None };
                let mut stage = Stage::start(shaper, limits)?;
                let mut duplicates = Duplicates::new(self.plan.output.temp_dir.clone());
                while let Some(block) = self.next(messages)? {
                    while !stage.has_room(&block) {
                        self.oldest(&mut stage, &mut duplicates)?;
                    }
                    stage.submit(block);
                }
                while !stage.is_empty() {
                    self.oldest(&mut stage, &mut duplicates)?;
                }
            }
        }
        self.finish()
    }

    /// Waits for the next block; `None` after the last.
    fn next(&self, messages: &Receiver<ReadMessage>) -> Result<Option<BatchBlock>> {
        loop {
            match messages.recv_timeout(POLL) {
                Ok(ReadMessage::Block(block)) => return Ok(Some(block)),
                Ok(ReadMessage::End) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if !self.is_stopped.load(Relaxed) => {}
                Err(_) => return Err(ended_early()),
            }
        }
    }

    /// Writes the oldest block of the transformation.
    fn oldest(&mut self, stage: &mut Stage<BatchBlock>, duplicates: &mut Duplicates) -> Result<()> {
        let is_stopped = self.is_stopped.clone();
        let mut shaped = stage.take(|| is_stopped.load(Relaxed))?.ok_or_else(ended_early)?;
        duplicates.decide(&mut shaped)?;
        self.block(&shaped.block, Some(&shaped))
    }

    /// Writes the rows of a block: all, or those that the transformation keeps, with their replacements. A row can also
    /// be mapped to any number of lines.
    fn block(&mut self, block: &BatchBlock, shaped: Option<&Shaped<BatchBlock>>) -> Result<()> {
        let computed: &[ArrayRef] = shaped.map_or(&[], |shaped| &shaped.columns);
        for outcome in outcomes(block, shaped) {
            // A row that is left out after the last one of a part counts for that part.
            if outcome.lines > 0 && self.is_full() {
                self.keep_missing(shaped);
                self.close_parts()?;
            }
            if self.parts.open_rows().next().is_none() {
                self.open_parts()?;
            }
            self.count(&outcome);
            let edited = outcome.edited_row(block);
            for line in 0..outcome.lines {
                let Some(builder) = self.builders.get_mut(outcome.split) else {
                    return Err(Error::Internal("a row of an unknown split".to_owned()));
                };
                outcome.push(builder, block, (computed, line), edited.as_ref())?;
                let is_full = builder.is_full();
                if let Some(order) = &mut self.order {
                    order.push(outcome.split);
                }
                if is_full {
                    self.flush(outcome.split)?;
                }
            }
        }
        self.keep_missing(shaped);
        self.progress.add_rows(block.batch.num_rows() as u64);
        Ok(())
    }

    /// Counts a row for the open parts. It was read for all of them, and is written to one.
    fn count(&mut self, outcome: &RowOutcome<'_>) {
        for (split, rows) in self.parts.open_rows().enumerate() {
            rows.read += 1;
            // The first part has the rows that are left out.
            if split == 0 {
                rows.duplicates += u64::from(outcome.is_duplicate);
                rows.failed += u64::from(outcome.has_failed);
            }
            if split == outcome.split {
                rows.written += outcome.lines as u64;
                if let Some(edited) = outcome.edited {
                    edited.count_paths(&mut rows.replaced);
                }
            }
        }
    }

    /// Notes for the open parts what no row of the block gave to the expressions.
    fn keep_missing(&mut self, shaped: Option<&Shaped<BatchBlock>>) {
        for rows in self.parts.open_rows() {
            if let Some(shaped) = shaped {
                keep_missing(&mut rows.missing, &shaped.missing);
            }
        }
    }

    fn open_parts(&mut self) -> Result<()> {
        self.parts.open()?;
        let paths = self.plan.transform_record().map_or(0, TransformRecord::replaced_paths);
        for rows in self.parts.open_rows() {
            rows.replaced = vec![0; paths];
        }
        Ok(())
    }

    /// Whether the open parts take no further row.
    fn is_full(&mut self) -> bool {
        let is_too_large = self.pushed_bytes() - self.bytes_before >= BYTES_PER_FILE;
        let most = self.plan.output.rows_per_file;
        let mut open = self.parts.open_rows();
        let is_full = open.any(|rows| is_too_large || rows.written >= most);
        is_full && matches!(self.plan.output.target, Target::Directory(_))
    }

    fn pushed_bytes(&self) -> u64 {
        self.builders.iter().map(BatchBuilder::pushed_bytes).sum()
    }

    fn finish(&mut self) -> Result<Converted> {
        // A source without rows also gives a file, with the schema.
        if self.parts.open_rows().next().is_none() && self.parts.len() == 0 {
            self.open_parts()?;
        }
        self.close_parts()?;
        if let Some(shaper) = &self.plan.rows.shaper {
            let rows = self.parts.rows();
            let missing = rows.missing.as_deref().unwrap_or_default();
            shaper.check_replaced(rows.written, &rows.replaced, missing)?;
        }
        let (parts, rows) = self.parts.finished();
        let unchanged = match &self.order {
            Some(order) => Some(order.digest()),
            None => self.plan.is_unchanged().then_some(rows.digest),
        };
        Ok(Converted { rows, parts, unchanged })
    }

    /// Passes a builder's rows to the sink of its split.
    fn flush(&mut self, split: usize) -> Result<()> {
        let Some(builder) = self.builders.get_mut(split) else { return Ok(()) };
        let Some(batch) = builder.finish()? else { return Ok(()) };
        let order = self.order.as_mut();
        let digest = order.map(|order| order.add(split, &batch)).transpose()?;
        let Some((encoder, _)) = &mut self.nested else {
            return match digest {
                Some(digest) => self.parts.write_digested(split, batch, digest),
                None => self.parts.write(split, batch),
            };
        };
        let mut first = 0;
        while first < batch.num_rows() {
            let encoded = match encoder.encode(&batch, first)? {
                Ok(encoded) => encoded,
                // The types that were found hold every value.
                Err(_) if matches!(self.plan.nesting, Some(TypeChoice::Found(_))) => {
                    let why = "its rows changed while it was read".to_owned();
                    return Err(damaged(&self.plan.rows.source.place, why));
                }
                Err(misfit) => return Err(misfit.explain(&batch)),
            };
            first += encoded.rows();
            self.parts.write_nested(split, encoded)?;
        }
        Ok(())
    }

    fn close_parts(&mut self) -> Result<()> {
        (0..self.builders.len()).try_for_each(|split| self.flush(split))?;
        let (plan, nested) = (&self.plan, &self.nested);
        let types = || nested.as_ref().map(|(_, types)| types.clone());
        let facts =
            |first, rows: &PartRows, split: Option<&str>| plan.facts(first, rows, split, types());
        let closed = self.parts.close(0..=0, facts)?;
        self.bytes_before = self.pushed_bytes();
        // A store can publish only recorded parts. No run resumes a conversion.
        let mut parts = closed.into_iter();
        parts.try_for_each(|part| self.parts.destination().keep(KeptPart::without_ids(part)))
    }
}

fn ended_early() -> Error {
    Error::Internal("the reader ended early".to_owned())
}
