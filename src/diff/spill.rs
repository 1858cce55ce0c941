//! Spills the first export's values of changed rows to disk until the second export is read.
//!
//! The file has no name, so that the system deletes it when the process ends. Memory does not grow with the number
//! of changed rows.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use crate::error::{Error, Result};

/// Length that marks a null.
const NONE: u64 = u64::MAX;

/// Writes texts to the spill file. Their offset in the file identifies them.
pub(super) struct RowSpill {
    folder: PathBuf,
    file: Option<BufWriter<File>>,
    end: u64,
}

impl RowSpill {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, file: None, end: 0 }
    }

    /// Writes texts and returns their offset, which is never 0.
    pub(super) fn write<'a>(
        &mut self,
        texts: impl IntoIterator<Item = Option<&'a str>>,
    ) -> Result<u64> {
        self.try_write(texts).map_err(Error::io("keep changed rows in", &self.folder))
    }

    fn try_write<'a>(
        &mut self,
        texts: impl IntoIterator<Item = Option<&'a str>>,
    ) -> io::Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut file = BufWriter::new(tempfile::tempfile_in(&self.folder)?);
                // Offset 0 means "not stored": start with one unused byte.
                file.write_all(&[0])?;
                self.end = 1;
                self.file.insert(file)
            }
        };
        let start = self.end;
        for text in texts {
            let length = text.map_or(NONE, |text| text.len() as u64);
            file.write_all(&length.to_le_bytes())?;
            file.write_all(text.unwrap_or_default().as_bytes())?;
            self.end += size_of::<u64>() as u64 + text.map_or(0, |text| text.len() as u64);
        }
        Ok(start)
    }

    /// Ends writing and returns a reader.
    pub(super) fn into_reader(self) -> Result<SpillReader> {
        let failed = Error::io("keep changed rows in", &self.folder);
        let file = self.file.map(BufWriter::into_inner).transpose();
        let file = file.map_err(|error| failed(error.into_error()))?;
        Ok(SpillReader { folder: self.folder, file: file.map(BufReader::new), at: None })
    }
}

/// Reads texts back. This is fast when they are read in the order in which they were written.
pub(super) struct SpillReader {
    folder: PathBuf,
    file: Option<BufReader<File>>,
    at: Option<u64>,
}

impl SpillReader {
    /// Reads `count` texts that were written at an offset.
    pub(super) fn read(&mut self, offset: u64, count: usize) -> Result<Vec<Option<String>>> {
        self.try_read(offset, count).map_err(Error::io("read changed rows in", &self.folder))
    }

    fn try_read(&mut self, offset: u64, count: usize) -> io::Result<Vec<Option<String>>> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        match self.at.take() {
            // A relative seek within the buffer keeps the buffer.
            Some(at) => file.seek_relative(offset.wrapping_sub(at) as i64)?,
            None => drop(file.seek(SeekFrom::Start(offset))?),
        }
        let mut at = offset;
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            let mut length = [0; size_of::<u64>()];
            file.read_exact(&mut length)?;
            at += length.len() as u64;
            let length = u64::from_le_bytes(length);
            if length == NONE {
                texts.push(None);
                continue;
            }
            let mut text = String::new();
            if file.take(length).read_to_string(&mut text)? as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += length;
            texts.push(Some(text));
        }
        self.at = Some(at);
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_can_be_read_in_any_order(
            records in prop::collection::vec(
                prop::collection::vec(prop::option::of(".{0,40}"), 0..4), 0..40),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut spill = RowSpill::new(std::env::temp_dir());
            let written: Vec<_> = records
                .iter()
                .map(|texts| (spill.write(texts.iter().map(Option::as_deref)).unwrap(), texts))
                .collect();
            let mut reader = spill.into_reader().unwrap();
            for pick in picks.iter().filter(|_| !written.is_empty()) {
                let (offset, texts) = pick.get(&written);
                prop_assert!(*offset > 0);
                prop_assert_eq!(&reader.read(*offset, texts.len()).unwrap(), *texts);
            }
        }
    }

    #[test]
    fn missing_folder_is_named_in_error() {
        let error = RowSpill::new("no/such/folder".into()).write([Some("x")]).unwrap_err();
        assert_eq!(error.to_string(), "cannot keep changed rows in no/such/folder");
    }
}
