//! Measures the limit of one core: parses page files and encodes them to Parquet at zstd level 3, on one thread.
//!
//! usage: parse_and_encode FOLDER OUT
//!
//! It uses no network: FOLDER contains the pages as 1.json, 2.json, … It borrows JSON values from the page
//! (`serde_json::value::RawValue`) and copies them once, into the column builders. Row groups have 10,000 rows.
//! Only `persona` and `tags` have dictionaries, because the other columns rarely repeat values.

use std::{
    borrow::Cow,
    error::Error,
    fs::{self, File},
    io::BufWriter,
    path::Path,
    sync::Arc,
};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{Int64Builder, StringBuilder},
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::Deserialize;
use serde_json::value::RawValue;

const ZSTD_LEVEL: i32 = 3;
const ROWS_PER_GROUP: usize = 10_000;
const ROWS_PER_BATCH: usize = 4096;

#[derive(Deserialize)]
struct Page<'page> {
    #[serde(borrow)]
    results: Vec<Row<'page>>,
}

#[derive(Deserialize)]
struct Row<'page> {
    #[serde(borrow)]
    id: Cow<'page, str>,
    order: Option<i64>,
    #[serde(borrow, default)]
    input: Option<&'page RawValue>,
    #[serde(borrow, default)]
    expected_output: Option<&'page RawValue>,
    #[serde(borrow, default)]
    persona: Option<Cow<'page, str>>,
    #[serde(borrow, default)]
    tags: Option<&'page RawValue>,
}

/// One builder for each column.
#[derive(Default)]
struct Columns {
    id: StringBuilder,
    order: Int64Builder,
    input: StringBuilder,
    expected_output: StringBuilder,
    persona: StringBuilder,
    tags: StringBuilder,
    rows: usize,
}

impl Columns {
    fn push(&mut self, row: &Row<'_>) {
        self.id.append_value(&row.id);
        self.order.append_option(row.order);
        self.input.append_option(row.input.map(RawValue::get));
        self.expected_output.append_option(row.expected_output.map(RawValue::get));
        self.persona.append_option(row.persona.as_deref());
        self.tags.append_option(row.tags.map(RawValue::get));
        self.rows += 1;
    }

    fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(self.order.finish()),
            Arc::new(self.input.finish()),
            Arc::new(self.expected_output.finish()),
            Arc::new(self.persona.finish()),
            Arc::new(self.tags.finish()),
        ];
        RecordBatch::try_new(schema.clone(), columns)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out] = arguments.as_slice() else {
        return Err("usage: parse_and_encode FOLDER OUT".into());
    };
    let schema = schema();
    let file = BufWriter::new(File::create(out)?);
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties()?))?;
    let mut columns = Columns::default();
    for number in 1.. {
        let path = Path::new(folder).join(format!("{number}.json"));
        if !path.exists() {
            break;
        }
        let bytes = fs::read(path)?;
        let page: Page<'_> = serde_json::from_slice(&bytes)?;
        for row in &page.results {
            columns.push(row);
        }
        if columns.rows >= ROWS_PER_BATCH {
            writer.write(&columns.finish(&schema)?)?;
        }
    }
    writer.write(&columns.finish(&schema)?)?;
    writer.close()?;
    Ok(())
}

fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("order", DataType::Int64, true),
        text("input"),
        text("expected_output"),
        text("persona"),
        text("tags"),
    ]))
}

fn properties() -> Result<WriterProperties, Box<dyn Error>> {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP));
    for column in ["id", "order", "input", "expected_output"] {
        builder = builder.set_column_dictionary_enabled(column.into(), false);
    }
    Ok(builder.build())
}
