//! Compares this crate's Parquet sink with the writers of the `parquet` crate, at equal settings.
//!
//! `cargo bench --bench parquet_writers` prints the median time, the throughput in bytes of page bodies, and the
//! size of the file. Each contestant gets the same pages and builds the same record batches. All use zstd level 3
//! (level 1 for ids), row groups of 10,000 rows, and the same encodings and page sizes, except where the name
//! says otherwise. The rounds are interleaved, so that a slow minute of the machine affects all contestants.

#![allow(clippy::expect_used, reason = "a benchmark that cannot run must stop with a message")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::stream;
use overmind_export::{Column, Encoding, Page, Result, Sink, Written, demo, schema, write_pages};
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{
            ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
        },
    },
    basic::{Compression, Encoding as PageEncoding, ZstdLevel},
    file::{
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
        writer::SerializedFileWriter,
    },
    schema::types::ColumnPath,
};
use tokio::runtime::Runtime;

const ROWS: u64 = 100_000;
const ROUNDS: usize = 7;
const ROW_GROUP_ROWS: usize = 10_000;

type Make = Box<dyn Fn(Counter) -> Box<dyn Sink>>;

fn main() {
    let dataset = demo::Dataset::generated(ROWS, 7);
    let bodies: Vec<Vec<u8>> = (0..ROWS / 100).map(|page| body(&dataset, page)).collect();
    let total: usize = bodies.iter().map(Vec::len).sum();
    let contestants = contestants();
    let mut times = vec![Vec::new(); contestants.len()];
    let mut sizes = vec![0; contestants.len()];
    for round in 0..=ROUNDS {
        for (index, (_, make)) in contestants.iter().enumerate() {
            let (time, size) = run(&bodies, make);
            // The first round only warms up.
            if round > 0 {
                times[index].push(time);
            }
            sizes[index] = size;
        }
    }
    println!("{ROWS} rows, {:.1} MB of JSON, median of {ROUNDS} rounds", total as f64 / 1e6);
    println!("{:<58}{:>9}{:>9}{:>9}{:>9}", "", "s", "MB/s", "MB out", "x ours");
    let mut ours = None;
    for ((name, _), (mut times, size)) in contestants.iter().zip(times.into_iter().zip(sizes)) {
        times.sort();
        let median = times[times.len() / 2].as_secs_f64();
        let ratio = median / *ours.get_or_insert(median);
        let speed = total as f64 / 1e6 / median;
        println!("{name:<58}{median:>9.3}{speed:>9.0}{:>9.2}{ratio:>9.2}", size as f64 / 1e6);
    }
}

fn body(dataset: &demo::Dataset, page: u64) -> Vec<u8> {
    let rows = (page * 100..page * 100 + 100).map(|row| dataset.row(row));
    let rows: Vec<String> = rows.map(|row| String::from_utf8_lossy(&row).into_owned()).collect();
    format!(r#"{{"count":{ROWS},"next":"x","results":[{}]}}"#, rows.join(",")).into_bytes()
}

/// The contestants. The first one is the reference of the last column.
fn contestants() -> Vec<(&'static str, Make)> {
    let ours = |threads: usize| -> Make {
        Box::new(move |output| {
            let encoding = Encoding::new(
                "parquet".parse().expect("a format"),
                "zstd:3".parse().expect("a codec"),
            );
            let encoding = encoding.expect("the format supports the codec");
            let sink = encoding.sink(schema(&Column::ALL), Box::new(output), threads);
            sink.expect("a sink")
        })
    };
    let columns = |threads: usize, properties: fn() -> WriterProperties| -> Make {
        Box::new(move |output| Box::new(ColumnWriters::new(output, threads, properties())))
    };
    let one = |properties: fn() -> WriterProperties| -> Make {
        Box::new(move |output| Box::new(OneWriter::new(output, properties())))
    };
    vec![
        ("overmind-export, 2 threads", ours(2)),
        ("column writers, 2 threads", columns(2, same)),
        ("column writers, 2 threads, the crate's default layout", columns(2, default)),
        ("overmind-export, 1 thread", ours(1)),
        ("column writers, 1 thread", columns(1, same)),
        ("ArrowWriter", one(same)),
        ("ArrowWriter, the crate's default layout", one(default)),
    ]
}

fn run(bodies: &[Vec<u8>], make: &Make) -> (Duration, u64) {
    let pages: Vec<Result<Page>> =
        bodies.iter().map(|body| Ok(Page::decode(1, body.clone()).expect("a page"))).collect();
    let counter = Counter::default();
    let runtime = Runtime::new().expect("a runtime");
    let begun = Instant::now();
    let written = write_pages(stream::iter(pages), &Column::ALL, make(counter.clone()));
    runtime.block_on(written).expect("written");
    (begun.elapsed(), counter.0.load(Ordering::Relaxed))
}

fn zstd(level: i32) -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(level).expect("a level"))
}

fn builder() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(zstd(3))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
}

/// The crate's default layout: a dictionary if it is small, plain encoding, pages of 1 MiB.
fn default() -> WriterProperties {
    builder().build()
}

/// The layout of this crate.
fn same() -> WriterProperties {
    let path = |column: Column| ColumnPath::from(column.name());
    let mut builder = builder()
        .set_data_page_size_limit(1 << 20)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_compression(path(Column::Id), zstd(1))
        .set_column_encoding(path(Column::Order), PageEncoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(path(Column::Order), false);
    for column in [Column::Id, Column::Input, Column::ExpectedOutput] {
        builder = builder
            .set_column_dictionary_enabled(path(column), false)
            .set_column_encoding(path(column), PageEncoding::DELTA_LENGTH_BYTE_ARRAY)
            .set_column_statistics_enabled(path(column), EnabledStatistics::None);
    }
    builder.build()
}

/// Counts the bytes of a file and drops them.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all columns on one thread.
struct OneWriter(ArrowWriter<Counter>);

impl OneWriter {
    fn new(output: Counter, properties: WriterProperties) -> Self {
        let schema = schema(&Column::ALL);
        Self(ArrowWriter::try_new(output, schema, Some(properties)).expect("a writer"))
    }
}

impl Sink for OneWriter {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.0.write(&batch).expect("written");
        Ok(())
    }

    fn finish(self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
        self.0.close().expect("closed");
        Ok(Written::default())
    }

    fn abort(self: Box<Self>) {}
}

/// Encodes each column of a row group as a job of a thread pool. While the pool works on one row group, the next
/// one is gathered.
struct ColumnWriters {
    file: SerializedFileWriter<Counter>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    jobs: mpsc::Sender<Job>,
    gathered: Vec<RecordBatch>,
    rows: usize,
    group: usize,
    encoding: Option<Vec<mpsc::Receiver<ArrowColumnChunk>>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl ColumnWriters {
    fn new(output: Counter, threads: usize, properties: WriterProperties) -> Self {
        let schema = schema(&Column::ALL);
        let writer = ArrowWriter::try_new(output, schema.clone(), Some(properties));
        let writer = writer.expect("a writer").into_serialized_writer();
        let (file, factory) = writer.expect("a file writer");
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = queue.clone();
            thread::spawn(move || {
                loop {
                    let job = queue.lock().expect("a queue").recv();
                    let Ok(job) = job else { return };
                    job();
                }
            });
        }
        Self { file, factory, schema, jobs, gathered: vec![], rows: 0, group: 0, encoding: None }
    }

    /// Starts to encode the gathered rows, then appends the row group before them.
    fn close_row_group(&mut self) {
        let writers = self.factory.create_column_writers(self.group).expect("column writers");
        let batches = std::mem::take(&mut self.gathered);
        let begun = (writers.into_iter().enumerate())
            .map(|(index, writer)| self.encode(index, writer, batches.clone()))
            .collect();
        self.append();
        self.encoding = Some(begun);
        self.group += 1;
        self.rows = 0;
    }

    fn encode(
        &self,
        index: usize,
        mut writer: ArrowColumnWriter,
        batches: Vec<RecordBatch>,
    ) -> mpsc::Receiver<ArrowColumnChunk> {
        let (sender, receiver) = mpsc::channel();
        let schema = self.schema.clone();
        let job = move || {
            for batch in batches {
                let leaves = compute_leaves(schema.field(index), batch.column(index));
                for leaf in leaves.expect("leaves") {
                    writer.write(&leaf).expect("written");
                }
            }
            // The receiver is gone only if the benchmark failed.
            drop(sender.send(writer.close().expect("closed")));
        };
        self.jobs.send(Box::new(job)).expect("a pool");
        receiver
    }

    fn append(&mut self) {
        let Some(chunks) = self.encoding.take() else { return };
        let mut row_group = self.file.next_row_group().expect("a row group");
        for chunk in chunks {
            let chunk = chunk.recv().expect("a column");
            chunk.append_to_row_group(&mut row_group).expect("appended");
        }
        row_group.close().expect("closed");
    }
}

impl Sink for ColumnWriters {
    fn write(&mut self, mut batch: RecordBatch) -> Result<()> {
        while batch.num_rows() > 0 {
            let rows = batch.num_rows().min(ROW_GROUP_ROWS - self.rows);
            self.gathered.push(batch.slice(0, rows));
            batch = batch.slice(rows, batch.num_rows() - rows);
            self.rows += rows;
            if self.rows == ROW_GROUP_ROWS {
                self.close_row_group();
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
        if self.rows > 0 {
            self.close_row_group();
        }
        self.append();
        self.file.finish().expect("closed");
        Ok(Written::default())
    }

    fn abort(self: Box<Self>) {}
}
