//! Damaged and hostile files end in a clear error, within bounded memory.

use std::{fs::File, sync::Arc};

use ::parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding as PageEncoding, ZstdLevel},
    file::{metadata::KeyValue, properties::WriterProperties},
};
use arrow_array::{
    Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray, cast::AsArray,
};
use arrow_ipc::{
    CompressionType,
    writer::{FileWriter, IpcWriteOptions},
};
use tempfile::TempDir;

use super::*;
use crate::{readback::verify::verify, sink::METADATA_KEY};

fn options(max_value_bytes: usize) -> ReadOptions {
    ReadOptions { max_value_bytes, ..ReadOptions::default() }
}

/// A batch of ids, and inputs that all repeat one text of `bytes` bytes.
fn repeated(rows: usize, bytes: usize) -> RecordBatch {
    let id = |row: usize| uuid::Uuid::from_u128(row as u128).to_string();
    let ids: StringArray = (0..rows).map(|row| Some(id(row))).collect();
    let text = format!("\"{}\"", "x".repeat(bytes - 2));
    let inputs: StringViewArray = {
        let mut builder = arrow_array::builder::StringViewBuilder::new()
            .with_deduplicate_strings()
            .with_fixed_block_size(bytes as u32 + 1);
        (0..rows).for_each(|_| builder.append_value(&text));
        builder.finish()
    };
    RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as arrow_array::ArrayRef),
        ("input", Arc::new(inputs)),
    ])
    .unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch, properties: WriterProperties) {
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn zstd() -> ::parquet::file::properties::WriterPropertiesBuilder {
    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap()))
}

/// Reads all batches of a file. Returns its rows, and the bytes of values in the largest batch.
fn read_all(path: &Path, options: &ReadOptions) -> Result<(usize, usize)> {
    let reader = open(&path.into(), options)?;
    let (mut rows, mut most) = (0, 0);
    for batch in reader.batches.in_order() {
        let batch = batch?;
        rows += batch.num_rows();
        let texts = batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>());
        let bytes = |text: &StringArray| text.iter().flatten().map(str::len).sum::<usize>();
        most = most.max(texts.map(bytes).sum());
    }
    Ok((rows, most))
}

#[test]
fn repeated_texts_do_not_multiply_memory() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("small.parquet");
    // 200 MB of values in a file of a few KB: a batch of 1,000 rows would have a third of the values.
    let batch = repeated(3000, 1 << 16);
    for encoding in [None, Some(PageEncoding::DELTA_BYTE_ARRAY)] {
        // With DELTA_BYTE_ARRAY, each value of a page repeats the previous value.
        let (properties, rows) = match encoding {
            None => (zstd().set_dictionary_page_size_limit(4 << 20), 3000),
            Some(encoding) => (zstd().set_dictionary_enabled(false).set_encoding(encoding), 300),
        };
        write_parquet(&path, &batch.slice(0, rows), properties.build());
        assert!(std::fs::metadata(&path).unwrap().len() < 400_000);
        let (read, most) = read_all(&path, &ReadOptions::default()).unwrap();
        assert_eq!(read, rows);
        assert!(most <= (2 << 20) + 100, "{most}");
    }
}

#[test]
fn too_large_values_are_refused_with_column_name() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let batch = repeated(2, 1 << 20);
    write_parquet(&path("a.parquet"), &batch, zstd().build());
    let file = File::create(path("a.arrow")).unwrap();
    let how = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let mut writer = FileWriter::try_new_with_options(file, &batch.schema(), how).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let line = format!("{{\"input\":\"{}\"}}\n", "x".repeat((1 << 20) - 2));
    std::fs::write(path("a.jsonl"), line).unwrap();
    for name in ["a.parquet", "a.arrow", "a.jsonl"] {
        let text = |limit| match read_all(&path(name), &options(limit)) {
            Err(error @ Error::ValueTooLarge { .. }) => {
                error.to_string().replace(&path(name).display().to_string(), "FILE")
            }
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(
            text((1 << 20) - 1),
            "FILE: a value of its column input has 1,048,576 bytes, and the limit is 1,048,575"
        );
        assert!(read_all(&path(name), &options(1 << 20)).is_ok(), "{name}");
        if name != "a.jsonl" {
            // A page or batch that declares too many bytes is refused before decompression.
            let text = text(100_000);
            assert!(text.contains("when decompressed, and the limit is 400,000"), "{text}");
        }
    }
    // Other columns are not decompressed.
    let only_ids = ReadOptions {
        columns: vec!["id".to_owned()],
        max_value_bytes: 1000,
        ..ReadOptions::default()
    };
    for name in ["a.parquet", "a.arrow"] {
        assert_eq!(read_all(&path(name), &only_ids).unwrap(), (2, 72), "{name}");
    }
}

#[test]
fn compressed_lines_without_end_are_refused() {
    let folder = TempDir::new().unwrap();
    let text = vec![b'x'; 32 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &text).unwrap();
    let files = [
        ("a.jsonl", text.clone()),
        ("a.jsonl.gz", gzip.finish().unwrap()),
        ("a.jsonl.zst", zstd::encode_all(text.as_slice(), 1).unwrap()),
    ];
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read_all(&path, &options(1 << 20)).unwrap_err().to_string();
        assert!(
            error.ends_with("a line has more than 5,242,880 bytes, and the limit is 1,048,576")
        );
    }
}

#[test]
fn texts_of_other_writers_are_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.arrow");
    let large: LargeStringArray = [Some("1"), None].into_iter().collect();
    let view: StringViewArray = [Some("a"), Some("b")].into_iter().collect();
    let batch = RecordBatch::try_from_iter([
        ("other", Arc::new(view.clone()) as arrow_array::ArrayRef),
        ("id", Arc::new(view)),
        ("order", Arc::new(Int64Array::from(vec![1, 2]))),
        ("input", Arc::new(large)),
    ])
    .unwrap();
    let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let location = Location::from(path.as_path());
    let reader = open(&location, &ReadOptions::default()).unwrap();
    reader.require_columns(&location).unwrap();
    let error = reader.require_export(&location).unwrap_err().to_string();
    assert!(error.ends_with("it has a column \"other\", which no export has"), "{error}");
    let batches: Vec<_> = reader.batches.in_order().map(Result::unwrap).collect();
    assert_eq!(batches[0].schema().fields().len(), 3);
    assert_eq!(batches[0].column(0).as_string::<i32>().value(1), "b");
    assert_eq!(
        batches[0].column(2).as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("1"), None]
    );
}

/// The bytes of a file with facts, as an export of three rows writes it.
fn exported(format: Format) -> Vec<u8> {
    let rows = 3;
    let ids: StringArray =
        (0..rows).map(|row| Some(uuid::Uuid::from_u128(row).to_string())).collect();
    let inputs: StringArray = (0..rows).map(|row| Some(format!("[{row}]"))).collect();
    let schema = crate::batch::schema(&[Column::Id, Column::Input]);
    let batch = RecordBatch::try_new(schema, vec![Arc::new(ids), Arc::new(inputs)]).unwrap();
    let facts = serde_json::json!({
        "format_version": 2, "rows_read": rows, "tool": "overmind-export", "dataset": uuid::Uuid::nil(), "query": {},
        "completeness": "proven", "count": rows, "first_row": 0, "rows": rows,
        "digest": crate::record::facts::digest(&batch).unwrap().to_string(),
    });
    let encoding = Encoding::new(format, crate::sink::Compression::None).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Box::new(file.reopen().unwrap());
    let mut sink = encoding.sink(batch.schema(), output, 1).unwrap();
    sink.write(batch).unwrap();
    sink.finish(Some(&facts.to_string())).unwrap();
    std::fs::read(file.path()).unwrap()
}

#[test]
fn every_flipped_bit_is_found_without_manifest() {
    let folder = TempDir::new().unwrap();
    for format in [Format::Parquet, Format::Arrow] {
        let path = folder.path().join(format!("a.{format}"));
        let bytes = exported(format);
        std::fs::write(&path, &bytes).unwrap();
        let found = verify(&path.as_path().into()).unwrap();
        assert!(found.is_ok() && found.covers_every_byte(), "{found:?}");
        // Three bits of every byte, at positions that vary from byte to byte. All bits would take a minute.
        let places = (0..bytes.len()).flat_map(|at| [0, 3, 5].map(|bit| at * 8 + (at + bit) % 8));
        for bit in places {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            let found = verify(&path.as_path().into()).unwrap();
            assert!(
                !found.problems.is_empty(),
                "{format}: bit {} of {}: {found:?}",
                bit % 8,
                bit / 8
            );
        }
    }
}

#[test]
fn stop_flag_ends_verification() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write_parquet(&path, &repeated(10, 100), zstd().build());
    let options = ReadOptions::default();
    assert!(verify_with(&path.as_path().into(), &options).is_ok());
    options.stop.store(true, Relaxed);
    let error = verify_with(&path.as_path().into(), &options).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
}

#[test]
fn files_of_earlier_versions_still_verify() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    std::fs::write(&path, exported(Format::Parquet)).unwrap();
    let location = Location::from(path.as_path());
    let reader = open(&location, &ReadOptions::default()).unwrap();
    let facts = reader.facts.clone().unwrap().to_json().unwrap();
    let batches: Vec<_> = reader.batches.in_order().map(Result::unwrap).collect();
    let write = |more: Option<KeyValue>| {
        let facts = KeyValue::new(METADATA_KEY.to_owned(), facts.clone());
        let pairs = [facts].into_iter().chain(more).collect();
        write_parquet(&path, &batches[0], zstd().set_key_value_metadata(Some(pairs)).build());
        verify(&location).unwrap()
    };
    let found = write(None);
    assert!(found.is_ok() && !found.covers_every_byte(), "{found:?}");
    // Another program has rewritten the rows and kept the metadata: the checksum belongs to the old file.
    let stale = "xxh3:0123456789abcdef:0123456789abcdef".to_owned();
    let found = write(Some(KeyValue::new(crate::sink::CHECKSUM_KEY.to_owned(), stale)));
    assert!(found.is_ok() && !found.covers_every_byte(), "{found:?}");
}
