//! Throughput of the stages in bytes per second. `decode`, `encode` (Parquet) and `paginate` have a baseline.
//!
//! `cargo bench` runs all benchmarks, `cargo bench -- decode` runs one stage. `decode` and `encode` count bytes of
//! page bodies. `paginate` and `download` count bytes of rows.

#![allow(clippy::expect_used, reason = "a benchmark that cannot run must stop with a message")]

use std::{
    fmt,
    hint::black_box,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow_array::RecordBatch;
use divan::{Bencher, counter::BytesCount};
use futures::{StreamExt, TryStreamExt, stream};
use overmind_export::{
    Client, Column, Encoding, Page, Result, Sink, StreamOptions, Written, demo, schema, write_pages,
};
use parquet::{arrow::ArrowWriter, basic::ZstdLevel, file::properties::WriterProperties};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// Shapes of rows: short values, generated chats, deep nesting, one string of 480 KB per page, and non-ASCII text.
const SHAPES: [&str; 5] = ["small", "chat", "deep", "huge", "unicode"];

/// Returns page bodies of 4 to 5 MB in total.
fn bodies(shape: &str) -> Vec<Vec<u8>> {
    let chat = demo::Dataset::generated(4_000, 7);
    let row = |index: u64| match shape {
        "small" => fields(index, "1", "true"),
        "deep" => {
            let deep = format!("{}1{}", "{\"a\":[".repeat(60), "]}".repeat(60));
            fields(index, &deep, &deep)
        }
        "huge" => fields(index, &format!("\"{}\"", "lorem ipsum ".repeat(40_000)), "null"),
        "unicode" => {
            fields(index, &format!("\"{}\"", "größe 注文 заказ \\u00fc 🙏 ".repeat(30)), "[]")
        }
        _ => String::from_utf8_lossy(&chat.row(index)).into_owned(),
    };
    let (pages, rows) = match shape {
        "huge" => (8, 1),
        "small" => (300, 100),
        _ => (40, 100),
    };
    (0..pages)
        .map(|page| {
            let rows: Vec<String> = (0..rows).map(|index| row(page * rows + index)).collect();
            format!(r#"{{"count":4000,"next":"x","results":[{}]}}"#, rows.join(",")).into_bytes()
        })
        .collect()
}

fn fields(index: u64, input: &str, expected: &str) -> String {
    format!(
        r#"{{"id":"00000000-0000-4000-8000-{index:012}","order":{index},"input":{input},"expected_output":{expected},"persona":null,"tags":["a"]}}"#
    )
}

fn total(bodies: &[Vec<u8>]) -> BytesCount {
    BytesCount::new(bodies.iter().map(Vec::len).sum::<usize>())
}

/// Decodes page bodies into borrowed rows.
#[divan::bench(args = SHAPES)]
fn decode(bencher: Bencher, shape: &str) {
    let bodies = bodies(shape);
    bencher.counter(total(&bodies)).with_inputs(|| bodies.clone()).bench_values(|bodies| {
        for body in bodies {
            black_box(Page::decode(1, body).expect("a page").len());
        }
    });
}

/// Baseline of `decode`: parses the same bodies into `serde_json::Value` trees.
#[divan::bench(args = SHAPES)]
fn decode_into_trees(bencher: Bencher, shape: &str) {
    let bodies = bodies(shape);
    bencher.counter(total(&bodies)).bench(|| {
        for body in &bodies {
            black_box(serde_json::from_slice::<serde_json::Value>(body).expect("JSON"));
        }
    });
}

/// Decodes page bodies into `Datapoint`s. Subtract `decode` to get the cost of creating `Datapoint`s.
#[divan::bench(args = SHAPES)]
fn decode_into_datapoints(bencher: Bencher, shape: &str) {
    let bodies = bodies(shape);
    bencher.counter(total(&bodies)).with_inputs(|| bodies.clone()).bench_values(|bodies| {
        for body in bodies {
            black_box(Page::decode(1, body).expect("a page").datapoints().count());
        }
    });
}

const ENCODINGS: [(&str, &str); 9] = [
    ("parquet", "none"),
    ("parquet", "lz4"),
    ("parquet", "zstd:1"),
    ("parquet", "zstd:3"),
    ("arrow", "none"),
    ("arrow", "zstd:1"),
    ("jsonl", "none"),
    ("jsonl", "gzip"),
    ("jsonl", "zstd:3"),
];

fn encodings_and_shapes() -> impl Iterator<Item = Encoded> {
    ENCODINGS.into_iter().flat_map(|(format, codec)| {
        SHAPES.into_iter().map(move |shape| Encoded { format, codec, shape })
    })
}

struct Encoded {
    format: &'static str,
    codec: &'static str,
    shape: &'static str,
}

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.format, self.codec, self.shape)
    }
}

impl Encoded {
    fn encoding(&self) -> Encoding {
        let format = self.format.parse().expect("a format");
        Encoding::new(format, self.codec.parse().expect("a codec"))
            .expect("the format supports the codec")
    }
}

/// Writes decoded pages through the batch builder and a sink, on one encoder thread. The output is discarded.
#[divan::bench(args = encodings_and_shapes(), sample_count = 10)]
fn encode(bencher: Bencher, encoded: &Encoded) {
    write_shape(bencher, &bodies(encoded.shape), encoded.encoding(), 1);
}

/// Scaling of `encode` with the number of encoder threads, for the shape `chat` as Parquet with zstd:3.
#[divan::bench(args = [1, 2, 4, 8], sample_count = 10)]
fn encode_parallel(bencher: Bencher, threads: usize) {
    // Five copies have 20,000 rows, about 22 MB. They fill two row groups: one is compressed while the next one is
    // built.
    let bodies: Vec<Vec<u8>> = (0..5).flat_map(|_| bodies("chat")).collect();
    let parquet = Encoded { format: "parquet", codec: "zstd:3", shape: "chat" };
    write_shape(bencher, &bodies, parquet.encoding(), threads);
}

fn write_shape(bencher: Bencher, bodies: &[Vec<u8>], encoding: Encoding, threads: usize) {
    let runtime = Runtime::new().expect("a runtime");
    bencher.counter(total(bodies)).with_inputs(|| stream::iter(decoded(bodies))).bench_values(
        |pages| {
            let sink = encoding.sink(schema(&Column::ALL), Box::new(io::sink()), threads);
            let written = write_pages(pages, &Column::ALL, sink.expect("a sink"));
            runtime.block_on(written).expect("written")
        },
    );
}

fn decoded(bodies: &[Vec<u8>]) -> Vec<Result<Page>> {
    bodies.iter().map(|body| Ok(Page::decode(1, body.clone()).expect("a page"))).collect()
}

/// Baseline of `encode` for Parquet: `ArrowWriter` of the `parquet` crate writes prepared batches.
///
/// It uses the crate's defaults, except for zstd:3 and our row group size.
#[divan::bench(args = SHAPES, sample_count = 10)]
fn encode_with_arrow_writer(bencher: Bencher, shape: &str) {
    let bodies = bodies(shape);
    let batches = Batches::default();
    let runtime = Runtime::new().expect("a runtime");
    let written =
        write_pages(stream::iter(decoded(&bodies)), &Column::ALL, Box::new(batches.clone()));
    runtime.block_on(written).expect("written");
    let batches = batches.0.lock().expect("batches").clone();
    bencher.counter(total(&bodies)).bench(|| {
        let level = ZstdLevel::try_new(3).expect("a level");
        let properties = WriterProperties::builder()
            .set_compression(parquet::basic::Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(10_000))
            .build();
        let schema = schema(&Column::ALL);
        let writer = ArrowWriter::try_new(io::sink(), schema, Some(properties));
        let mut writer = writer.expect("a writer");
        for batch in &batches {
            writer.write(batch).expect("written");
        }
        writer.close().expect("closed")
    });
}

/// A sink that collects the batches in memory.
#[derive(Clone, Default)]
struct Batches(Arc<Mutex<Vec<RecordBatch>>>);

impl Sink for Batches {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.0.lock().expect("batches").push(batch);
        Ok(())
    }

    fn finish(self: Box<Self>, _facts: Option<&str>) -> Result<Written> {
        Ok(Written::default())
    }

    fn abort(self: Box<Self>) {}
}

/// Latency in milliseconds, and number of requests in flight. The embedded API serves 40 pages of 25 rows.
const NETWORKS: [(u64, &str); 6] =
    [(0, "1"), (0, "16"), (0, "auto"), (20, "1"), (20, "16"), (20, "auto")];

/// Reads pages over a socket, in order and with proof of completeness.
#[divan::bench(args = NETWORKS, sample_count = 10)]
fn paginate(bencher: Bencher, (latency, concurrency): (u64, &str)) {
    let dataset = demo::Dataset::generated(1_000, 7);
    let (id, bytes) = (dataset.id, (0..1_000).map(|row| dataset.row(row).len()).sum::<usize>());
    let latency = Duration::from_millis(latency);
    let options = demo::Options { latency, ..demo::Options::default() };
    let server = demo::serve_in_background(options, vec![dataset]).expect("a server");
    let runtime = Runtime::new().expect("a runtime");
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        let client = Client::builder()
            .base_url(server.url())
            .api_key("demo")
            .concurrency(concurrency.parse().expect("a concurrency"))
            .build()
            .expect("a client");
        let options = StreamOptions { page_size: 25, ..StreamOptions::default() };
        let pages = client.dataset(id).options(options).pages();
        let rows = pages.try_fold(0, async |rows, page| Ok(rows + page.len()));
        assert_eq!(runtime.block_on(rows).expect("rows"), 1_000);
    });
}

/// Baseline of `paginate`: downloads the same pages with the same number of requests in flight and drops them.
#[divan::bench(args = [(0, 1), (0, 16), (20, 1), (20, 16)], sample_count = 10)]
fn download(bencher: Bencher, (latency, in_flight): (u64, usize)) {
    let dataset = demo::Dataset::generated(1_000, 7);
    let (id, bytes) = (dataset.id, (0..1_000).map(|row| dataset.row(row).len()).sum::<usize>());
    let latency = Duration::from_millis(latency);
    let options = demo::Options { latency, ..demo::Options::default() };
    let server = demo::serve_in_background(options, vec![dataset]).expect("a server");
    let runtime = Runtime::new().expect("a runtime");
    let url = |page| format!("{}/api/datasets/{id}/datapoints/?page={page}", server.url());
    // A client needs a crypto provider, although this connection is not encrypted.
    drop(rustls::crypto::ring::default_provider().install_default());
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let page = |page| {
            let request = client.get(url(page)).header("x-api-key", "demo");
            async { request.send().await?.bytes().await.map(|body| body.len()) }
        };
        let pages = stream::iter((1..=40).map(page)).buffered(in_flight);
        runtime.block_on(pages.try_fold(0, async |sum, bytes| Ok(sum + bytes))).expect("pages")
    });
}
