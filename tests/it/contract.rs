//! The contract of all sinks. One table of encodings; the rows come from hand-made batches and from
//! `write_pages`.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use futures::{TryStreamExt, stream};
use overmind_export::{
    Batches, Client, Column, Compression, Encoding, Error, Format, JsonColumns, Output, Page,
    ParquetEncoding, Result, Sink, Written,
    arrow_array::{
        Array, ArrayRef, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray,
        types::Int32Type,
    },
    arrow_schema::{DataType, Field, Schema, SchemaRef},
    schema, verify, write_pages,
};
use tokio::runtime::Runtime;

use crate::{
    read::{Table, gunzip, unzstd},
    rows,
    support::{ID, KEY, World},
};

fn encodings() -> Vec<Encoding> {
    let encoding = |format, compression| Encoding::new(format, compression).unwrap();
    vec![
        Format::Parquet.into(),
        encoding(Format::Parquet, Compression::None),
        Encoding::from(Format::Parquet).with_parquet_encoding(ParquetEncoding::Plain).unwrap(),
        Format::Arrow.into(),
        encoding(Format::Arrow, Compression::None),
        encoding(Format::JsonLines, Compression::None),
        Encoding::from(Format::JsonLines).with_json_columns(JsonColumns::Text).unwrap(),
        encoding(Format::JsonLines, Compression::Gzip),
        encoding(Format::JsonLines, Compression::Zstd(3)),
        encoding(Format::Csv, Compression::None),
        Encoding::from(Format::Csv).with_csv_bom(true).unwrap(),
        encoding(Format::Csv, Compression::Gzip),
        encoding(Format::Csv, Compression::Zstd(3)),
    ]
}

/// The sinks of every encoding: for a file, and for a stream if the format supports streams.
fn sinks(schema: &SchemaRef, output: impl Fn() -> Output) -> Vec<(String, Result<Box<dyn Sink>>)> {
    let mut sinks = Vec::new();
    for encoding in encodings() {
        let name = format!("{} {}", encoding.format(), encoding.compression());
        sinks.push((name.clone(), encoding.sink(schema.clone(), output(), 2)));
        if encoding.format() != Format::Parquet {
            let sink = encoding.streaming_sink(schema.clone(), output());
            sinks.push((format!("{name} streaming"), sink));
        }
    }
    sinks
}

/// A writer that keeps the written bytes in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk with this number of free bytes.
struct Disk(usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn of(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    let field = |(name, data_type, nullable): &(&str, DataType, bool)| {
        Field::new(*name, data_type.clone(), *nullable)
    };
    Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
}

fn batch(schema: &SchemaRef, rows: usize) -> RecordBatch {
    let column = |field: &Arc<Field>| -> ArrayRef {
        match field.data_type() {
            DataType::Int64 => Arc::new(Int64Array::from_iter_values(0..rows as i64)),
            DataType::Utf8 if field.name() == "id" => {
                Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("{row:036}"))))
            }
            DataType::Utf8 => Arc::new(StringArray::from_iter(
                (0..rows).map(|row| (row % 3 > 0).then(|| format!("\"{row}\""))),
            )),
            DataType::LargeUtf8 => Arc::new(LargeStringArray::from(vec!["a"; rows])),
            _ => Arc::new(vec!["a"; rows].into_iter().collect::<DictionaryArray<Int32Type>>()),
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

#[test]
fn unsupported_schema_is_refused_before_writing() {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let id = ("id", DataType::Utf8, false);
    let table = [
        (
            of(&[id.clone(), ("kind", dictionary, true)]),
            "\"kind\" is not a valid column of a sink: it is Dictionary(Int32, Utf8); sinks write \
             Utf8, Int64, Float64, Boolean, Timestamp(µs, \"UTC\") and lists of them",
        ),
        (
            of(&[("text", DataType::LargeUtf8, true)]),
            "\"text\" is not a valid column of a sink: it is LargeUtf8; sinks write Utf8, Int64, Float64, Boolean, Timestamp(µs, \"UTC\") and lists of them",
        ),
        (
            of(&[id.clone(), ("order", DataType::Utf8, true)]),
            "\"order\" is not a valid column of a sink: it is Utf8; in an export it is Int64",
        ),
        (
            of(&[("tags", DataType::Int64, true)]),
            "\"tags\" is not a valid column of a sink: it is Int64; in an export it is Utf8",
        ),
        (of(&[id.clone(), id]), "\"id\" is not a valid column of a sink: the name occurs twice"),
        (of(&[]), "\"\" is not a valid schema of a sink: it has no column"),
    ];
    for (schema, expected) in table {
        let memory = Memory::default();
        for (name, sink) in sinks(&schema, || Box::new(memory.clone())) {
            let error = sink.err().unwrap_or_else(|| panic!("{name} takes {schema:?}"));
            assert!(matches!(error, Error::Invalid { .. }), "{name}");
            assert_eq!(error.to_string(), expected, "{name}");
            assert!(memory.bytes().is_empty(), "{name}");
        }
    }
}

#[test]
fn batch_with_another_schema_fails_the_sink() {
    let all = schema(&Column::ALL);
    let nullable = of(&[("id", DataType::Utf8, true)]);
    let table = [
        (
            schema(&[Column::Id, Column::Input]),
            batch(&schema(&[Column::Id, Column::Tags]), 3),
            "\"id Utf8 not null, tags Utf8\" is not a valid batch: the sink's columns are id Utf8 \
             not null, input Utf8",
        ),
        (
            all.clone(),
            batch(&schema(&[Column::Id]), 3),
            "\"id Utf8 not null\" is not a valid batch: the sink's columns are id Utf8 not null, \
             order Int64, input Utf8, expected_output Utf8, persona Utf8, tags Utf8, \
             additional_properties Utf8",
        ),
        (
            schema(&[Column::Id]),
            RecordBatch::try_new(
                nullable.clone(),
                vec![Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef],
            )
            .unwrap(),
            "\"id Utf8\" is not a valid batch: the sink's columns are id Utf8 not null",
        ),
        (
            of(&[("number", DataType::Utf8, true)]),
            batch(&of(&[("number", DataType::Int64, true)]), 3),
            "\"number Int64\" is not a valid batch: the sink's columns are number Utf8",
        ),
    ];
    for (schema, wrong, expected) in table {
        for (name, sink) in sinks(&schema, || Box::new(io::sink())) {
            let mut sink = sink.unwrap();
            sink.write(batch(&schema, 5)).unwrap();
            let error = sink.write(wrong.clone()).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{name}");
            assert_eq!(error.to_string(), expected, "{name}");
            assert!(sink.write(batch(&schema, 5)).is_err(), "{name}: wrote after the error");
            assert!(sink.finish(None).is_err(), "{name}: finished after the error");
        }
    }
}

#[test]
fn batch_with_an_equal_schema_is_accepted() {
    // The schemas are equal, but they are not the same object.
    let one = of(&[("id", DataType::Utf8, false), ("my \"own\"\n", DataType::Int64, true)]);
    let fields = one.fields().iter().map(|field| Field::clone(field)).collect::<Vec<_>>();
    let other = Arc::new(Schema::new(fields));
    for (name, sink) in sinks(&one, || Box::new(io::sink())) {
        let mut sink = sink.unwrap();
        sink.write(batch(&one, 2)).unwrap();
        sink.write(batch(&other, 3)).unwrap();
        assert_eq!(sink.finish(None).unwrap().rows, 5, "{name}");
    }
}

#[test]
fn json_lines_escapes_column_names() {
    let schema = of(&[("my \"own\"\n", DataType::Int64, true), ("größe", DataType::Utf8, true)]);
    let memory = Memory::default();
    let encoding = Encoding::from(Format::JsonLines);
    let mut sink = encoding.sink(schema.clone(), Box::new(memory.clone()), 1).unwrap();
    sink.write(batch(&schema, 2)).unwrap();
    sink.finish(None).unwrap();
    assert_eq!(
        String::from_utf8(memory.bytes()).unwrap(),
        "{\"my \\\"own\\\"\\n\":0,\"größe\":null}\n{\"my \\\"own\\\"\\n\":1,\"größe\":\"\\\"1\\\"\"}\n"
    );
}

#[test]
fn csv_quotes_column_names_if_it_must() {
    let schema = of(&[
        ("my \"own\"\n", DataType::Int64, true),
        ("größe, cm", DataType::Utf8, true),
        ("", DataType::Utf8, true),
        ("=1+1", DataType::Utf8, true),
    ]);
    let csv = |encoding: Encoding| {
        let memory = Memory::default();
        let mut sink = encoding.sink(schema.clone(), Box::new(memory.clone()), 1).unwrap();
        sink.write(batch(&schema, 2)).unwrap();
        sink.finish(None).unwrap();
        String::from_utf8(memory.bytes()).unwrap()
    };
    let rows = "0,,,\r\n1,\"\"\"1\"\"\",\"\"\"1\"\"\",\"\"\"1\"\"\"\r\n";
    let plain = csv(Format::Csv.into());
    assert_eq!(plain, format!("\"my \"\"own\"\"\n\",\"größe, cm\",\"\",=1+1\r\n{rows}"));
    let safe = csv(Encoding::from(Format::Csv).with_csv_safe(true).unwrap());
    assert_eq!(safe, format!("\"my \"\"own\"\"\n\",\"größe, cm\",\"\",\"'=1+1\"\r\n{rows}"));
}

#[test]
fn failed_sink_cannot_be_finished() {
    let schema = schema(&Column::ALL);
    for (name, sink) in sinks(&schema, || Box::new(Disk(2_000))) {
        let Ok(mut sink) = sink else { panic!("{name}: the header does not fit on the disk") };
        // Write incompressible text until the disk is full.
        let failed = (0..5_000).find_map(|number| {
            let mut random = fastrand::Rng::with_seed(number);
            let id: StringArray = [Some("a")].into_iter().collect();
            let text: String = (0..20_000).map(|_| random.alphanumeric()).collect();
            let text: ArrayRef = Arc::new(StringArray::from(vec![Some(format!("\"{text}\""))]));
            let mut columns = vec![text; 7];
            columns[0] = Arc::new(id);
            columns[1] = Arc::new(Int64Array::from(vec![1]));
            sink.write(RecordBatch::try_new(schema.clone(), columns).unwrap()).err()
        });
        let Some(failed) = failed else { panic!("{name} never failed") };
        assert!(matches!(failed, Error::Encode { .. }), "{name}: {failed:?}");
        let error = sink.finish(None).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "an earlier write failed, and its rows are lost", "{name}");
    }
}

#[test]
fn parquet_cannot_be_streamed() {
    let encoding = Encoding::from(Format::Parquet);
    let error = encoding.streaming_sink(schema(&[Column::Id]), Box::new(io::sink())).err().unwrap();
    assert!(matches!(error, Error::Usage(_)));
    let text = "Parquet cannot be read from a pipe: use JSON Lines, CSV or Arrow";
    assert_eq!(error.to_string(), text);
}

#[test]
fn bytes_do_not_depend_on_the_thread_count() {
    let schema = schema(&Column::ALL);
    // Enough rows for several batches per thread, several zstd jobs and several row groups.
    let batches: Vec<_> = (0..60).map(|size| batch(&schema, 1_000 - size)).collect();
    for encoding in encodings() {
        let file = |threads| {
            let memory = Memory::default();
            let mut sink =
                encoding.sink(schema.clone(), Box::new(memory.clone()), threads).unwrap();
            batches.iter().for_each(|batch| sink.write(batch.clone()).unwrap());
            let written = sink.finish(None).unwrap();
            assert_eq!(written.rows, batches.iter().map(|it| it.num_rows() as u64).sum::<u64>());
            let bytes = memory.bytes();
            assert_eq!(written.bytes, bytes.len() as u64);
            bytes
        };
        let one = file(1);
        for threads in [2, 5, 16] {
            let name = encoding.extension();
            assert!(file(threads) == one, "{name} differs with {threads} threads");
        }
        if matches!(encoding.format(), Format::JsonLines | Format::Csv) {
            let lines = match encoding.compression() {
                Compression::Gzip => gunzip(&one),
                Compression::Zstd(_) => unzstd(&one),
                _ => one,
            };
            assert!(lines.len() > 3 << 20, "too few bytes for several zstd jobs");
            let table = match encoding.format() {
                Format::Csv => Table::of_csv(&lines),
                _ => Table::of_json_lines(&lines),
            };
            assert_eq!(table.rows.len(), 58_230);
        }
    }
}

#[test]
fn every_zstd_level_keeps_the_window_within_8_mib() {
    let schema = schema(&[Column::Id, Column::Input]);
    let batch = batch(&schema, 2_000);
    for format in [Format::JsonLines, Format::Csv] {
        assert!(Encoding::new(format, Compression::Zstd(20)).is_err());
    }
    for level in 1..=19 {
        let memory = Memory::default();
        let encoding = Encoding::new(Format::JsonLines, Compression::Zstd(level)).unwrap();
        let mut sink = encoding.sink(schema.clone(), Box::new(memory.clone()), 2).unwrap();
        sink.write(batch.clone()).unwrap();
        sink.finish(None).unwrap();
        let bytes = memory.bytes();
        assert_eq!(unzstd(&bytes).iter().filter(|byte| **byte == b'\n').count(), 2_000);
        // Byte 5 of a frame is the window descriptor, after the magic number and the frame descriptor. Its upper
        // five bits are the exponent minus 10, so 13 means 2^23 bytes (8 MiB).
        let window = bytes[5];
        assert!(window >> 3 <= 23 - 10, "level {level}: window descriptor {}", window >> 3);
    }
}

/// A sink that fails at one call and records whether it was finished or aborted.
struct Failing {
    writes: usize,
    fails_at: Option<usize>,
    fails_to_finish: bool,
    ended: Arc<Mutex<Vec<&'static str>>>,
}

impl Sink for Failing {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        assert!(batch.num_rows() > 0);
        self.writes += 1;
        match self.fails_at {
            Some(at) if self.writes >= at => Err(Error::Usage("no more".to_owned())),
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>, facts: Option<&str>) -> Result<Written> {
        assert_eq!(facts, None);
        self.ended.lock().unwrap().push("finished");
        if self.fails_to_finish {
            return Err(Error::Usage("not at the end".to_owned()));
        }
        Ok(Written::default())
    }

    fn abort(self: Box<Self>) {
        self.ended.lock().unwrap().push("aborted");
    }
}

fn pages(world: &World, runtime: &Runtime) -> Vec<Page> {
    let client = Client::builder().base_url(world.server.url()).api_key(KEY).build().unwrap();
    let pages = client.dataset(ID).pages();
    runtime.block_on(pages.try_collect()).unwrap()
}

#[test]
fn write_pages_ends_a_failed_sink_exactly_once() {
    // 9,000 rows give two full batches of 4,000 rows and one batch of 1,000.
    let world = World::with_rows(Default::default(), rows::wire(&rows::small(9_000)));
    let runtime = Runtime::new().unwrap();
    let run = |fails_at, fails_to_finish, breaks: bool| {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let sink = Failing { writes: 0, fails_at, fails_to_finish, ended: ended.clone() };
        let broken = breaks.then(|| Err(Error::Usage("the stream broke".to_owned())));
        let pages = stream::iter(pages(&world, &runtime).into_iter().map(Ok).chain(broken));
        let result = runtime.block_on(write_pages(pages, &Column::ALL, Box::new(sink)));
        let ended = ended.lock().unwrap().clone();
        (result.map(drop).map_err(|error| error.to_string()), ended)
    };
    let failed = |text: &str| Err(text.to_owned());
    for call in 1..=3 {
        assert_eq!(run(Some(call), false, false), (failed("no more"), vec!["aborted"]), "{call}");
    }
    assert_eq!(run(None, false, true), (failed("the stream broke"), vec!["aborted"]));
    assert_eq!(run(None, true, false), (failed("not at the end"), vec!["finished"]));
    assert_eq!(run(None, false, false), (Ok(()), vec!["finished"]));
}

#[test]
fn files_of_write_pages_are_read_like_exports() {
    let source = rows::small(9_000);
    let world = World::with_rows(Default::default(), rows::wire(&source));
    let runtime = Runtime::new().unwrap();
    for encoding in encodings() {
        let name = format!("{}.{}", encoding.compression(), encoding.extension());
        let path = world.path(&name);
        let file = Box::new(std::fs::File::create(&path).unwrap());
        let sink = encoding.sink(schema(&Column::ALL), file, 2).unwrap();
        let pages = stream::iter(pages(&world, &runtime).into_iter().map(Ok));
        let written = runtime.block_on(write_pages(pages, &Column::ALL, sink)).unwrap();
        assert_eq!(written.rows, 9_000, "{name}");
        assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len(), "{name}");

        let batches: Vec<_> =
            Batches::open(&path.clone().into()).unwrap().collect::<Result<_>>().unwrap();
        let ids = batches.iter().flat_map(|batch| {
            let ids: &StringArray = batch.column(0).as_any().downcast_ref().unwrap();
            ids.iter().map(|id| id.unwrap().to_owned()).collect::<Vec<_>>()
        });
        assert!(ids.eq((0..9_000).map(|row| rows::id(row).to_string())), "{name}");
        let table = Table::read(&name, world.read(&name));
        table.assert_equals(&Table::of(&source, &Column::ALL), &name);

        let preview = world.command().args(["preview", "-n", "1", &name]).output().unwrap();
        assert!(preview.status.success(), "{}", String::from_utf8_lossy(&preview.stderr));
        let found = verify(&path.into()).unwrap();
        assert_eq!((found.problems, found.rows), (vec![], 9_000), "{name}");
        // The file belongs to no export, but the sink wrote a checksum. Only JSON Lines and CSV have no checksum.
        let lines = name.contains(".jsonl") || name.contains(".csv");
        assert_eq!((found.unchecked.is_some(), found.checked.is_empty()), (lines, lines), "{name}");
    }
}
