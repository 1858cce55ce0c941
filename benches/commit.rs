//! Seconds and peak memory of `commit` for an export of synthetic ids: the external merge sort of the proof.
//!
//! `cargo bench --bench commit` takes 10,000,000 ids in 16 ranges, `cargo bench --bench commit -- 100000000` another
//! number. The ids and the records of the ranges are made first, which is not measured. Each part is one byte, so that
//! a commit reads the ids and hardly anything else. The commit runs in a process of its own, whose peak memory the system
//! reports. The temporary directory needs 48 bytes for each id.

#![allow(clippy::expect_used, reason = "a benchmark that cannot run must stop with a message")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    env,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use overmind_export::{
    Client, ExportOptions, Result,
    cluster::{ClusterCommit, ClusterOutput, ClusterPlan, PlannedRange, begin},
    demo,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

const ROWS: u64 = 10_000_000;
const RANGES: u32 = 16;
const ROWS_PER_FILE: u64 = 250_000;
/// Rows of a page of the demo API.
const PAGE: u64 = 100;
/// The variable with the URL of the API, for the process that commits.
const API: &str = "COMMIT_BENCH_API";

fn main() {
    // Cargo adds options of its own.
    let mut arguments = env::args().skip(1).filter(|it| !it.starts_with("--"));
    if let (Ok(url), Some(output)) = (env::var(API), arguments.next()) {
        return commit(&url, output.as_ref());
    }
    let rows = env::args().skip(1).find_map(|it| it.parse().ok()).unwrap_or(ROWS);
    let dataset = demo::Dataset::generated(rows, 7);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let output = folder.path().join("rows");
    let server = demo::serve_in_background(
        demo::Options::default(),
        vec![demo::Dataset::generated(rows, 7)],
    );
    let server = server.expect("a server");
    let options = ExportOptions {
        rows_per_file: Some(ROWS_PER_FILE),
        page_size: PAGE as u32,
        ..ExportOptions::new(dataset.id, folder.path().join("rows/"))
    };
    let runtime = Runtime::new().expect("a runtime");
    let plan = runtime.block_on(begin(&client(&server.url()), options, RANGES)).expect("a plan");
    let ranges = folder.path().join(".rows.partial/ranges");
    let begun = Instant::now();
    for range in plan.ranges() {
        write_range(&ranges, &plan, range, &dataset).expect("a range");
    }
    println!("{rows} ids in {} ranges, made in {:.1} s", RANGES, begun.elapsed().as_secs_f64());
    let program = env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.arg(format!("{}/", output.display())).env(API, server.url());
    command.env("TMPDIR", folder.path());
    assert!(command.status().expect("a process").success(), "the commit failed");
}

fn client(url: &str) -> Client {
    Client::builder().base_url(url).api_key("demo").build().expect("a client")
}

/// Commits, and prints the seconds and the peak memory of this process.
fn commit(url: &str, output: &Path) {
    let before = peak_memory();
    let begun = Instant::now();
    let runtime = Runtime::new().expect("a runtime");
    let commit = ClusterCommit::new(client(url), ClusterOutput::new(output));
    let summary = runtime.block_on(commit.run()).expect("an export");
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "commit of {} ids: {seconds:.2} s, {:.1} million ids/s, peak memory {}, before it {}",
        summary.rows_read,
        summary.rows_read as f64 / seconds / 1e6,
        peak_memory(),
        before,
    );
}

/// Returns the largest resident memory of this process so far, as Linux reports it.
fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or_else(|| "unknown".to_owned(), |peak| peak.trim().to_owned())
}

/// Writes a range as a worker leaves it.
fn write_range(
    ranges: &Path,
    plan: &ClusterPlan,
    range: &PlannedRange,
    dataset: &demo::Dataset,
) -> Result<(), io::Error> {
    let (Some(first), Some(last)) = (range.first_page, range.last_page) else { return Ok(()) };
    let (token, number) = ("0badcafe", range.range);
    let folder = ranges.join(format!("{number:05}-{token}"));
    fs::create_dir(&folder)?;
    let (mut parts, mut page) = (Vec::new(), first);
    while page <= last {
        let end = (page + ROWS_PER_FILE / PAGE - 1).min(last);
        let index = parts.len();
        let rows = ((page - 1) * PAGE)..(end * PAGE).min(plan.count);
        let sha256 = write_ids(&folder.join(format!("ids-{index:05}")), rows.clone(), dataset)?;
        let name = format!("part-{index:05}.parquet");
        fs::write(folder.join(&name), b"x")?;
        parts.push(kept(&name, (page, end), (rows.start, rows.end), (plan.pages, sha256)));
        page = end + 1;
    }
    let record = json!({
        "plan": plan.plan,
        "range": number,
        "attempt": 0,
        "token": token,
        "first_page": first,
        "last_page": last,
        "first_order": (first - 1) * PAGE,
        "parts": parts,
    });
    fs::write(ranges.join(format!("range-{number:05}-0.json")), sealed(&record))
}

/// The entry of a part in the record of its range.
fn kept(
    name: &str,
    (first_page, last_page): (u64, u64),
    (first_row, end): (u64, u64),
    (pages, ids_sha256): (u64, String),
) -> Value {
    json!({
        "part": {
            "path": name,
            "first_page": first_page,
            "last_page": last_page,
            "rows_read": end - first_row,
            "rows": end - first_row,
            "bytes": 1,
            "sha256": sha256(b"x"),
            "digest": format!("xxh3-128-poly:{:032x}", 0),
        },
        "has_next": last_page < pages,
        "last_order": end.saturating_sub(1),
        "ids_sha256": ids_sha256,
    })
}

/// Writes the ids of these rows, and returns their SHA-256. The rows of the first and the last page are those of the API,
/// because a commit requests these pages. All others are spread evenly, as random ids are.
fn write_ids(
    path: &PathBuf,
    rows: std::ops::Range<u64>,
    dataset: &demo::Dataset,
) -> io::Result<String> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut hasher = Sha256::new();
    let last = dataset.len().saturating_sub(1) / PAGE * PAGE;
    for row in rows {
        let id = if row < PAGE || row >= last { real_id(dataset, row)? } else { made_up(row) };
        hasher.update(id);
        file.write_all(&id)?;
    }
    file.flush()?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn real_id(dataset: &demo::Dataset, row: u64) -> io::Result<[u8; 16]> {
    let row: Value = serde_json::from_slice(&dataset.row(row))?;
    let id = row["id"].as_str().and_then(|id| uuid::Uuid::parse_str(id).ok());
    id.map(uuid::Uuid::into_bytes).ok_or_else(|| io::Error::other("a row without an id"))
}

/// SplitMix64, which gives each row other bits.
fn made_up(row: u64) -> [u8; 16] {
    let mix = |mut bits: u64| {
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    let high = mix(row.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    ((u128::from(high) << 64) | u128::from(mix(high ^ row))).to_be_bytes()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The record with its check value.
fn sealed(record: &Value) -> String {
    let json = record.to_string();
    let text = json.strip_suffix('}').unwrap_or(&json);
    format!("{text},\"check\":\"{}\"}}", sha256(text.as_bytes()))
}
