//! How much memory an export takes: bounded in bytes whatever a row's size, and not by how many
//! rows there are. Each export runs in a process of its own, which tells its peak.

use std::{env, process::Command};

use overmind_export::{Client, Export, ExportOptions, ExportPlan, demo::Options};

use crate::support::{ID, KEY, World};

const URL: &str = "OVERMIND_EXPORT_TEST_URL";
const OUTPUT: &str = "OVERMIND_EXPORT_TEST_OUTPUT";
const PAGE_SIZE: &str = "OVERMIND_EXPORT_TEST_PAGE_SIZE";
const THREADS: &str = "OVERMIND_EXPORT_TEST_THREADS";
const PEAK: &str = "peak KiB: ";

#[test]
#[ignore = "a process that other tests start to see how large it becomes"]
fn one_export() {
    let (Ok(url), Ok(output), Ok(page_size), Ok(threads)) =
        (env::var(URL), env::var(OUTPUT), env::var(PAGE_SIZE), env::var(THREADS))
    else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::builder().base_url(url).api_key(KEY).build().unwrap();
    let options = ExportOptions {
        page_size: page_size.parse().unwrap(),
        encode_threads: threads.parse().ok(),
        ..ExportOptions::new(ID, output)
    };
    let export = Export::new(client, ExportPlan::new(options).unwrap());
    runtime.block_on(export.run()).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("{PEAK}{}", peak.trim().trim_end_matches(" kB"));
}

/// Peak memory in MiB of exporting so many rows of so many bytes with two threads.
fn peak(rows: usize, bytes: usize, page_size: usize, output: &str) -> usize {
    peak_with(2, rows, bytes, page_size, output)
}

fn peak_with(threads: usize, rows: usize, bytes: usize, page_size: usize, output: &str) -> usize {
    // Text that a codec cannot make nothing of.
    let mut random = fastrand::Rng::with_seed(5);
    let text: String = (0..bytes).map(|_| random.alphanumeric()).collect();
    let row = |number: usize| {
        let id = crate::rows::id(number as u64);
        format!(r#"{{"id":"{id}","order":{number},"input":["{text}"],"tags":["a"]}}"#)
    };
    let world = World::with_rows(Options::default(), (0..rows).map(row).collect());
    let ran = Command::new(env::current_exe().unwrap())
        .args(["--exact", "memory::one_export", "--ignored", "--nocapture"])
        .env(URL, world.server.url())
        .env(OUTPUT, world.path(output))
        .env(PAGE_SIZE, page_size.to_string())
        .env(THREADS, threads.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let peak = said.lines().find_map(|line| line.split_once(PEAK)).expect(&said).1;
    peak.parse::<usize>().unwrap() >> 10
}

#[test]
fn rows_of_any_size_fit_into_bounded_memory() {
    for output in ["rows.parquet", "rows.arrow", "rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst"] {
        // Twice the pages that are fetched ahead, in each case; the test's own process is in it.
        let small = peak(30_000, 1_000, 100, output);
        let large = peak(400, 100_000, 25, output);
        let huge = peak(10, 5_000_000, 1, output);
        println!("{output}: {small} MiB at 1 KB a row, {large} at 100 KB, {huge} at 5 MB");
        assert!(small <= 110 && large <= 140 && huge <= 180, "{output}: {small} {large} {huge}");
    }
}

#[test]
fn many_threads_hold_no_more_large_rows_than_their_budget() {
    for output in ["rows.parquet", "rows.arrow", "rows.jsonl.gz", "rows.jsonl.zst"] {
        // More than twice what the budget lets in.
        let huge = peak_with(16, 45, 5_000_000, 1, output);
        println!("{output}: {huge} MiB at 5 MB a row with 16 threads");
        // Measured: 240 to 310.
        assert!(huge <= 380, "{output}: {huge}");
    }
}

#[test]
fn memory_does_not_grow_with_the_number_of_rows() {
    for output in ["rows.parquet", "rows/"] {
        let (some, more) = (peak(25_000, 500, 100, output), peak(100_000, 500, 100, output));
        println!("{output}: {some} MiB for 25,000 rows, {more} for 100,000");
        // The ids of 100,000 rows are 1.6 MB; the allocator's holes are the rest.
        assert!(more <= some + 24, "{output}: {some} MiB, then {more}");
    }
}
