//! What a file holds, read back by the library's reader, and that nothing but the rows decides it.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, cast::AsArray};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use proptest::prelude::*;

use super::*;
use crate::{batch::schema, sink::Output};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const COLUMNS: [Column; 4] = [Column::Id, Column::Order, Column::Input, Column::Tags];

#[derive(Debug, Clone)]
struct Row {
    id: String,
    order: Option<i64>,
    input: Option<String>,
    tags: Option<String>,
}

fn batch(rows: &[Row]) -> RecordBatch {
    let text = |of: fn(&Row) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let columns = vec![
        text(|row| Some(&row.id)),
        Arc::new(rows.iter().map(|row| row.order).collect::<Int64Array>()),
        text(|row| row.input.as_deref()),
        text(|row| row.tags.as_deref()),
    ];
    RecordBatch::try_new(schema(&COLUMNS), columns).unwrap()
}

fn file<'a>(
    batches: impl IntoIterator<Item = &'a [Row]>,
    compression: Compression,
    threads: usize,
) -> Bytes {
    let shared = Shared::default();
    let output = Counted { output: Box::new(shared.clone()) as Output, bytes: 0 };
    let mut sink =
        Box::new(ParquetSink::new(compression, schema(&COLUMNS), output, threads).unwrap());
    for rows in batches {
        sink.write(batch(rows)).unwrap();
    }
    sink.finish(None).unwrap();
    let bytes = shared.0.lock().unwrap().clone();
    Bytes::from(bytes)
}

fn read(file: Bytes, selection: Option<RowSelection>) -> Vec<Row> {
    let options = ArrowReaderOptions::new().with_page_index_policy(true.into());
    let metadata = ArrowReaderMetadata::load(&file, options).unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    if let Some(selection) = selection {
        reader = reader.with_row_selection(selection);
    }
    let mut rows = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let text = |column: usize| batch.column(column).as_string::<i32>().iter();
        let orders = batch.column(1).as_primitive::<arrow_array::types::Int64Type>().iter();
        for (((id, order), input), tags) in text(0).zip(orders).zip(text(2)).zip(text(3)) {
            rows.push(Row {
                id: id.unwrap().to_owned(),
                order,
                input: input.map(str::to_owned),
                tags: tags.map(str::to_owned),
            });
        }
    }
    rows
}

fn same(read: &[Row], written: &[Row]) -> bool {
    let text = |rows: &[Row]| format!("{rows:?}");
    text(read) == text(written)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = || {
        prop::option::of(prop_oneof![
            8 => "[ a-zü\"]{0,40}",
            1 => Just(String::new()),
            1 => (0_usize..3000).prop_map(|length| "x".repeat(length)),
        ])
    };
    let row = ("[a-f0-9]{1,36}", any::<Option<i64>>(), text(), text())
        .prop_map(|(id, order, input, tags)| Row { id, order, input, tags });
    prop::collection::vec(row, 0..700)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_read_is_what_was_written_and_batches_and_threads_do_not_show(
        rows in rows(), size in 1_usize..300, threads in 1_usize..5,
    ) {
        let one = file([rows.as_slice()], Compression::Zstd(3), 1);
        let other = file(rows.chunks(size), Compression::Zstd(3), threads);
        prop_assert!(one == other);
        prop_assert!(same(&read(one, None), &rows));
    }
}

fn long_rows(count: usize, bytes: usize) -> Vec<Row> {
    (0..count)
        .map(|row| Row {
            id: format!("{row:036}"),
            order: Some(row as i64),
            input: (row % 7 != 0).then(|| format!("\"{row}{}\"", "abcdefg ".repeat(bytes / 8))),
            tags: (row % 3 == 0).then(|| format!("[{}]", row % 10)),
        })
        .collect()
}

#[test]
fn every_codec_is_read_back() {
    let rows = long_rows(3000, 2000);
    for compression in [
        Compression::None,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd(1),
        Compression::Zstd(3),
        Compression::Zstd(9),
    ] {
        let file = file(rows.chunks(1000), compression, 2);
        assert!(same(&read(file, None), &rows), "{compression}");
    }
}

#[test]
fn the_page_index_finds_rows_in_the_middle_of_a_row_group() {
    let rows = long_rows(12_345, 1000);
    let file = file(rows.chunks(1000), Compression::Zstd(3), 3);
    let metadata = ArrowReaderMetadata::load(
        &file,
        ArrowReaderOptions::new().with_page_index_policy(true.into()),
    )
    .unwrap();
    let index = metadata.metadata().page_index_for_row_group(0);
    let pages = index.num_data_pages(2).unwrap();
    assert!(pages > 3, "{pages} pages of the input");
    let skip = 7_003;
    let selection = RowSelection::from(vec![
        RowSelector::skip(skip),
        RowSelector::select(11),
        RowSelector::skip(12_345 - skip - 11),
    ]);
    assert!(same(&read(file, Some(selection)), &rows[skip..skip + 11]));
}

#[test]
fn a_row_larger_than_a_page_is_a_page_of_its_own_and_ends_a_row_group_that_it_fills() {
    let mut rows = long_rows(5, 64);
    rows[2].input = Some("y".repeat(ROW_GROUP_BYTES + 1));
    let file = file([rows.as_slice()], Compression::Zstd(3), 2);
    assert!(same(&read(file, None), &rows));
}

#[test]
fn no_rows_are_a_file_with_the_whole_schema() {
    let empty = file([], Compression::Zstd(3), 2);
    let metadata = ArrowReaderMetadata::load(&empty, Default::default()).unwrap();
    assert_eq!(metadata.schema().fields(), schema(&COLUMNS).fields());
    assert!(read(empty, None).is_empty());
}

#[test]
fn a_batch_of_another_schema_is_refused_and_does_not_panic() {
    let output = Counted { output: Box::new(std::io::sink()) as Output, bytes: 0 };
    let mut sink =
        ParquetSink::new(Compression::None, schema(&[Column::Id, Column::Order]), output, 1)
            .unwrap();
    let wrong = RecordBatch::try_new(
        schema(&[Column::Order]),
        vec![Arc::new(Int64Array::from(vec![1])) as ArrayRef],
    )
    .unwrap();
    assert!(sink.write(wrong).is_err());
}
