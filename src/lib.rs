//! Export Overmind Lab datasets, every row once, to Parquet, Arrow IPC, JSON Lines or CSV.
//!
//! The API delivers the rows of a dataset in numbered pages. This crate turns the pages into an ordered stream
//! with bounded prefetch, and writes the stream to files through sinks:
//!
//! ```text
//!  cli ──► plan ──► client ──► paginator ──► batch ──► sink ──► destination ──► manifest
//!                  one page   ordered pages  record   parquet   staged, then   written
//!                  throttle   proof of       batches  ipc       published in   last
//!                  retry      completeness            jsonl     one step
//! ```
//!
//! Rows flow from left to right, and no stage depends on the next one. The client does not know the
//! paginator, the paginator knows no batches, and a sink knows no destination. Only the destination writes the
//! manifest, as the last step. A stage may know its input: the paginator requests pages from the client,
//! and the other stages take plain values (a row, a column, a format). The plan holds values of all stages,
//! and no stage knows the plan. `export` connects the stages. The main items are:
//!
//! - [`Client`] requests pages and lists datasets. [`Client::dataset`] gives a reader:
//!   [`DatasetReader::datapoints`] is a `Stream<Item = Result<Datapoint>>`, and [`DatasetReader::pages`] is a stream of
//!   whole pages.
//! - [`Export`] runs an [`ExportPlan`] to a file, a directory of parts, an object store, or standard output.
//! - A [`Transform`] chooses the rows that an export writes, by jq expressions and samples.
//! - [`Convert`] runs a [`ConvertPlan`]: it converts an export into another format, layout or place.
//! - [`Sink`] is the trait of the output formats. Implement it to write somewhere else; [`write_pages`] sends
//!   pages to it, and [`write_transformed`] the rows that a [`Transform`] keeps.
//! - A [`Location`] is a local path or the URL of an object store. [`Batches`] reads an export from one.
//! - [`verify()`] compares an export with the record that was written with it. [`diff()`] lists the
//!   differences between two exports.
//! - `Report` (feature `report`) is a page about an export.
//! - [`run_jobs`] takes the snapshots of a [`Config`], [`list_snapshots`] lists the existing snapshots, and
//!   [`schedule`] takes snapshots at fixed times.
//!
//! # Rows as a stream
//!
//! ```
//! use futures::TryStreamExt;
//! use overmind_export::{Client, Query, StreamOptions, demo};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dataset = demo::Dataset::generated(1_000, 7);
//! let id = dataset.id;
//! let server = demo::Server::start(demo::Options::default(), vec![dataset]).await?;
//!
//! let client = Client::builder().base_url(server.url()).api_key("demo").build()?;
//! let mut rows = client.dataset(id).datapoints();
//! let mut personas = 0;
//! while let Some(row) = rows.try_next().await? {
//!     personas += usize::from(row.persona.is_some());
//! }
//! assert!(personas > 100);
//! # Ok(())
//! # }
//! ```
//!
//! # A file
//!
//! ```
//! use overmind_export::{Client, Export, ExportOptions, ExportPlan, demo};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dataset = demo::Dataset::generated(1_000, 7);
//! # let id = dataset.id;
//! # let server = demo::Server::start(demo::Options::default(), vec![dataset]).await?;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("rows.parquet");
//! let client = Client::builder().base_url(server.url()).api_key("demo").build()?;
//! let plan = ExportPlan::new(ExportOptions::new(id, &path))?;
//! let summary = Export::new(client, plan).run().await?;
//! assert_eq!((summary.rows, summary.files), (1_000, 1));
//! # Ok(())
//! # }
//! ```

#![cfg_attr(
    not(feature = "cli"),
    allow(
        dead_code,
        unused_imports,
        reason = "the command and the jobs use more than the library alone"
    )
)]

mod batch;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod clock;
pub mod cluster;
#[cfg(feature = "snapshots")]
mod config;
mod convert;
#[cfg(feature = "demo")]
pub mod demo;
mod destination;
mod diff;
mod error;
mod export;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(any(doc, doctest))]
pub mod guide;
mod json_text;
mod location;
mod nested;
mod net;
mod output;
mod paginator;
mod proof;
mod readback;
mod record;
#[cfg(feature = "report")]
mod report;
#[cfg(feature = "snapshots")]
pub mod schedule;
mod sink;
#[cfg(feature = "snapshots")]
mod snapshots;
mod tasks;
mod text;
mod throttle;
mod transform;

pub use batch::{Column, ColumnType, ListItem, OutputColumn, schema, timestamp_text};
pub use client::{
    ApiKey, Client, ClientBuilder, Connection, Datapoint, DatasetInfo, Meter, Page, Query, Row,
    Source,
};
pub use clock::{Clock, SystemClock};
#[cfg(feature = "snapshots")]
pub use config::{Config, DatasetName, Job, Keep, Schedule, Selection, Unchanged};
pub use convert::{
    Convert, ConvertDryRun, ConvertOptions, ConvertPlan, ConvertSummary, TransformedBatches,
    explain_export,
};
pub use diff::{
    Diff, DiffBy, DiffFile, DiffOptions, DiffSide, DiffSummary, Difference, DifferenceKind,
    DifferenceRow, diff,
};
pub use error::{
    ApiError, Cause, ColumnError, Error, ErrorReport, NestingError, PageError, Result,
};
pub use export::{
    DryRun, ExplainedRows, Export, ExportOptions, ExportPlan, NestingOptions, Progress,
    RowExplanation, Summary, TransformPlan, TransformedRows, explain_rows, write_pages,
    write_transformed,
};
pub use location::{Location, StorageOptions, Target};
pub use nested::{GivenSchema, NestedField, NestedType};
pub use paginator::{Datapoints, DatasetReader, PageRange, Pages, StreamOptions};
pub use proof::{Digest, ParseDigestError};
pub use readback::{
    Batches, Check, ReadOptions, StatedFacts, Verification, read_manifest, verify, verify_with,
};
pub use record::{
    Completeness, ConvertedFrom, EarlierTransform, Listed, Manifest, Part, SnapshotOf, Stamp, Tool,
    WrittenCard, WrittenRange, WrittenSplit, digest,
};
#[cfg(all(feature = "report", feature = "snapshots"))]
pub use report::{JobNights, SnapshotChange, SnapshotData, UnreadSnapshot, snapshot_jobs};
#[cfg(feature = "report")]
pub use report::{Report, ReportFile, ReportOptions};
pub use sink::{
    Compression, Encoding, Format, JsonColumns, Output, ParquetEncoding, Sink, Written,
};
#[cfg(feature = "snapshots")]
pub use snapshots::{
    CheckedDataset, CheckedJob, DamagedSnapshot, Event, Failure, JobResult, ListedSnapshot,
    Observer, PruneResult, RetentionAction, RetentionDecision, RunOptions, SnapshotResult, Status,
    Stop, StoredSnapshot, UnnamedFolder, WidenedSchema, check_job, damaged_snapshots, job_history,
    latest_snapshots, list_snapshots, newest_snapshots, plan_retention, prune_job, run_jobs,
    stored_damage, stored_history, stored_jobs, stored_snapshots, unnamed_folders, widen_schema,
};
pub use throttle::{Concurrency, InFlight, InvalidConcurrency, InvalidRate, Rate};
pub use transform::{
    ComputedColumnRecord, OnError, SplitRecord, Transform, TransformRecord, missing_values,
};

/// Dates, in the version that [`Clock`] uses.
pub use chrono;
/// Time zones, in the version that [`Job`] uses.
#[cfg(feature = "snapshots")]
pub use chrono_tz;
/// Arrow, in the version that [`Sink`] uses.
pub use {arrow_array, arrow_schema};
/// The crates in this crate's signatures, in the versions used here. In a [`Datapoint`],
/// [`RawValue`](serde_json::value::RawValue) holds JSON and `Uuid` an id. `secrecy` holds the key.
pub use {secrecy, serde_json, uuid};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamplesCompile;
