//! Single files without a record, and without facts in the file itself.

use std::collections::BTreeSet;

use super::{Verifying, read_file::FileSeal};
use crate::{
    error::{Error, Result},
    location::Location,
    readback::{self, Reader, recorded::FoundManifest},
    record::place::sidecar_name,
};

impl Verifying {
    /// Returns the split whose rows a part has, as its own metadata says; `None` without metadata.
    pub(super) fn split_of(&self, part: &Location) -> Option<String> {
        let (reader, _) = readback::open_unrecorded(part, &self.options).ok()?;
        reader.facts?.split
    }

    /// Reports parts in a directory that has no record. `lacks` says it, and `split` is the split of the parts, if they
    /// state one.
    pub(super) fn parts_without_record(&mut self, lacks: &str, split: Option<&str>) {
        let (mut problem, whose) = match split {
            Some(split) => {
                let of_split = format!("these are the parts of the split {split}");
                (format!("{of_split}, and the record of the whole export is missing"), "the")
            }
            None => (format!("{lacks}, and there are parts of an export"), "their"),
        };
        if self.options.record.is_none() {
            problem = format!("{problem}; if {whose} record is elsewhere, name it with `record`");
        }
        self.problem(problem);
    }

    /// Checks a file without facts about its export.
    pub(super) fn without_facts(
        &mut self,
        location: &Location,
        name: &str,
        reader: Reader,
    ) -> Result<()> {
        let mut checked = BTreeSet::new();
        if !self.is_whole(name, FileSeal::of(location, &reader), &mut checked)? {
            return Ok(());
        }
        let foreign = reader.require_columns(location).err();
        let rows = reader.rows;
        if checked.is_empty()
            && let Some(Ok((_, why))) = foreign.map(Error::damage)
        {
            self.unchecked(format!("not an export: {why}"));
            return Ok(());
        }
        let is_sealed = !checked.is_empty();
        let rows = match rows.filter(|_| is_sealed) {
            Some(rows) => rows,
            // Without a checksum, check at least that the file can be read to its end.
            None => {
                let added = self.tally.add(reader, &self.options);
                let Some(whole) = self.found_damaged(added)? else { return Ok(()) };
                whole.rows
            }
        };
        self.found.rows += rows;
        self.found.add(checked);
        if !is_sealed {
            self.without_sidecar(name, "it can be read to its end, but has no record");
        }
        Ok(())
    }

    /// Checks a file of protected cells without a record: it can only be read to its end.
    pub(super) fn protected(&mut self, location: &Location, name: &str) -> Result<()> {
        let counted = readback::count_rows(location, || self.options.go_on());
        let Some(rows) = self.found_damaged(counted)? else { return Ok(()) };
        self.found.rows += rows.unwrap_or_default();
        self.found.add(BTreeSet::new());
        self.without_sidecar(name, "its cells are protected (`csv_safe`), and it has no record");
        Ok(())
    }

    fn without_sidecar(&mut self, name: &str, what: &str) {
        let sidecar = sidecar_name(name);
        let lacks = match self.sidecar {
            FoundManifest::Foreign => format!("{sidecar} was written by another program"),
            _ => format!("{sidecar} does not exist"),
        };
        self.unchecked(format!(
            "{what} to compare it with: {lacks}; export with `manifest` to write one"
        ));
    }
}
