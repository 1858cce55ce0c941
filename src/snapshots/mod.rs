//! Runs jobs: which dataset, is it new, store it, say that it is the newest, remove what is too old.
//!
//! ```text
//! ROOT/JOB/snapshot=20261123T020000Z/   an export directory; with select = "all" below dataset=ID/
//!          _latest                      a link to the newest complete one, in a file system
//!          _latest.json                 the same in words, and as of when
//!          _history.jsonl               a line a run
//! ```
//!
//! Knows nothing of a terminal, of cron or of the configuration file's text.

mod history;
mod list;
mod place;
mod prune;
mod removal;
mod result;
mod retention;
mod run;
mod select;
mod series;
mod stop;

use std::sync::Arc;

use futures::{StreamExt, stream};

pub use self::{
    history::job_history,
    list::{ListedSnapshot, list_snapshots, plan_retention},
    prune::{Fate, Verdict},
    result::{Failure, JobResult, SnapshotResult, Status},
    stop::Stop,
};
use crate::{
    client::Client,
    clock::{Clock, SystemClock},
    config::Job,
    export::progress::Progress,
    location::StorageOptions,
};

/// How jobs are run.
#[derive(Clone)]
#[non_exhaustive]
pub struct RunOptions {
    /// Jobs side by side; default 4. They share the client's limit of requests, so more do not ask
    /// more of the API.
    pub jobs: usize,
    /// What time it is; default the system's clock.
    pub clock: Arc<dyn Clock>,
    /// How the object stores of roots are reached, beside the environment; default nothing.
    pub storage: StorageOptions,
    /// Told what happens while it happens; default nobody.
    pub observer: Option<Observer>,
}

/// Is told what happens while jobs run.
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

/// What happens while jobs run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A dataset's snapshot has begun: its job, the client that counts its requests alone, and the
    /// counters of its rows.
    Began {
        /// The job.
        job: &'a Job,
        /// The client that counts its requests alone.
        client: &'a Client,
        /// The counters of its rows.
        progress: Arc<Progress>,
    },
    /// A job has ended.
    Ended(&'a JobResult),
}

/// Runs each job once, now, side by side as far as the options allow, and gives their results in
/// the order of the jobs. A job that fails stops no other. Must run within a tokio runtime.
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
        // The clock is looked at when the job begins, not when it was put into the queue.
        async move {
            let started = options.clock.now();
            (place, run::JobRun { client, job, options, stop, started }.run().await)
        }
    };
    // Collected first: a stream of borrowing closures is no future that can be spawned.
    let runs: Vec<_> = jobs.iter().enumerate().map(run).collect();
    // As they end: one that takes long must not hold the place of those that wait behind it.
    let ended = stream::iter(runs).buffer_unordered(options.jobs.max(1));
    let mut results: Vec<(usize, JobResult)> = ended.collect().await;
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}
