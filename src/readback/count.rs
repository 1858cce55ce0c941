//! Counts the rows of text files.

use std::path::Path;

use super::{csv::count_records, json_lines::count_lines, text::TextFile};
use crate::{
    error::Result,
    location::Location,
    sink::{Encoding, Format},
};

/// Counts the rows of JSON Lines or CSV without parsing them. Returns `None` for other formats.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) or [`Error::Damaged`](crate::Error::Damaged) when the file cannot be read, and any error of `go_on`, which is called
/// before each block of bytes and can cancel the count.
pub(crate) fn count_rows(path: &Location, go_on: impl Fn() -> Result<()>) -> Result<Option<u64>> {
    let Some(encoding) = Encoding::of_path(Path::new(&path.name())) else { return Ok(None) };
    let open = || TextFile::open(path, encoding.compression(), None);
    match encoding.format() {
        Format::JsonLines => count_lines(open()?, go_on).map(Some),
        // The first record is the header.
        Format::Csv => count_records(open()?, go_on).map(|count| Some(count.saturating_sub(1))),
        Format::Parquet | Format::Arrow => Ok(None),
    }
}
