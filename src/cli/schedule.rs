//! `schedule`: runs the jobs of the configuration file at their scheduled times, until a signal stops it.

use std::{future::pending, io, net::SocketAddr, sync::Arc, time::Duration};

#[cfg(unix)]
use crate::schedule::reap_orphans;
use crate::{
    Client, Clock, Error, Job, Result, RunOptions, Stop, SystemClock,
    chrono::{DateTime, SecondsFormat, TimeDelta, Utc},
    schedule::{
        AgendaEntry, Metrics, MetricsServer, NightsPage, Planned, Scheduler, Slot, SnapshotJobs,
        Timetable,
    },
    tasks::Worker,
    text::grouped,
};
use clap::Args;
use serde::Serialize;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, timeout_at},
};

use super::{
    global::Global,
    signals::{Signal, Signals},
    storage::Storage,
    table::{Fit, TableColumn, render},
    values,
};

/// Time limit for running jobs to end after a signal. It leaves 2 of the 10 seconds within which the process
/// must end.
const GRACE: Duration = Duration::from_secs(8);
/// Time limit for reading the configuration again.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);
const START_AGAIN: &str =
    "start it again: it resumes interrupted runs and makes up for missed runs";
/// Maximum of `--list`, in runs per job. A person does not read more, and a list of this size appears
/// immediately.
const LISTED: u64 = 1000;
const COLUMNS: [TableColumn; 4] = [
    TableColumn::new("job", Fit::Whole),
    TableColumn::new("local time", Fit::Whole),
    TableColumn::new("time zone", Fit::Whole).left_out(2),
    // The local time has the offset.
    TableColumn::new("utc", Fit::Whole).left_out(1),
];

/// Run the jobs of the configuration file at their times, in the foreground, until stopped
#[derive(Debug, Args)]
#[command(after_help = "\
SIGHUP reads the configuration file again. If it is invalid, the old configuration stays in use.
SIGTERM and SIGINT stop the schedule within ten seconds. The next run resumes interrupted jobs.

Examples:
  overmind-export schedule --list 5
  overmind-export schedule --metrics 127.0.0.1:9464")]
pub(super) struct ScheduleArgs {
    /// Names of jobs to run [default: all jobs with a schedule]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Print the next N runs of each job and exit
    #[arg(long, value_name = "N", value_parser = listed)]
    list: Option<u64>,
    /// With --list: print one JSON object per line
    #[arg(long, requires = "list")]
    json: bool,
    /// Number of jobs to run at the same time; they share the requests in flight
    #[arg(long = "jobs", value_name = "N", default_value_t = 4, value_parser = values::positive::<usize>)]
    side_by_side: usize,
    /// Serve /metrics (for Prometheus), /healthz, and a page about the runs at /, on this address; if only a
    /// port is given, only this machine can reach it
    #[arg(long, value_name = "ADDR", value_parser = values::address)]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    storage: Storage,
}

impl ScheduleArgs {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        match self.list {
            Some(count) => self.list(global, count as usize),
            None => super::block_on(self.serve(global)),
        }
    }

    async fn serve(self, global: &Global) -> Result<()> {
        let metrics = Arc::new(Metrics::new());
        let options = RunOptions::default();
        let clock = options.clock.clone();
        let runner = Arc::new(SnapshotJobs::new(options, metrics.clone()));
        // Catch signals before anything else, so that no signal arrives before its handler.
        let mut signals = Signals::new()?;
        let stop = Stop::default();

        let mut loading = Loading::new(Loader {
            jobs: self.jobs.clone(),
            storage: self.storage.clone(),
            global: global.clone(),
        });
        loading.start(None)?;
        let (entries, client) = loop {
            tokio::select! {
                loaded = loading.next() => break loaded?,
                // Ignore SIGHUP: the configuration is already being read.
                signal = signals.next() => if let Signal::Stop(stopped) = signal {
                    return Err(stopped.error(None));
                },
            }
        };
        metrics.follow(&client);
        let page = Arc::<NightsPage>::default();
        page.follow(&entries);
        let server = match self.metrics {
            Some(addr) => Some(serve_metrics(addr, &metrics, &page).await?),
            None => None,
        };
        let (sender, reloads) = mpsc::unbounded_channel();
        let scheduler = Scheduler::new(runner, clock, metrics.clone(), self.side_by_side);
        let hurry = Notify::new();
        let grace = async {
            tokio::select! {
                () = sleep(GRACE) => {}
                () = hurry.notified() => {}
            }
        };
        let mut running = std::pin::pin!(scheduler.run(entries, reloads, stop.clone(), grace));
        #[cfg(unix)]
        let mut orphans = std::pin::pin!(reap_orphans());
        #[cfg(not(unix))]
        let mut orphans = std::pin::pin!(std::future::pending::<()>());
        let mut ended_by = None;
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                loaded = loading.next() => {
                    metrics.reloaded(loaded.is_ok());
                    match loaded {
                        Ok((entries, client)) => {
                            metrics.follow(&client);
                            page.follow(&entries);
                            tracing::info!("the configuration file was read again");
                            // Sending fails if the scheduler is already stopping. It then needs no new entries.
                            drop(sender.send(entries));
                        }
                        Err(error) => print_error(&error),
                    }
                    continue;
                }
                () = &mut orphans => continue,
                _ = &mut running => break,
            };
            match signal {
                Signal::Reload => {
                    if let Err(error) = loading.start(Some(RELOAD_LIMIT)) {
                        metrics.reloaded(false);
                        print_error(&error);
                    }
                }
                // The second signal ends the grace period.
                Signal::Stop(..) if ended_by.is_some() => hurry.notify_one(),
                Signal::Stop(stopped) => {
                    tracing::info!(signal = stopped.name, "stopping");
                    stop.request(stopped.name, stopped.number);
                    ended_by = Some(stopped);
                }
            }
        }
        drop(server);
        match ended_by {
            Some(stopped) => Err(stopped.error(Some(START_AGAIN))),
            None => Err(Error::Internal("the schedule ended by itself".to_owned())),
        }
    }

    fn list(self, global: &Global, count: usize) -> Result<()> {
        let jobs = global.required_config()?.jobs_named(&self.jobs)?;
        let now = SystemClock.now();
        if self.json {
            let runs = jobs.iter().flat_map(|job| Upcoming::of(job, now, count));
            return runs.into_iter().try_for_each(|run| super::print_json(&run));
        }
        let rows = jobs.iter().flat_map(|job| {
            let mut rows: Vec<_> =
                Upcoming::of(job, now, count).iter().map(Upcoming::row).collect();
            if rows.is_empty() {
                rows.push([&*job.name, "no schedule", "-", "-"].map(str::to_owned).into());
            }
            rows
        });
        super::print(&render(&COLUMNS, rows))
    }
}

fn listed(text: &str) -> std::result::Result<u64, String> {
    let runs = values::positive::<u64>(text)?;
    if runs > LISTED { Err(format!("use at most {}", grouped(LISTED))) } else { Ok(runs) }
}

fn print_error(error: &Error) {
    let error = error.one_line();
    tracing::error!(%error, "cannot use the configuration file: the old configuration stays in use");
}

/// The entries of the agenda, and the client whose requests the metrics count.
type Entries = (Vec<AgendaEntry<Arc<Planned>>>, Client);

/// Reads the configuration file.
#[derive(Clone)]
struct Loader {
    jobs: Vec<String>,
    storage: Storage,
    global: Global,
}

impl Loader {
    /// Reads the configuration file. Returns its jobs and a client with its settings and the current API key.
    fn load(&self) -> Result<Entries> {
        let config = self.global.required_config()?;
        let client = self.global.client_of(Some(&config))?;
        let storage = self.storage.options_with(&self.global, Some(&config))?;
        let entries = Planned::of(&config, &self.jobs, &client, &storage)?;
        Ok((entries, client))
    }
}

/// Reads the configuration on its own thread, because reading can block. The file, the key or a certificate may
/// be a FIFO without a writer, or may be on a file server that does not answer.
struct Loading {
    loader: Loader,
    /// The current read, and its time limit.
    current: Option<(Worker<Result<Entries>>, Option<Instant>)>,
}

impl Loading {
    fn new(loader: Loader) -> Self {
        Self { loader, current: None }
    }

    /// Starts to read. Replaces a read in progress, because that one may have seen the old content of the file.
    fn start(&mut self, limit: Option<Duration>) -> Result<()> {
        let loader = self.loader.clone();
        let work = move || loader.load();
        let worker = Worker::start("config", "reading the configuration", work)?;
        self.current = Some((worker, limit.map(|limit| Instant::now() + limit)));
        Ok(())
    }

    /// Waits for the current read, or forever if there is none. Cancel safe.
    async fn next(&mut self) -> Result<Entries> {
        let Some((worker, until)) = &mut self.current else { return pending().await };
        let loaded = match until {
            None => worker.join().await,
            Some(until) => timeout_at(*until, worker.join()).await.unwrap_or_else(|_| {
                let seconds = RELOAD_LIMIT.as_secs();
                Err(Error::Configuration(format!(
                    "the configuration, or a file that it names, could not be read within {seconds} s: is \
                     one of them a FIFO?"
                )))
            }),
        };
        self.current = None;
        loaded.flatten()
    }
}

/// A future run of a job.
#[derive(Debug, Serialize)]
struct Upcoming<'a> {
    job: &'a str,
    timezone: &'static str,
    /// Start of the run, jitter included, in the time zone of the job. `utc` is the same time in UTC.
    local: String,
    utc: String,
    /// Scheduled time of the run, without jitter, in UTC.
    scheduled: String,
    #[serde(skip)]
    shown: String,
}

impl<'a> Upcoming<'a> {
    fn of(job: &'a Job, now: DateTime<Utc>, count: usize) -> Vec<Self> {
        let Some(table) = Timetable::of(job) else { return Vec::new() };
        // Include a run that is already due and still waits for its jitter.
        let jitter = TimeDelta::from_std(job.jitter).unwrap_or_default();
        let since = now.checked_sub_signed(jitter).unwrap_or(now);
        let coming = table.after(since).filter(|slot| slot.starts > now).take(count);
        coming.map(|slot| Self::new(job, &table, slot)).collect()
    }

    fn new(job: &'a Job, table: &Timetable, slot: Slot) -> Self {
        let utc = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let local = slot.starts.with_timezone(&table.zone());
        Self {
            job: &job.name,
            timezone: table.zone().name(),
            local: local.to_rfc3339_opts(SecondsFormat::Secs, false),
            utc: utc(slot.starts),
            scheduled: utc(slot.scheduled),
            shown: local.format("%a %Y-%m-%d %H:%M:%S %z").to_string(),
        }
    }

    fn row(&self) -> Vec<String> {
        // The column already says that it is UTC.
        let utc = self.utc.trim_end_matches('Z').replace('T', " ");
        vec![self.job.to_owned(), self.shown.clone(), self.timezone.to_owned(), utc]
    }
}

async fn serve_metrics(
    addr: SocketAddr,
    metrics: &Arc<Metrics>,
    page: &Arc<NightsPage>,
) -> Result<MetricsServer> {
    let server = MetricsServer::with_page(addr, metrics.clone(), page.clone()).await;
    let server = server.map_err(|source| Error::Output {
        path: addr.to_string().into(),
        why: "cannot start the metrics server".to_owned(),
        hint: Some(match source.kind() {
            io::ErrorKind::Unsupported => "set the system clock",
            _ => "choose another --metrics address, or port 0 for any free one",
        }),
        source: Some(source.into()),
    })?;
    let addr = server.addr();
    let (page, metrics) = (format!("http://{addr}/"), format!("http://{addr}/metrics"));
    tracing::info!(%metrics, %page, "serving metrics");
    if !addr.ip().is_loopback() {
        tracing::warn!(%addr, "metrics can be read from other machines");
    }
    Ok(server)
}
