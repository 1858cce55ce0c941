//! Reads exported files. Each format is read with the crate that users would read it with.

use std::io::{Cursor, Read};

use arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{DataType, Field, SchemaRef};
use bytes::Bytes;
use flate2::bufread::GzDecoder;
use overmind_export::Column;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::rows::{Fields, Source, compact};

/// The rows of a file. Each value is a text; `None` is null.
#[derive(Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// The expected content of a file with these rows and columns.
    pub(crate) fn of(rows: &[Source], columns: &[Column]) -> Self {
        let places: Vec<_> = columns
            .iter()
            .map(|column| Column::ALL.iter().position(|it| it == column).unwrap())
            .collect();
        Self {
            columns: columns.iter().map(Column::to_string).collect(),
            rows: rows
                .iter()
                .map(|row| places.iter().map(|place| row.columns[*place].clone()).collect())
                .collect(),
        }
    }

    /// Reads a file. The extension of its name gives the format and the compression.
    #[track_caller]
    pub(crate) fn read(name: &str, bytes: Vec<u8>) -> Self {
        match name.split_once('.').unwrap().1 {
            "parquet" => Self::of_parquet(bytes),
            "arrow" => Self::of_arrow_file(bytes),
            "jsonl" => Self::of_json_lines(&bytes),
            "jsonl.gz" => Self::of_json_lines(&gunzip(&bytes)),
            "jsonl.zst" => Self::of_json_lines(&unzstd(&bytes)),
            "csv" => Self::of_csv(&bytes),
            "csv.gz" => Self::of_csv(&gunzip(&bytes)),
            "csv.zst" => Self::of_csv(&unzstd(&bytes)),
            other => panic!("no reader for .{other}"),
        }
    }

    pub(crate) fn of_parquet(bytes: Vec<u8>) -> Self {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
        let schema = reader.schema().clone();
        Self::of_batches(&schema, reader.build().unwrap().map(Result::unwrap))
    }

    pub(crate) fn of_arrow_file(bytes: Vec<u8>) -> Self {
        let reader = FileReader::try_new(Cursor::new(bytes), None).unwrap();
        Self::of_batches(&reader.schema(), reader.map(Result::unwrap))
    }

    pub(crate) fn of_arrow_stream(bytes: &[u8]) -> Self {
        let reader = StreamReader::try_new(bytes, None).unwrap();
        Self::of_batches(&reader.schema(), reader.map(Result::unwrap))
    }

    /// Collects the rows and checks the schema, which depends only on the columns.
    fn of_batches(schema: &SchemaRef, batches: impl Iterator<Item = RecordBatch>) -> Self {
        let columns: Vec<String> =
            schema.fields().iter().map(|field| field.name().clone()).collect();
        let expected: Vec<Field> = columns
            .iter()
            .map(|name| match name.as_str() {
                "id" => Field::new(name, DataType::Utf8, false),
                "order" => Field::new(name, DataType::Int64, true),
                _ => Field::new(name, DataType::Utf8, true),
            })
            .collect();
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        assert_eq!(fields, expected);
        let mut rows = Vec::new();
        for batch in batches {
            for row in 0..batch.num_rows() {
                rows.push(batch.columns().iter().map(|array| text(array, row)).collect());
            }
        }
        Self { columns, rows }
    }

    /// Reads JSON Lines. Checks that all lines have the same names and no white space between tokens, except for the
    /// space after the brace that marks strings of JSON text.
    pub(crate) fn of_json_lines(bytes: &[u8]) -> Self {
        let text = str::from_utf8(bytes).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        let mut table = Self { columns: Vec::new(), rows: Vec::new() };
        for line in text.lines() {
            let is_text = line.starts_with("{ ");
            let line = line.replacen("{ ", "{", usize::from(is_text));
            assert!(compact(&line) == line, "not compact: {line:.200}");
            let Fields(fields) = serde_json::from_str(&line).unwrap();
            let names: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
            if table.rows.is_empty() {
                table.columns = names;
            } else {
                assert_eq!(names, table.columns);
            }
            let values = fields.into_iter().map(|(name, value)| match name.as_str() {
                _ if value == "null" => None,
                "id" | "persona" => Some(serde_json::from_str(&value).unwrap()),
                "order" => Some(value),
                _ if is_text => Some(serde_json::from_str(&value).unwrap()),
                _ => Some(value),
            });
            table.rows.push(values.collect());
        }
        table
    }

    /// Reads CSV as RFC 4180 defines it, with a byte order mark or without. An empty cell is null, and two quotes are the
    /// empty text. Checks that every line ends in a carriage return and a line feed, and that no cell has quotes that it
    /// does not need.
    pub(crate) fn of_csv(bytes: &[u8]) -> Self {
        let text = str::from_utf8(bytes).unwrap();
        let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut records = vec![Vec::new()];
        while !rest.is_empty() {
            let cell;
            if let Some(inner) = rest.strip_prefix('"') {
                let (mut value, mut at) = (String::new(), inner);
                loop {
                    let (before, after) = at.split_once('"').expect("a quote at the end of a cell");
                    value.push_str(before);
                    match after.strip_prefix('"') {
                        Some(after) => (value, at) = (value + "\"", after),
                        None => {
                            rest = after;
                            break;
                        }
                    }
                }
                let is_needed = value.is_empty() || value.contains(['"', ',', '\r', '\n']);
                assert!(is_needed, "quotes around {value:.200}");
                cell = Some(value);
            } else {
                let end = rest.find([',', '\r', '\n']).expect("an end of the line");
                let (value, after) = rest.split_at(end);
                assert!(!value.contains('"'), "a quote in {value:.200}");
                cell = (!value.is_empty()).then(|| value.to_owned());
                rest = after;
            }
            records.last_mut().unwrap().push(cell);
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => {
                    rest = rest.strip_prefix("\r\n").expect("the end of a line");
                    records.push(Vec::new());
                }
            }
        }
        assert_eq!(records.pop(), Some(Vec::new()), "the last line has an end");
        let columns = records.remove(0).into_iter().map(Option::unwrap_or_default).collect();
        let table = Self { columns, rows: records };
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
        table
    }

    /// Asserts that both tables are equal. The message shows only the first difference, because a value can be
    /// megabytes long.
    #[track_caller]
    pub(crate) fn assert_equals(&self, expected: &Self, what: &str) {
        // JSON Lines without rows contain no column names.
        if !self.columns.is_empty() || !self.rows.is_empty() {
            assert_eq!(self.columns, expected.columns, "{what}");
        }
        assert_eq!(self.rows.len(), expected.rows.len(), "{what}: rows");
        for (number, (row, expected)) in self.rows.iter().zip(&expected.rows).enumerate() {
            for ((name, value), expected) in self.columns.iter().zip(row).zip(expected) {
                assert!(
                    value == expected,
                    "{what}: row {number}, {name}: {value:.200?}, expected {expected:.200?}"
                );
            }
        }
    }
}

/// Decompresses a gzip file, which must be one member: some readers stop after the first.
pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(bytes);
    let mut text = Vec::new();
    decoder.read_to_end(&mut text).unwrap();
    assert!(decoder.into_inner().is_empty(), "another member follows");
    text
}

pub(crate) fn unzstd(bytes: &[u8]) -> Vec<u8> {
    zstd::decode_all(bytes).unwrap()
}

fn text(array: &dyn Array, row: usize) -> Option<String> {
    array.is_valid(row).then(|| match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        _ => array.as_string::<i32>().value(row).to_owned(),
    })
}
