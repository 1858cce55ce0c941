//! Runs jobs. A run chooses datasets, stores new data as snapshots, and deletes expired snapshots.
//!
//! ```text
//! ROOT/JOB/snapshot=20261123T020000Z/part-…    only data; with select = "all" below dataset=ID/
//! ROOT/.overmind/JOB/snapshot=….manifest.json  the record of a snapshot
//!                    latest.json               the newest snapshot, and when the data was last confirmed
//!                    schema.json               the types of nested columns, if the job has them
//!                    history.jsonl             one line per run
//!                    .lock                     held by the run
//!                    .snapshot=….partial/      a snapshot that is being exported
//!                    .snapshot=….removed/      a snapshot that is being deleted
//! ```
//!
//! In a store, the folder of an export is `_snapshot=….partial/`, the lock is in `_overmind/`, and a snapshot is deleted
//! in its place.
//!
//! This module does not know terminals, cron or the text of the configuration file.

mod check;
mod damaged;
mod erase;
mod history;
mod latest;
mod link;
mod list;
mod place;
mod plan;
mod prune;
mod removal;
mod result;
mod retention;
mod run;
mod schema;
mod select;
mod series;
mod stop;
mod stored;

use std::sync::Arc;

use futures::{StreamExt, stream};

pub(crate) use self::history::{RunHistory, unreadable_text};
pub use self::{
    check::{CheckedDataset, CheckedJob, check_job},
    damaged::{DamagedSnapshot, damaged_snapshots, stored_damage},
    history::job_history,
    latest::latest_snapshots,
    list::{ListedSnapshot, UnnamedFolder, list_snapshots, plan_retention, unnamed_folders},
    prune::{PruneResult, RetentionAction, RetentionDecision, prune_job},
    result::{Failure, JobResult, SnapshotResult, Status},
    schema::{WidenedSchema, widen_schema},
    stop::Stop,
    stored::{StoredSnapshot, newest_snapshots, stored_history, stored_jobs, stored_snapshots},
};
#[cfg(feature = "report")]
pub(crate) use self::{damaged::stored_gaps, stored::stored_with_others};
#[cfg(feature = "fuzzing")]
pub(crate) use self::{latest::Latest, schema::PinnedSchema};
use crate::{
    client::Client,
    clock::{Clock, SystemClock},
    config::Job,
    export::progress::Progress,
    location::StorageOptions,
};

/// Options for [`run_jobs`].
#[derive(Clone)]
#[non_exhaustive]
pub struct RunOptions {
    /// Number of jobs that run at the same time; default 4. All jobs share the client's request slots,
    /// so a higher number does not put more load on the API.
    pub jobs: usize,
    /// The source of the current time; default the system's clock.
    pub clock: Arc<dyn Clock>,
    /// Settings for the object stores of the roots, in addition to the environment; default none.
    pub storage: StorageOptions,
    /// A callback for events during the run; default none.
    pub observer: Option<Observer>,
}

/// A callback that receives each event while jobs run.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            jobs: 4,
            clock: Arc::new(SystemClock),
            storage: StorageOptions::default(),
            observer: None,
        }
    }
}

/// An event during a run of jobs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The export of a dataset's snapshot has begun.
    Began {
        /// The job.
        job: &'a Job,
        /// The client whose counters cover only this job's requests.
        client: &'a Client,
        /// The row counters of this snapshot.
        progress: Arc<Progress>,
    },
    /// A job has ended.
    Ended(&'a JobResult),
}

/// Runs each job once and returns the results in the order of the jobs.
///
/// Up to [`RunOptions::jobs`] jobs run at the same time. A job that fails does not stop the others.
/// Must run within a tokio runtime.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use overmind_export::{Client, Config, RunOptions, Status, Stop, demo, run_jobs};
///
/// # let dataset = demo::Dataset::generated(1_000, 7);
/// # let server = demo::Server::start(demo::Options::default(), vec![dataset]).await?;
/// # let folder = tempfile::tempdir()?;
/// let text = r#"
///     [[job]]
///     name = "everything"
///     root = "snapshots"
///     select = "all"
/// "#;
/// let config = Config::parse(text, &folder.path().join("snapshots.toml"))?;
/// let client = Client::builder().base_url(server.url()).api_key("demo").build()?;
/// let (options, stop) = (RunOptions::default(), Stop::default());
/// let first = run_jobs(&client, &config.jobs, &options, &stop).await;
/// assert_eq!((first[0].status, first[0].rows), (Status::Stored, 1_000));
/// let second = run_jobs(&client, &config.jobs, &options, &stop).await;
/// assert_eq!((second[0].status, second[0].rows), (Status::Unchanged, 0));
/// # Ok(())
/// # }
/// ```
pub async fn run_jobs(
    client: &Client,
    jobs: &[Job],
    options: &RunOptions,
    stop: &Stop,
) -> Vec<JobResult> {
    let run = |(place, job)| {
        let client = client.metered();
        // Read the clock when the job begins, not when it enters the queue.
        async move {
            let started = options.clock.now();
            (place, run::JobRun { client, job, options, stop, started }.run().await)
        }
    };
    // Collect first: a stream over borrowing closures would make this future impossible to spawn.
    let runs: Vec<_> = jobs.iter().enumerate().map(run).collect();
    // Unordered, so that a slow job does not block the jobs queued behind it.
    let ended = stream::iter(runs).buffer_unordered(options.jobs.max(1));
    let mut results: Vec<(usize, JobResult)> = ended.collect().await;
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}
