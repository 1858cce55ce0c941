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
    nested::{NestRules, NestedField, recorded_types, resolve},
    proof::Digest,
    readback,
    record::{facts::digest, manifest::PartRows},
};

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
            splits: Vec::new(),
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

    /// Finds the types that hold the values of all rows.
    fn types(&self, destination: &Destination) -> Result<Vec<NestedField>> {
        let names = json_columns(&self.plan);
        let states = infer_in_lanes(&names, self.plan.encode_threads, |send| {
            let mut row = 0;
            for index in 0..self.drafted.parts.len() {
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
        let named = names.into_iter().map(str::to_owned).zip(states);
        Ok(resolve(&named.collect::<Vec<_>>(), others, &self.rules))
    }

    /// Encodes the parts.
    fn write(
        &self,
        writer: &mut PartsWriter,
        mut encoder: NestedEncoder,
        types: &[NestedField],
    ) -> Result<()> {
        for (index, drafted) in self.drafted.parts.iter().enumerate() {
            let draft = Draft::open(self, writer.destination(), index)?;
            writer.open()?;
            let mut seen = Digest::default();
            for batch in draft.batches {
                let batch = self.go_on(batch)?;
                let own = digest(&batch)?;
                seen.join(own, batch.num_rows() as u64);
                let encoded = encoder.encode(&batch)?;
                let encoded = encoded.map_err(|_| draft.place.changed())?;
                writer.write_nested(0, encoded, own)?;
            }
            if seen.to_string() != drafted.digest {
                return Err(draft.place.changed());
            }
            for rows in writer.open_rows() {
                *rows = PartRows { nested_digest: rows.nested_digest, ..PartRows::from(drafted) };
            }
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
