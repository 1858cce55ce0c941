//! Files of an export, and files that look like one: everything that `verify`, `preview`, `diff` and a resumed run
//! read.

use std::fs;

use arrow_array::{RecordBatch, cast::AsArray};
use serde::de::IgnoredAny;

use crate::{
    batch::Column,
    diff::{DiffOptions, diff},
    error::{Error, Result},
    location::Location,
    readback::{Batches, ForeignFile, ReadOptions, count_rows, datapoint, verify_with},
};

/// Largest value in bytes: 64 KiB. A small limit is reached by small files.
const LARGEST: usize = 64 << 10;
/// Most rows of a file that are read. Some bytes of a Parquet file can declare two billion nulls.
const MOST_ROWS: usize = 20_000;

/// A Parquet file: of an export, or any other.
pub(super) fn parquet(bytes: &[u8]) {
    with_file("rows.parquet", bytes, |file| {
        export(file);
        foreign(file);
    });
}

/// An Arrow IPC file.
pub(super) fn arrow(bytes: &[u8]) {
    with_file("rows.arrow", bytes, export);
}

/// JSON Lines. Magic bytes tell compressed ones.
pub(super) fn json_lines(bytes: &[u8]) {
    let name = match bytes {
        [0x1F, 0x8B, ..] => "rows.jsonl.gz",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "rows.jsonl.zst",
        _ => "rows.jsonl",
    };
    with_file(name, bytes, counted);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(row) = datapoint(line) else { continue };
        assert!(row.starts_with('{'), "{row}");
        serde_json::from_str::<IgnoredAny>(&row).expect("a datapoint is JSON");
    }
}

/// CSV. Magic bytes tell compressed ones.
pub(super) fn csv(bytes: &[u8]) {
    let name = match bytes {
        [0x1F, 0x8B, ..] => "rows.csv.gz",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "rows.csv.zst",
        _ => "rows.csv",
    };
    with_file(name, bytes, counted);
}

/// An export as text, whose rows can be counted without being parsed.
fn counted(file: &Location) {
    let rows = export(file);
    match count_rows(file, || Ok(())) {
        Ok(counted) => assert!(rows.is_none_or(|rows| counted == Some(rows as u64))),
        Err(error) => assert_typed(&error),
    }
}

fn with_file<T>(name: &str, bytes: &[u8], work: impl FnOnce(&Location) -> T) -> T {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a temporary file");
    work(&Location::from(path))
}

pub(super) fn options(columns: &[Column]) -> ReadOptions {
    let columns = columns.iter().map(Column::to_string).collect();
    ReadOptions { columns, max_value_bytes: LARGEST, ..ReadOptions::default() }
}

/// Bad bytes are the fault of the file: not of the system, and not of this program.
pub(super) fn assert_typed(error: &Error) {
    let is_typed = matches!(
        error,
        Error::Damaged { .. }
            | Error::Column(_)
            | Error::ValueTooLarge { .. }
            | Error::ChangedCells { .. }
    );
    assert!(is_typed, "{error:?}");
    assert_eq!(error.exit_code(), 65);
}

/// The rows that were read.
struct ReadRows {
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Whether these are all rows of the file.
    ended: bool,
}

impl ReadRows {
    fn of(file: &Location, columns: &[Column]) -> Result<Self> {
        let mut batches = Batches::open_with(file, &options(columns))?;
        let mut read = Self { batches: Vec::new(), rows: 0, ended: false };
        while read.rows < MOST_ROWS {
            match batches.next() {
                Some(Ok(batch)) => {
                    assert!((1..=1000).contains(&batch.num_rows()));
                    read.rows += batch.num_rows();
                    read.batches.push(batch);
                }
                Some(Err(error)) => {
                    assert!(batches.next().is_none(), "rows after {error:?}");
                    return Err(error);
                }
                None => {
                    read.ended = true;
                    break;
                }
            }
        }
        Ok(read)
    }

    /// The values of a column of texts.
    fn texts(&self, column: Column) -> Vec<Option<&str>> {
        let texts = self
            .batches
            .iter()
            .filter_map(|batch| batch.column_by_name(column.name())?.as_string_opt::<i32>());
        texts.flatten().collect()
    }
}

/// Reads a file in every way. Returns the number of its rows, if it can be read to its end.
fn export(file: &Location) -> Option<usize> {
    let (all, ids) = (ReadRows::of(file, &[]), ReadRows::of(file, &[Column::Id]));
    let rows = match (&all, &ids) {
        (Ok(all), Ok(ids)) => {
            assert!(!all.ended || !ids.ended || all.rows == ids.rows);
            let (all_ids, only_ids) = (all.texts(Column::Id), ids.texts(Column::Id));
            let both = all_ids.len().min(only_ids.len());
            assert_eq!(all_ids[..both], only_ids[..both]);
            all.ended.then_some(all.rows)
        }
        (Ok(_), Err(error)) => panic!("all columns can be read, but not the first: {error:?}"),
        (Err(error), _) => {
            assert_typed(error);
            if let Err(error) = &ids {
                assert_typed(error);
            }
            None
        }
    };
    if all.as_ref().is_ok_and(|all| !all.ended) {
        return rows;
    }
    verified(file, rows);
    compared(file, rows);
    rows
}

fn verified(file: &Location, rows: Option<usize>) {
    match verify_with(file, &options(&[])) {
        Ok(found) => {
            assert_eq!(found.unread, Vec::<String>::new());
            // It is whole, so it can be read.
            assert!(!found.is_ok() || rows == Some(found.rows as usize), "{found:?}, {rows:?}");
        }
        // Damage is a problem, not an error.
        Err(error) => assert!(matches!(error, Error::ValueTooLarge { .. }), "{error:?}"),
    }
}

/// A file is equal to itself.
fn compared(file: &Location, rows: Option<usize>) {
    let options = DiffOptions { max_value_bytes: LARGEST, ..DiffOptions::default() };
    match diff(file, file, options) {
        Ok(found) => {
            let summary = found.summary();
            assert!(summary.is_equal(), "{summary:?}");
            assert_eq!(Some(summary.unchanged as usize), rows);
        }
        // It has no ids, or declares more rows than there is memory for.
        Err(Error::Usage(_)) => {}
        Err(error) => assert_typed(&error),
    }
}

/// Reads a Parquet file that is not an export, as `preview` does.
fn foreign(file: &Location) -> Option<usize> {
    const ROWS: usize = 10;
    let found = match ForeignFile::open(file, &options(&[])) {
        Ok(found) => found?,
        Err(error) => {
            assert_typed(&error);
            return None;
        }
    };
    let columns = found.columns().len();
    let mut rows = 0;
    let read = found.first_rows(ROWS, |row| {
        assert_eq!(row.len(), columns);
        for value in row {
            // As a cell, and with `--json`.
            let (_, _) = (value.to_string(), value.to_json_value());
        }
        rows += 1;
        Ok(())
    });
    assert!(rows <= ROWS);
    if let Err(error) = read {
        assert_typed(&error);
    }
    None
}
