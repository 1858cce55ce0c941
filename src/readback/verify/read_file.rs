//! Reads the rows of a file, and compares its bytes with the checksum in its footer at the same time.

use std::{collections::BTreeSet, io::Read};

use parquet::file::reader::Length;

use super::Verifying;
use crate::{
    error::{Error, Result},
    location::{Location, Opened},
    readback::{self, FileChecksum, Reader, tally::FileTally, verification::Check},
    record::{facts::Facts, manifest::ListedPart},
    sink::{self, Sealed},
    tasks::run_both,
};

/// A file that was read.
pub(super) struct ReadFile {
    /// What the file says about its rows.
    pub(super) facts: Option<Facts>,
    pub(super) seal: FileSeal,
    pub(super) rows: Result<FileTally>,
}

/// How the bytes of a file relate to the checksum in its footer.
pub(super) struct FileSeal {
    /// `None` if the footer has no checksum.
    sealed: Option<Result<Sealed>>,
    /// Whether this program wrote the file, or the file does not name a program.
    is_ours: bool,
}

impl FileSeal {
    /// Reads all bytes of a file, if its footer has a checksum.
    pub(super) fn of(place: &Location, reader: &Reader) -> Self {
        let sealed = reader.checksum.as_ref().map(|checksum| {
            let mut file = place.open()?;
            let length = file.len();
            sealed(place, &mut file, length, checksum)
        });
        Self { sealed, is_ours: is_ours(reader.writer.as_deref()) }
    }
}

impl Verifying {
    /// Opens and reads a file that a record lists.
    ///
    /// # Errors
    /// Those of opening the file. What is wrong with its rows is in the result.
    pub(super) fn read_part(&mut self, place: &Location, listed: &ListedPart) -> Result<ReadFile> {
        let reader = readback::open_listed(place, &self.options, listed)?;
        reader.require_export(place)?;
        Ok(self.read_file(place, reader))
    }

    /// Reads an opened file. Local bytes are hashed on another thread.
    pub(super) fn read_file(&mut self, place: &Location, mut reader: Reader) -> ReadFile {
        let facts = reader.facts.take();
        let is_ours = is_ours(reader.writer.as_deref());
        let file = reader.checksum.take().map(|checksum| Ok((place.open()?, checksum)));
        let rows = |this: &mut Self| this.tally.add(reader, &this.options);
        let (sealed, rows) = match file {
            None => (None, rows(self)),
            Some(Err(error)) => (Some(Err(error)), rows(self)),
            // The file stays open until both are done.
            Some(Ok((Opened::Local(file), checksum))) => {
                let length = Length::len(&*file);
                let seal = || sealed(place, &mut &*file, length, &checksum);
                let (sealed, rows) = run_both("checksum", seal, || rows(self));
                (Some(sealed), rows)
            }
            Some(Ok((mut file, checksum))) => {
                let length = file.len();
                (Some(sealed(place, &mut file, length, &checksum)), rows(self))
            }
        };
        ReadFile { facts, seal: FileSeal { sealed, is_ours }, rows }
    }

    /// Adds the problem of a file whose bytes do not have the checksum of its footer. Returns whether its rows matter.
    pub(super) fn is_whole(
        &mut self,
        name: &str,
        seal: FileSeal,
        checked: &mut BTreeSet<Check>,
    ) -> Result<bool> {
        let Some(sealed) = seal.sealed else { return Ok(true) };
        match sealed? {
            Sealed::Whole => drop(checked.insert(Check::Xxh3)),
            // Another program has rewritten the file and copied the metadata: the checksum is not valid for it.
            Sealed::Both if !seal.is_ours => {}
            Sealed::Footer => {
                self.problem(format!("{name}: its footer has changed since it was written (XXH3)"));
                return Ok(false);
            }
            Sealed::Body | Sealed::Both => {
                self.problem(format!(
                    "{name}: its bytes have changed since they were written (XXH3)"
                ));
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn is_ours(writer: Option<&str>) -> bool {
    writer.is_none_or(|it| it.starts_with(sink::WRITER))
}

/// Compares the bytes of an opened file of this length with the checksum in its footer.
fn sealed(
    place: &Location,
    file: &mut impl Read,
    length: u64,
    checksum: &FileChecksum,
) -> Result<Sealed> {
    sink::check(file, length, checksum.footer, &checksum.value)
        .map_err(Error::io("read", place.to_path()))
}
