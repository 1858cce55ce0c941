//! Conversions of any bytes, for fuzzers.

#![allow(clippy::expect_used, reason = "a broken invariant ends the fuzzer")]

use std::{fs, path::Path};

use super::{Convert, ConvertOptions, ConvertPlan};
use crate::{
    error::Error,
    location::Location,
    proof::Digest,
    readback::{Batches, ReadOptions, verify_with},
    record::facts::digest,
    sink::JsonColumns,
    transform::Transform,
};

/// Largest value in bytes: 64 KiB.
const LARGEST: usize = 64 << 10;
/// Most rows of a source. Some bytes of a Parquet file can declare two billion nulls.
const MOST_ROWS: u64 = 5_000;

/// A file of any format, whose first bytes tell the format: converted to text, to splits and to nested columns.
///
/// The output of a conversion is whole. The rows of nested columns are the same when they are nested again.
pub(crate) fn convert(bytes: &[u8]) {
    let name = match bytes {
        [b'P', b'A', b'R', b'1', ..] => "rows.parquet",
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => "rows.arrow",
        [0x1F, 0x8B, ..] => "rows.jsonl.gz",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "rows.jsonl.zst",
        _ => "rows.jsonl",
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path(name), bytes).expect("a temporary file");
    let Some(rows) = rows_of(&path(name)) else { return };
    let text = converted(&path(name), &path("text.jsonl"), JsonColumns::Text);
    let nested = converted(&path(name), &path("nested.parquet"), JsonColumns::Nested);
    let again = converted(&path(name), &path("nested.arrow"), JsonColumns::Nested);
    let split = Transform::new().split([("a", 0.5), ("b", 0.5)]);
    let splits = transformed(&path(name), &path("splits/"), JsonColumns::Text, split);
    for (count, _) in text.iter().chain(&splits) {
        assert_eq!(*count, rows);
    }
    assert_eq!(nested, again);
    let Some((count, _)) = nested else { return };
    assert!(text.is_some(), "the rows can be nested, but not written as text");
    assert_eq!(count, rows);
    let twice = converted(&path("nested.arrow"), &path("twice.parquet"), JsonColumns::Nested);
    assert_eq!(twice, nested);
}

fn read_options() -> ReadOptions {
    // The spelling of numbers can make a text longer.
    ReadOptions { max_value_bytes: 5 * LARGEST, ..ReadOptions::default() }
}

/// Returns the number of rows of a file that can be read to its end; `None` if it cannot, or has too many of them.
fn rows_of(path: &Path) -> Option<u64> {
    let options = ReadOptions { max_value_bytes: LARGEST, ..ReadOptions::default() };
    let mut rows = 0;
    for batch in Batches::open_with(&Location::from(path), &options).ok()? {
        rows += batch.ok()?.num_rows() as u64;
        if rows > MOST_ROWS {
            return None;
        }
    }
    Some(rows)
}

/// Converts a file. Returns the number of rows of the output, and their digest as they are read back; `None` if the file
/// cannot be converted.
fn converted(source: &Path, output: &Path, form: JsonColumns) -> Option<(u64, Digest)> {
    transformed(source, output, form, Transform::new())
}

/// Converts a file like [`converted`], with a transformation.
fn transformed(
    source: &Path,
    output: &Path,
    form: JsonColumns,
    transform: Transform,
) -> Option<(u64, Digest)> {
    let mut options = ConvertOptions::new(source, output);
    options.json_columns = Some(form);
    options.transform = transform;
    options.max_value_bytes = 5 * LARGEST;
    options.encode_threads = Some(1);
    options.manifest = true;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let converted = ConvertPlan::new(options).map(Convert::new);
    if let Err(error) = converted.and_then(|convert| runtime.block_on(convert.run())) {
        assert_typed(&error);
        assert!(!output.exists(), "{error:?}");
        return None;
    }
    let place = Location::from(output);
    let found = verify_with(&place, &read_options()).expect("an output can be read");
    assert!(found.is_ok(), "{found:?}");
    let (mut rows, mut whole) = (0, Digest::default());
    for batch in Batches::open_with(&place, &read_options()).expect("an output can be read") {
        let batch = batch.expect("an output can be read");
        whole.join(digest(&batch).expect("an output has known types"), batch.num_rows() as u64);
        rows += batch.num_rows() as u64;
    }
    Some((rows, whole))
}

/// Bad bytes are the fault of the file: not of the system, and not of this program. A file can also lack the columns of an
/// output.
fn assert_typed(error: &Error) {
    assert!(matches!(error.exit_code(), 2 | 65), "{error:?}");
}
