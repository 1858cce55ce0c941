//! One export that many workers write, on any engine that can start a command or call a function many times.
//!
//! ```text
//! begin ─► the plan ─┬► range 1 ─► its record ─┬─► commit: every range is there? ─► proof ─► publish
//!                    ├► range 2 ─► its record ─┤
//!                    └► range N ─► its record ─┘      no lock, any order, any number of times
//! ```
//!
//! [`begin`] takes one request. It fixes the options, the number of rows and the ranges of pages, and writes them to the
//! staging of the output. A [`RangeWorker`] reads the pages of one range and stages their parts. A [`ClusterCommit`]
//! refuses gaps, proves that every row came once, and publishes. Its export has the same rows, files and digest as one
//! that a single machine writes with the same options.
//!
//! A worker takes no lock and makes nothing visible. The first worker that finishes a range creates its record; a commit
//! uses the parts of the records alone. So a range may be written again at any time, also by two workers at once, and a
//! worker may be killed at any time. No step depends on a clock.
//!
//! Engines that take rows instead of files read them with a [`PagePlan`].
//!
//! ```
//! use overmind_export::{Client, ExportOptions, ExportPlan, cluster, demo};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dataset = demo::Dataset::generated(1_000, 7);
//! # let id = dataset.id;
//! # let server = demo::Server::start(demo::Options::default(), vec![dataset]).await?;
//! # let folder = tempfile::tempdir()?;
//! # let output = folder.path().join("rows/");
//! let client = Client::builder().base_url(server.url()).api_key("demo").build()?;
//! let options = ExportOptions { rows_per_file: Some(200), ..ExportOptions::new(id, &output) };
//! let plan = cluster::begin(&client, options, 3).await?;
//! let output = cluster::ClusterOutput::new(&output);
//! for range in plan.ranges() {
//!     // On any machine that can write to the output.
//!     cluster::RangeWorker::new(client.clone(), output.clone(), range.range, 3)?.run().await?;
//! }
//! let summary = cluster::ClusterCommit::new(client, output).run().await?;
//! assert_eq!(summary.rows, 1_000);
//! # Ok(())
//! # }
//! ```

mod begin;
mod commit;
mod coverage;
mod options;
mod pages;
mod place;
mod plan;
mod status;
mod worker;

pub use self::{
    begin::{begin, plan as planned},
    commit::ClusterCommit,
    pages::PagePlan,
    place::ClusterOutput,
    plan::{ClusterPlan, PlannedRange},
    status::{AbortSummary, ClusterStatus, RangeState, RangeStatus, abort, status},
    worker::{RangeOutcome, RangeSummary, RangeWorker},
};
