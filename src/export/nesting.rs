//! Writes parts with nested JSON columns from their drafts: finds the types that hold all values, then encodes.
//!
//! The drafts are read twice, so memory is bounded. The types depend on the rows only. The digest of the drafts is
//! compared, so what another program did to them is never published.

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::{
    encoder::NestedEncoder,
    lanes::{LaneBatch, infer_in_lanes},
    nesting_options::TypeChoice,
    parts::{PartsPlan, PartsWriter},
    plan::ExportPlan,
    progress::Progress,
    shaping::{WriterInterrupt, ended_early},
    writer::Finished,
};
use crate::{
    batch::ColumnType,
    destination::{Destination, Drafts},
    error::{Error, Result},
    nested::{LONGEST, NestRules, NestedField, recorded_types},
    proof::Digest,
    readback::{self, ReadOptions},
    record::manifest::{Part, PartRows},
};

/// Types are chosen so that readers accept the values by default.
const _: () = assert!(LONGEST == ReadOptions::MAX_VALUE_BYTES, "the limit of readers");

/// The second half of an export with nested columns.
pub(super) struct Nesting {
    pub(super) plan: ExportPlan,
    pub(super) rules: NestRules,
    /// Number of rows of the dataset.
    pub(super) count: u64,
    pub(super) drafts: Drafts,
    /// What is known of the drafts.
    pub(super) drafted: Finished,
    pub(super) progress: Arc<Progress>,
    pub(super) is_interrupted: WriterInterrupt,
}

/// The staged output, and the types of its JSON columns.
pub(super) struct NestedOutput {
    pub(super) finished: Finished,
    pub(super) types: Vec<NestedField>,
}

impl Nesting {
    /// Writes all parts. Returns the destination in any case.
    pub(super) fn run(self, destination: Destination) -> (Destination, Result<NestedOutput>) {
        let types = match self.types(&destination) {
            Ok(types) => types,
            Err(error) => return (destination, Err(error)),
        };
        let encoder = NestedEncoder::new(self.plan.columns(), &types, self.plan.rescues()).strict();
        let parts = PartsPlan {
            target: self.plan.target.clone(),
            encoding: self.plan.encoding,
            schema: encoder.schema(),
            encode_threads: self.plan.encode_threads,
            has_manifest: self.plan.has_manifest(),
            splits: self.plan.splits(),
        };
        let mut writer = PartsWriter::new(parts, destination, Vec::new(), self.progress.clone());
        let written = self.write(&mut writer, encoder, &types);
        let written = written.map_err(|error| writer.abort().unwrap_or(error));
        let (parts, rows) = writer.finished();
        let pages = self.drafted.pages;
        let done = written.map(|()| NestedOutput {
            finished: Finished { rows, pages, parts },
            types: self.plan.recorded_types(&types),
        });
        (writer.into_destination().0, done)
    }

    /// Returns the drafts of each group of pages, as indices, and the part of each, in the order of the splits.
    fn groups(&self) -> impl Iterator<Item = Vec<(usize, &Part)>> {
        let parts = &self.drafted.parts;
        let width = self.plan.splits().len().max(1);
        let groups = parts.len() / width;
        // The record has all parts of a split before those of the next one.
        (0..groups).map(move |group| {
            let of_split =
                |split| Some((group * width + split, parts.get(split * groups + group)?));
            (0..width).filter_map(of_split).collect()
        })
    }

    /// Returns the drafts in the order of the rows in the record, as indices.
    fn in_order(&self) -> impl Iterator<Item = usize> {
        let groups: Vec<_> = self.groups().collect();
        let width = groups.first().map_or(0, Vec::len);
        (0..width).flat_map(move |split| {
            groups.iter().filter_map(|group| Some(group.get(split)?.0)).collect::<Vec<_>>()
        })
    }

    /// Finds the types that hold the values of all rows.
    fn types(&self, destination: &Destination) -> Result<Vec<NestedField>> {
        let names = json_columns(&self.plan);
        let states = infer_in_lanes(&names, &self.rules, self.plan.encode_threads, |send| {
            let mut row = 0;
            for index in self.in_order() {
                let draft = Draft::open(self, destination, index)?;
                for batch in draft.batches {
                    let batch = self.go_on(batch)?;
                    let first_row = row + 1;
                    row += batch.num_rows() as u64;
                    send(LaneBatch { batch, first_row });
                }
            }
            Ok(())
        })?;
        let rescued = usize::from(self.plan.rescues());
        let others = self.plan.columns.len() - names.len() + rescued;
        states.types(others, &self.rules)
    }

    /// Encodes the parts.
    fn write(
        &self,
        writer: &mut PartsWriter,
        mut encoder: NestedEncoder,
        types: &[NestedField],
    ) -> Result<()> {
        for group in self.groups() {
            writer.open()?;
            for (split, (index, drafted)) in group.iter().enumerate() {
                let draft = Draft::open(self, writer.destination(), *index)?;
                self.encode(writer, (&mut encoder, split), draft, &drafted.digest)?;
            }
            for (rows, (_, drafted)) in writer.open_rows().zip(&group) {
                *rows = PartRows { nested_digest: rows.nested_digest, ..PartRows::from(*drafted) };
            }
            let Some((_, drafted)) = group.first() else { continue };
            let pages = drafted.first_page..=drafted.last_page;
            let parts = writer.close(pages, |first_row, rows, split| {
                let facts = self.plan.facts(self.count, first_row, rows, split);
                crate::record::facts::Facts {
                    nested: Some(self.plan.recorded_types(types)),
                    ..facts
                }
            })?;
            parts.iter().try_for_each(|part| writer.destination().note_part(part))?;
        }
        Ok(())
    }

    /// Encodes the rows of a draft, which has this digest, into the open part of a split.
    fn encode(
        &self,
        writer: &mut PartsWriter,
        (encoder, split): (&mut NestedEncoder, usize),
        draft: Draft,
        digest: &str,
    ) -> Result<()> {
        let mut seen = Digest::default();
        for batch in draft.batches {
            let batch = self.go_on(batch)?;
            let mut first = 0;
            while first < batch.num_rows() {
                let encoded = encoder.encode(&batch, first)?;
                let encoded = encoded.map_err(|_| draft.place.changed())?;
                let rows = encoded.rows();
                seen.join(writer.write_nested(split, encoded)?, rows as u64);
                first += rows;
            }
        }
        if seen.to_string() == digest { Ok(()) } else { Err(draft.place.changed()) }
    }

    fn go_on<T>(&self, next: Result<T>) -> Result<T> {
        if self.is_interrupted.is_set() { Err(ended_early()) } else { next }
    }
}

impl ExportPlan {
    /// Whether the rows are written as drafts first.
    pub(crate) fn has_drafts(&self) -> bool {
        matches!(self.nesting, Some(TypeChoice::Found(_)))
    }

    /// Whether values that do not fit their column go to a column of their own.
    pub(crate) fn rescues(&self) -> bool {
        self.nesting.is_some() && self.options.nesting.rescue
    }

    /// Returns the types of all columns with JSON, as records have them.
    pub(crate) fn recorded_types(&self, types: &[NestedField]) -> Vec<NestedField> {
        recorded_types(types, self.rescues())
    }

    /// Returns the types of the JSON columns, if they were given.
    pub(crate) fn given_types(&self) -> Option<&[NestedField]> {
        match &self.nesting {
            Some(TypeChoice::Given(types)) => Some(types),
            _ => None,
        }
    }
}

/// A draft that is being read.
struct Draft {
    place: DraftPlace,
    batches: Box<dyn Iterator<Item = Result<RecordBatch>>>,
}

struct DraftPlace(std::path::PathBuf);

impl Draft {
    fn open(nesting: &Nesting, destination: &Destination, index: usize) -> Result<Self> {
        let (location, file) = nesting.drafts.open(destination, index)?;
        let reader = readback::open_staged(&location, file)?;
        reader.require_export(&location)?;
        Ok(Self { place: DraftPlace(location.to_path()), batches: reader.batches.in_order() })
    }
}

impl DraftPlace {
    /// The error of a draft with other rows than those that were written.
    fn changed(&self) -> Error {
        let why = "no longer holds the rows that were written".to_owned();
        Error::PartChanged { path: self.0.clone(), why }
    }
}

/// Returns the names of the JSON columns.
fn json_columns(plan: &ExportPlan) -> Vec<&str> {
    let json = plan.columns().filter(|column| column.column_type() == ColumnType::Json);
    json.map(|column| column.name()).collect()
}
