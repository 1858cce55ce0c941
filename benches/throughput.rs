//! Bytes a second through each stage, with what it competes against beside it.
//!
//! `cargo bench` runs all of it; `cargo bench -- decode` one stage. Bytes are those of page bodies.

#![allow(clippy::expect_used, reason = "a bench that cannot run stops and says why")]

use std::{hint::black_box, io, time::Duration};

use divan::{Bencher, counter::BytesCount};
use futures::{TryStreamExt, stream};
use overmind_export::{
    Client, Column, Encoding, Page, Query, StreamOptions, demo, schema, write_pages,
};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// Shapes of rows that behave differently.
const SHAPES: [&str; 5] = ["small", "chat", "deep", "huge", "unicode"];

/// The bodies of as many full pages as make about four megabytes.
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

/// Page bodies to rows, borrowed.
#[divan::bench(args = SHAPES)]
fn decode(bencher: Bencher, shape: &str) {
    let bodies = bodies(shape);
    bencher.counter(total(&bodies)).with_inputs(|| bodies.clone()).bench_values(|bodies| {
        for body in bodies {
            black_box(Page::decode(1, body).expect("a page").len());
        }
    });
}

/// Baseline of `decode`: the same bodies into trees.
#[divan::bench(args = SHAPES)]
fn decode_into_trees(bencher: Bencher, shape: &str) {
    let bodies = bodies(shape);
    bencher.counter(total(&bodies)).bench(|| {
        for body in &bodies {
            black_box(serde_json::from_slice::<serde_json::Value>(body).expect("JSON"));
        }
    });
}

/// What the stream of `Datapoint`s costs beside `decode`.
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

/// Decoded pages through batch builder and sink into nothing, on one encoder thread.
#[divan::bench(args = ENCODINGS)]
fn encode(bencher: Bencher, (format, codec): (&str, &str)) {
    let format = format.parse().expect("a format");
    let encoding = Encoding::new(format, codec.parse().expect("a codec")).expect("they fit");
    let runtime = Runtime::new().expect("a runtime");
    let bodies = bodies("chat");
    let decode = |body: &Vec<u8>| Ok(Page::decode(1, body.clone()).expect("a page"));
    bencher
        .counter(total(&bodies))
        .with_inputs(|| stream::iter(bodies.iter().map(decode).collect::<Vec<_>>()))
        .bench_values(|pages| {
            let sink = encoding.sink(schema(&Column::ALL), Box::new(io::sink()), 1);
            let written = write_pages(pages, &Column::ALL, sink.expect("a sink"));
            runtime.block_on(written).expect("written")
        });
}

/// Milliseconds of latency and requests in flight: 40 pages of 25 rows from the embedded API.
const NETWORKS: [(u64, &str); 6] =
    [(0, "1"), (0, "16"), (0, "auto"), (20, "1"), (20, "16"), (20, "auto")];

/// Pages over a socket, in order, proven complete.
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
        let pages = client.pages(id, Query::default(), options);
        let rows = pages.try_fold(0, async |rows, page| Ok(rows + page.len()));
        assert_eq!(runtime.block_on(rows).expect("rows"), 1_000);
    });
}
