//! Export Overmind Lab datasets, every row once, to Parquet, Arrow IPC or JSON Lines.
//!
//! The only way to read a dataset's datapoints is a page-numbered endpoint. This crate turns it into
//! an ordered stream with bounded prefetch, and feeds that to sinks that write files:
//!
//! ```text
//!  cli ──► plan ──► client ──► paginator ──► batch ──► sink ──► destination ──► manifest
//!                  one page   ordered pages  record   parquet   staged, then   written
//!                  throttle   proof of       batches  ipc       published in   last
//!                  retry      completeness            jsonl     one step
//! ```
//!
//! Rows flow to the right, and no stage knows the next one: the client knows no paginator, the paginator no
//! batch, a sink no destination. Only the destination knows the manifest, which it writes last. Of its left
//! a stage knows what it is given: the paginator asks the client for pages, the others take plain values
//! (a row, a column, a format). The plan holds values of all of them and is known to none; `export` joins
//! them. In short:
//!
//! - [`Client`] asks for pages and lists datasets; [`Client::datapoints`] is a
//!   `Stream<Item = Result<Datapoint>>`, [`Client::pages`] gives whole pages.
//! - [`Export`] runs an [`ExportPlan`] to a file, a directory of parts, an object store, or standard output.
//! - [`Sink`] is what formats implement, and what you implement to write somewhere else;
//!   [`write_pages`] feeds it.
//! - A [`Location`] is a local path or the URL of an object store; [`Batches`] reads an export from one.
//! - [`verify()`] holds an export against what was recorded when it was written; [`diff()`] says
//!   what changed from one export to another.
//! - [`run_jobs`] takes the snapshots of a [`Config`], [`list_snapshots`] says what is there, and
//!   [`schedule`] takes them at their times.
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
//! let mut rows = client.datapoints(id, Query::default(), StreamOptions::default());
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

mod batch;
pub mod cli;
mod client;
mod clock;
mod config;
pub mod demo;
mod destination;
mod diff;
mod error;
mod export;
mod files;
#[cfg(any(doc, doctest))]
pub mod guide;
mod location;
mod net;
mod output;
mod paginator;
mod proof;
mod readback;
mod record;
pub mod schedule;
mod sink;
mod snapshots;
mod tasks;
mod text;
mod throttle;

pub use batch::{Column, schema};
pub use client::{
    ApiKey, Client, ClientBuilder, Connection, Datapoint, DatasetInfo, Meter, Page, Query, Row,
    Source,
};
pub use clock::{Clock, SystemClock};
pub use config::{Config, DatasetName, Job, Keep, Schedule, Selection, Unchanged};
pub use diff::{
    Diff, DiffBy, DiffFile, DiffOptions, DiffSide, DiffSummary, Difference, DifferenceKind,
    DifferenceRow, diff,
};
pub use error::{ApiError, Cause, Error, PageError, Report, Result};
pub use export::{DryRun, Export, ExportOptions, ExportPlan, Progress, Summary, write_pages};
pub use location::{Location, StorageOptions, Target};
pub use paginator::{Datapoints, PageRange, Pages, StreamOptions};
pub use readback::{Batches, Check, ReadOptions, Verification, verify, verify_with};
pub use record::{Completeness, Listed, Manifest, Part, SnapshotOf, Stamp, Tool};
pub use sink::{Compression, Encoding, Format, Output, Sink, Written};
pub use snapshots::{
    Event, Failure, Fate, JobResult, ListedSnapshot, Observer, RunOptions, SnapshotResult, Status,
    Stop, Verdict, job_history, list_snapshots, plan_retention, run_jobs,
};
pub use throttle::{Concurrency, InFlight, InvalidConcurrency, InvalidRate, Rate};

/// Arrow in the version that [`Sink`] speaks.
pub use {arrow_array, arrow_schema};
/// Time in the versions that [`Clock`] and [`Job`] speak.
pub use {chrono, chrono_tz};
/// What a [`Datapoint`] is made of ([`RawValue`](serde_json::value::RawValue) holds its JSON, a `Uuid` its
/// id), and what holds a key, in the versions that the signatures here speak.
pub use {secrecy, serde_json, uuid};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamplesCompile;
