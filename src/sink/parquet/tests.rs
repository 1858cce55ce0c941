//! Tests that the reader of the `parquet` crate reads the written rows, and that a file depends on its rows only.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, cast::AsArray};
use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
        RowSelector,
    },
    basic::PageType,
    column::page::Page,
    file::{
        metadata::{
            ColumnChunkMetaData, PageEncodingStats, PageIndexPolicy, ParquetMetaDataOptions,
            ParquetMetaDataReader,
        },
        page_index::offset_index::PageLocation,
        serialized_reader::SerializedPageReader,
    },
};
use proptest::prelude::*;

use super::*;
use crate::{
    batch::schema,
    sink::{Format, Output},
};

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
/// The columns whose pages do not depend on batches.
const TEXTS: &[Column] = &[Column::Id, Column::Input];

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
    written(batches.into_iter().map(batch), compression, PAGE_BYTES, threads)
}

fn written(
    batches: impl IntoIterator<Item = RecordBatch>,
    compression: Compression,
    page_bytes: usize,
    threads: usize,
) -> Bytes {
    written_as(&COLUMNS, batches, layout(compression, page_bytes), threads)
}

fn layout(compression: Compression, page_bytes: usize) -> Layout {
    Layout { compression, encoding: ParquetEncoding::default(), page_bytes }
}

fn written_as(
    columns: &[Column],
    batches: impl IntoIterator<Item = RecordBatch>,
    layout: Layout,
    threads: usize,
) -> Bytes {
    let shared = Shared::default();
    let output = Counted { output: Box::new(shared.clone()) as Output, bytes: 0 };
    let mut sink = Box::new(ParquetSink::with(layout, schema(columns), output, threads).unwrap());
    for batch in batches {
        sink.write(batch).unwrap();
    }
    sink.finish(None).unwrap();
    let bytes = shared.0.lock().unwrap().clone();
    Bytes::from(bytes)
}

fn texts(batch: &RecordBatch) -> RecordBatch {
    batch.project(&[0, 2]).unwrap()
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
    fn read_rows_equal_written_rows(
        rows in rows(), size in 1_usize..300, threads in 1_usize..5, page_bytes in 1_usize..9_000,
        plain: bool,
    ) {
        let encoding = if plain { ParquetEncoding::Plain } else { ParquetEncoding::DeltaLength };
        let layout = Layout { encoding, ..layout(Compression::Zstd(3), page_bytes) };
        // Text pages also depend on neither the batch size nor the number of threads.
        let file = |size, threads| {
            let batches = rows.chunks(size).map(|rows| texts(&batch(rows)));
            written_as(TEXTS, batches, layout, threads)
        };
        prop_assert!(file(700, 1) == file(size, threads));
        let file = written_as(&COLUMNS, rows.chunks(size).map(batch), layout, threads);
        prop_assert!(same(&read(file, None), &rows));
    }

    #[test]
    fn bytes_in_null_slots_change_nothing(
        rows in rows(), size in 1_usize..300, page_bytes in 1_usize..9_000,
    ) {
        let written = |batch: fn(&[Row]) -> RecordBatch| {
            written(rows.chunks(size).map(batch), Compression::Zstd(3), page_bytes, 2)
        };
        let file = written(hiding);
        prop_assert!(file == written(batch));
        prop_assert!(same(&read(file, None), &rows));
    }
}

/// Returns the same values as [`batch`], with bytes in each null slot of a text column.
fn hiding(rows: &[Row]) -> RecordBatch {
    let batch = batch(rows);
    let hide = |array: &ArrayRef| match array.as_string_opt::<i32>() {
        None => array.clone(),
        Some(texts) => {
            let filled: StringArray =
                texts.iter().map(|text| Some(text.unwrap_or("nobody's"))).collect();
            let (offsets, values, _) = filled.into_parts();
            Arc::new(StringArray::new(offsets, values, texts.nulls().cloned())) as ArrayRef
        }
    };
    let columns = batch.columns().iter().map(hide).collect();
    RecordBatch::try_new(batch.schema(), columns).unwrap()
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
fn page_index_finds_rows_inside_row_group() {
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
fn oversized_row_ends_its_page_or_row_group() {
    let mut rows = long_rows(5, 64);
    rows[0].input = Some("x".repeat(PAGE_BYTES + 1));
    rows[2].input = Some("y".repeat(ROW_GROUP_BYTES + 1));
    // A batch is never cut by bytes: the row group ends with the batch that reaches its size limit.
    let file = file(rows.chunks(3), Compression::Zstd(3), 2);
    let options = ArrowReaderOptions::new().with_page_index_policy(true.into());
    let metadata = ArrowReaderMetadata::load(&file, options).unwrap();
    let metadata = metadata.metadata();
    let rows_of: Vec<_> = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(rows_of, [3, 2]);
    let index = metadata.page_index_for_row_group(0);
    let locations = index.offset_index(2).unwrap().page_locations();
    // Rows 1 and 2 share a page: row 1 starts it, row 2 reaches its size limit.
    assert_eq!(locations.iter().map(|it| it.first_row_index).collect::<Vec<_>>(), [0, 1]);
    assert!(same(&read(file, None), &rows));
}

#[test]
fn empty_file_has_complete_schema() {
    let empty = file([], Compression::Zstd(3), 2);
    let metadata = ArrowReaderMetadata::load(&empty, Default::default()).unwrap();
    assert_eq!(metadata.schema().fields(), schema(&COLUMNS).fields());
    assert!(read(empty, None).is_empty());
}

/// A page in a file, with the sizes of its header and its data in bytes.
struct Seen {
    page: Page,
    header: i64,
    uncompressed: i64,
    compressed: i64,
}

/// Parses the first three fields of a page header in Thrift's compact protocol: type, uncompressed size,
/// compressed size.
fn page_header(bytes: &[u8]) -> [i64; 3] {
    let mut bytes = bytes.iter();
    [(); 3].map(|()| {
        // 0x15: the next field is an i32.
        assert_eq!(bytes.next(), Some(&0x15));
        let (mut value, mut shift) = (0_u64, 0);
        for byte in bytes.by_ref() {
            value |= u64::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        (value >> 1) as i64 ^ -((value & 1) as i64)
    })
}

/// Reads the pages of a column chunk, which must be contiguous and match the offset index.
fn pages(file: &Bytes, column: &ColumnChunkMetaData, locations: &[PageLocation]) -> Vec<Seen> {
    let reader = Arc::new(file.clone());
    let (start, length) = column.byte_range();
    let mut ends: Vec<_> = locations.iter().map(|it| it.offset).skip(1).collect();
    if column.dictionary_page_offset().is_some() {
        ends.insert(0, column.data_page_offset());
    }
    ends.push((start + length) as i64);
    let rows = column.num_values() as usize;
    let reader = SerializedPageReader::new(reader, column, rows, None).unwrap();
    let mut start = start as i64;
    let seen = reader.zip(ends).map(|(page, end)| {
        let page = page.unwrap();
        let [kind, uncompressed, compressed] = page_header(&file[start as usize..]);
        assert_eq!(kind, if page.page_type() == PageType::DICTIONARY_PAGE { 2 } else { 0 });
        assert_eq!(uncompressed, page.buffer().len() as i64);
        let header = end - start - compressed;
        start = end;
        Seen { page, header, uncompressed, compressed }
    });
    seen.collect()
}

#[test]
fn footer_metadata_matches_pages() {
    let rows = long_rows(12_345, 1_000);
    for (compression, encoding) in [
        (Compression::None, ParquetEncoding::DeltaLength),
        (Compression::Zstd(3), ParquetEncoding::DeltaLength),
        (Compression::Zstd(3), ParquetEncoding::Plain),
    ] {
        let layout = Layout { encoding, ..layout(compression, PAGE_BYTES) };
        let file = written_as(&COLUMNS, rows.chunks(1_000).map(batch), layout, 3);
        let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
        let metadata = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Required)
            .with_metadata_options(Some(options))
            .parse_and_finish(&file)
            .unwrap();
        assert_eq!(metadata.num_row_groups(), 2);
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let index = metadata.page_index_for_row_group(number);
            for (place, column) in group.columns().iter().enumerate() {
                let name = COLUMNS[place];
                let locations = index.offset_index(place).unwrap().page_locations();
                let pages = pages(&file, column, locations);
                assert!(pages.len() > 3 || number > 0 || name != Column::Input);
                let sum = |of: fn(&Seen) -> i64| pages.iter().map(of).sum::<i64>();
                let uncompressed = sum(|it| it.header + it.uncompressed);
                assert_eq!(column.uncompressed_size(), uncompressed, "{name}");
                assert_eq!(column.compressed_size(), sum(|it| it.header + it.compressed), "{name}");
                assert!(pages.iter().all(|it| (12..200).contains(&it.header)), "{name}");

                let data: Vec<_> =
                    pages.iter().filter(|it| it.page.page_type() == PageType::DATA_PAGE).collect();
                assert_eq!(locations.len(), data.len(), "{name}");
                let mut row = 0;
                for (location, seen) in locations.iter().zip(&data) {
                    let size = seen.header + seen.compressed;
                    let said = (location.compressed_page_size, location.first_row_index);
                    assert_eq!(said, (size as i32, row), "{name}");
                    row += i64::from(seen.page.num_values());
                }
                assert_eq!((row, column.num_values()), (group.num_rows(), row), "{name}");

                let mut counts: Vec<PageEncodingStats> = Vec::new();
                for Seen { page, .. } in &pages {
                    let (page_type, encoding) = (page.page_type(), page.encoding());
                    assert!(column.encodings().any(|it| it == encoding), "{name}");
                    match counts.last_mut() {
                        Some(last) if (last.page_type, last.encoding) == (page_type, encoding) => {
                            last.count += 1;
                        }
                        _ => counts.push(PageEncodingStats { page_type, encoding, count: 1 }),
                    }
                }
                assert_eq!(column.page_encoding_stats(), Some(&counts), "{name}");
                let levels = usize::from(name != Column::Id);
                assert!(column.encodings().count() <= counts.len() + levels.max(1), "{name}");
            }
            let total: i64 = group.columns().iter().map(|it| it.uncompressed_size()).sum();
            assert_eq!(group.total_byte_size(), total);
        }
    }
}

#[test]
fn batch_of_other_schema_is_refused_without_panic() {
    let output = Counted { output: Box::new(std::io::sink()) as Output, bytes: 0 };
    let mut sink =
        ParquetSink::new(Format::Parquet.into(), schema(&[Column::Id, Column::Order]), output, 1)
            .unwrap();
    let wrong = RecordBatch::try_new(
        schema(&[Column::Order]),
        vec![Arc::new(Int64Array::from(vec![1])) as ArrayRef],
    )
    .unwrap();
    assert!(sink.write(wrong).is_err());
}
