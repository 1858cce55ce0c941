//! The drafts of parts: their rows in a first form. The parts are written from them when all rows are known.
//!
//! The drafts of a directory are in its staging, so that they survive a kill. All others are unnamed temporary files.

use std::{fs::File, path::PathBuf};

use super::{Destination, PartFile};
use crate::{
    error::{Error, Result},
    location::Location,
};

/// The drafts of an export.
#[derive(Debug)]
pub(crate) struct Drafts {
    temp_dir: PathBuf,
    extension: &'static str,
    /// The temporary files, if there is no staging for drafts.
    files: Vec<File>,
}

impl Drafts {
    /// `temp_dir` is the folder for temporary files. `extension` is that of the first form.
    pub(crate) fn new(temp_dir: PathBuf, extension: &'static str) -> Self {
        Self { temp_dir, extension, files: Vec::new() }
    }

    /// Creates the draft of the part with this index. Drafts are created in order.
    pub(crate) fn create(
        &mut self,
        destination: &mut Destination,
        index: usize,
    ) -> Result<PartFile> {
        if let Destination::Directory(directory) = destination {
            return directory.create_draft(&directory.part_name(index, self.extension));
        }
        let failed = || Error::io("write a temporary file in", &self.temp_dir);
        let file = tempfile::tempfile_in(&self.temp_dir).map_err(failed())?;
        let part = PartFile::new(&self.temp_dir, file.try_clone().map_err(failed())?);
        self.files.truncate(index);
        self.files.push(file);
        Ok(part)
    }

    /// Opens the draft of the part with this index.
    pub(crate) fn open(&self, destination: &Destination, index: usize) -> Result<(Location, File)> {
        if let Destination::Directory(directory) = destination {
            let (path, file) = directory.draft(&directory.part_name(index, self.extension))?;
            return Ok((path.into(), file));
        }
        let missing = || Error::Internal(format!("there is no draft {index}"));
        let file = self.files.get(index).ok_or_else(missing)?;
        let file = file.try_clone().map_err(Error::io("read", &self.temp_dir))?;
        Ok((self.temp_dir.clone().into(), file))
    }
}
