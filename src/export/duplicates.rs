//! Leaves out rows that equal an earlier row, in the order of the rows. It remembers the hashes of the first ones, and
//! those of the parts of an interrupted run.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::PathBuf,
};

use uuid::Uuid;

use super::first_seen::{FirstSeen, HASH_BYTES};
use crate::{
    client::Page,
    destination::KeptPart,
    error::{Error, Result},
    transform::{NOT_COMPARED, Shaped},
};

/// Bytes of an id in the file of a part's ids.
pub(crate) const ID_ENTRY: u64 = 16;
/// Bytes of an id and of the hash of its row, if rows are compared. The hash is [`NOT_COMPARED`] if the row was not the
/// first one.
pub(super) const HASH_ENTRY: u64 = ID_ENTRY + HASH_BYTES as u64;

/// Decides which rows equal an earlier one.
#[derive(Debug)]
pub(crate) struct Duplicates {
    seen: FirstSeen,
    temp_dir: PathBuf,
}

impl Duplicates {
    pub(crate) fn new(temp_dir: PathBuf) -> Self {
        Self { seen: FirstSeen::new(temp_dir.clone()), temp_dir }
    }

    /// Marks the rows of a block that equal an earlier row. Call it for each block, in their order. Does nothing for a
    /// transformation that does not compare rows.
    ///
    /// # Errors
    /// [`Error::Io`] when the hashes do not fit in memory, and cannot be written to the temporary folder.
    pub(crate) fn decide<B>(&mut self, shaped: &mut Shaped<B>) -> Result<()> {
        let mut duplicates = Vec::with_capacity(shaped.hashes.len());
        for hash in &shaped.hashes {
            duplicates.push(*hash != NOT_COMPARED && !self.insert(*hash)?);
        }
        shaped.leave_out(duplicates);
        Ok(())
    }

    /// Takes over the hashes of the parts of an interrupted run.
    ///
    /// # Errors
    /// [`Error::Io`] when a file of ids cannot be read, or like [`decide`](Self::decide).
    pub(super) fn keep(&mut self, parts: &[KeptPart]) -> Result<()> {
        for kept in parts {
            if kept.entry_bytes != HASH_ENTRY {
                return Err(Error::Internal("a kept part has no hashes".to_owned()));
            }
            let failed = |error| Error::io("read", &kept.ids)(error);
            let mut file = BufReader::new(File::open(&kept.ids).map_err(failed)?);
            for _ in 0..kept.part.rows_read {
                let (mut id, mut hash) = ([0; ID_ENTRY as usize], [0; HASH_BYTES]);
                let read = file.read_exact(&mut id).and_then(|()| file.read_exact(&mut hash));
                read.map_err(failed)?;
                match u128::from_le_bytes(hash) {
                    NOT_COMPARED => {}
                    hash => drop(self.insert(hash)?),
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, hash: u128) -> Result<bool> {
        let failed = |error: io::Error| Error::io("keep hashes in", &self.temp_dir)(error);
        self.seen.insert(hash).map_err(failed)
    }
}

/// Returns the entries of a page in the file of its part's ids: the id of each row, and if rows are compared, the hash
/// of a row that is the first one.
pub(super) fn entries(page: &Page, shaped: Option<&Shaped<Page>>) -> Vec<u8> {
    let Some(shaped) = shaped.filter(|shaped| shaped.compares) else {
        return page.ids().flat_map(Uuid::into_bytes).collect();
    };
    let first = shaped.hashes.iter().zip(&shaped.duplicates);
    let mut first =
        first.map(|(hash, is_duplicate)| if *is_duplicate { NOT_COMPARED } else { *hash });
    let mut entries = Vec::with_capacity(page.len() * HASH_ENTRY as usize);
    for (index, id) in page.ids().enumerate() {
        entries.extend(id.into_bytes());
        let is_kept = shaped.kept.get(index) == Some(&true);
        let hash = if is_kept { first.next().unwrap_or(NOT_COMPARED) } else { NOT_COMPARED };
        entries.extend(hash.to_le_bytes());
    }
    entries
}
