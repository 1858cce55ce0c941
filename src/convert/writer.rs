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

use super::{block::BatchBlock, checks::damaged, outcome::outcomes, plan::ConvertPlan};
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
    record::manifest::{Part, PartRows, keep_missing},
    transform::{Shaped, Stage, StageLimits, TransformRecord},
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
}

pub(super) struct ConvertWriter {
    plan: ConvertPlan,
    builder: BatchBuilder,
    parts: PartsWriter,
    /// Makes nested columns, and their types.
    nested: Option<(NestedEncoder, Vec<NestedField>)>,
    /// Bytes of values before the open part.
    bytes_before: u64,
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
        let builder = BatchBuilder::new(&plan.rows.columns, batch_size(output.encoding.format()));
        let nested = types.map(|types| {
            let encoder = NestedEncoder::new(plan.columns(), &types, plan.rescues);
            match plan.nesting {
                Some(TypeChoice::Found(_)) => (encoder.strict(), types),
                _ => (encoder, types),
            }
        });
        let schema =
            nested.as_ref().map_or_else(|| builder.schema(), |(encoder, _)| encoder.schema());
        let parts = PartsPlan {
            target: output.target.clone(),
            encoding: output.encoding,
            schema,
            encode_threads: output.encode_threads,
            has_manifest: output.has_manifest(),
            splits: Vec::new(),
        };
        let parts = PartsWriter::new(parts, destination, Vec::new(), progress.clone());
        Self { plan, builder, parts, nested, bytes_before: 0, progress, is_stopped }
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
                self.close_part()?;
            }
            if self.parts.open_rows().next().is_none() {
                self.open_part()?;
            }
            if let Some(rows) = self.parts.open_rows().next() {
                rows.read += 1;
                rows.written += outcome.lines as u64;
                rows.duplicates += u64::from(outcome.is_duplicate);
                rows.failed += u64::from(outcome.has_failed);
                if let Some(edited) = outcome.edited {
                    edited.count_paths(&mut rows.replaced);
                }
            }
            let edited = outcome.edited_row(block);
            for line in 0..outcome.lines {
                outcome.push(&mut self.builder, block, (computed, line), edited.as_ref())?;
                if self.builder.is_full() {
                    self.flush()?;
                }
            }
        }
        self.keep_missing(shaped);
        self.progress.add_rows(block.batch.num_rows() as u64);
        Ok(())
    }

    /// Notes for the open part what no row of the block gave to the expressions.
    fn keep_missing(&mut self, shaped: Option<&Shaped<BatchBlock>>) {
        if let (Some(rows), Some(shaped)) = (self.parts.open_rows().next(), shaped) {
            keep_missing(&mut rows.missing, &shaped.missing);
        }
    }

    fn open_part(&mut self) -> Result<()> {
        self.parts.open()?;
        let paths = self.plan.transform_record().map_or(0, TransformRecord::replaced_paths);
        if let Some(rows) = self.parts.open_rows().next() {
            rows.replaced = vec![0; paths];
        }
        Ok(())
    }

    /// Whether the open part takes no further row.
    fn is_full(&mut self) -> bool {
        let bytes = self.builder.pushed_bytes() - self.bytes_before;
        let Some(rows) = self.parts.open_rows().next() else { return false };
        let is_full = rows.written >= self.plan.output.rows_per_file || bytes >= BYTES_PER_FILE;
        is_full && matches!(self.plan.output.target, Target::Directory(_))
    }

    fn finish(&mut self) -> Result<Converted> {
        // A source without rows also gives a file, with the schema.
        if self.parts.open_rows().next().is_none() && self.parts.len() == 0 {
            self.open_part()?;
        }
        self.close_part()?;
        if let Some(shaper) = &self.plan.rows.shaper {
            let rows = self.parts.rows();
            shaper.check_replaced(rows.written, &rows.replaced)?;
        }
        let (parts, rows) = self.parts.finished();
        Ok(Converted { rows, parts })
    }

    /// Passes the builder's rows to the sink.
    fn flush(&mut self) -> Result<()> {
        let Some(batch) = self.builder.finish()? else { return Ok(()) };
        let Some((encoder, _)) = &mut self.nested else { return self.parts.write(0, batch) };
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
            self.parts.write_nested(0, encoded)?;
        }
        Ok(())
    }

    fn close_part(&mut self) -> Result<()> {
        self.flush()?;
        let (plan, nested) = (&self.plan, &self.nested);
        let types = || nested.as_ref().map(|(_, types)| types.clone());
        let closed = self.parts.close(0..=0, |first, rows, _| plan.facts(first, rows, types()))?;
        let Some(part) = closed.into_iter().next() else { return Ok(()) };
        self.bytes_before = self.builder.pushed_bytes();
        // A store can publish only recorded parts.
        // No run resumes a conversion.
        self.parts.destination().keep(KeptPart::without_ids(part))
    }
}

fn ended_early() -> Error {
    Error::Internal("the reader ended early".to_owned())
}
