//! `schedule`: the configuration file's jobs at their times, until a signal ends it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use overmind_export::{
    Error, Job, Result, RunOptions, Stop,
    chrono::{DateTime, SecondsFormat, TimeDelta, Utc},
    schedule::{Entry, Metrics, MetricsServer, Planned, Scheduler, Slot, Snapshots, Timetable},
};
use serde::Serialize;
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};

use super::{
    global::Global,
    parse,
    signals::{Signal, Signals},
    storage::Storage,
    table::Text,
};

/// What runs has this long to end after a signal; the process is gone within ten seconds.
const GRACE: Duration = Duration::from_secs(8);
const START_AGAIN: &str =
    "start it again: it continues what was interrupted and makes up for what was missed";
/// More runs than anyone reads, and few enough to be there at once.
const LISTED: u64 = 1000;

/// Run the configured jobs at their times, in the foreground, until stopped
#[derive(Debug, Args)]
#[command(after_help = "\
SIGHUP reads the configuration file again; a wrong one is reported and the old one stays.
SIGTERM and SIGINT stop it within ten seconds; what they interrupt is continued by the next run.

Examples:
  overmind-export schedule --list 5
  overmind-export schedule --metrics 127.0.0.1:9464")]
pub(super) struct Schedule {
    /// Only these jobs [default: all that have a schedule]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Print the next runs of each job and end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=LISTED))]
    list: Option<u64>,
    /// List them as JSON, one object a line
    #[arg(long, requires = "list")]
    json: bool,
    /// Jobs side by side; they share the requests in flight
    #[arg(long = "jobs", value_name = "N", default_value_t = 4, value_parser = parse::positive)]
    side_by_side: usize,
    /// Serve Prometheus metrics at /metrics, and /healthz, on this address; a port alone is one of this
    /// machine only
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    storage: Storage,
}

impl Schedule {
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
        let runner = Arc::new(Snapshots::new(options, metrics.clone()));
        // Before anything else: none of them may find a process that does not listen yet.
        let mut signals = Signals::new()?;
        let stop = Stop::default();

        let load = || self.load(global, &metrics);
        let entries = load()?;
        let server = match self.metrics {
            Some(addr) => Some(serve_metrics(addr, &metrics).await?),
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
        let mut ended_by = None;
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                _ = &mut running => break,
            };
            match signal {
                Signal::Reload => {
                    let entries = load();
                    metrics.reloaded(entries.is_ok());
                    match entries {
                        Ok(entries) => {
                            tracing::info!("the configuration file was read again");
                            // When it is stopping already, it takes no more.
                            drop(sender.send(entries));
                        }
                        Err(error) => tracing::error!(
                            error = %error.one_line(),
                            "the configuration file is wrong: going on with the old one"
                        ),
                    }
                }
                // Whoever asks twice means now.
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

    /// Reads the configuration file: its jobs, and a client with what it says and the key as it is now.
    fn load(&self, global: &Global, metrics: &Metrics) -> Result<Vec<Entry<Arc<Planned>>>> {
        let config = global.required_config()?;
        let client = global.client_of(Some(&config))?;
        let storage = self.storage.options_with(global, Some(&config))?;
        let entries = Planned::of(&config, &self.jobs, &client, &storage)?;
        metrics.follow(&client);
        Ok(entries)
    }

    fn list(self, global: &Global, count: usize) -> Result<()> {
        let jobs = global.required_config()?.jobs_named(&self.jobs)?;
        let now = Utc::now();
        if self.json {
            let runs = jobs.iter().flat_map(|job| Upcoming::of(job, now, count));
            return runs.into_iter().try_for_each(|run| super::print_json(&run));
        }
        let rows = jobs.iter().flat_map(|job| {
            let mut rows: Vec<_> =
                Upcoming::of(job, now, count).iter().map(Upcoming::row).collect();
            if rows.is_empty() {
                let text = |text: &str| Text::Whole(text.to_owned());
                rows.push(vec![text(&job.name), text("no schedule"), text("-"), text("-")]);
            }
            rows
        });
        super::print(&super::table::render(&["job", "local time", "time zone", "utc"], rows))
    }
}

/// A run that is to come.
#[derive(Debug, Serialize)]
struct Upcoming<'a> {
    job: &'a str,
    timezone: &'static str,
    /// When it starts, jitter included, on the clock of the time zone and in UTC.
    local: String,
    utc: String,
    /// The time that the schedule names, in UTC.
    scheduled: String,
    #[serde(skip)]
    shown: String,
}

impl<'a> Upcoming<'a> {
    fn of(job: &'a Job, now: DateTime<Utc>, count: usize) -> Vec<Self> {
        let Some(table) = Timetable::of(job) else { return Vec::new() };
        // A run that is scheduled already and only waits for its jitter is still to come.
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

    fn row(&self) -> Vec<Text> {
        [self.job, &self.shown, self.timezone, &self.utc]
            .map(|it| Text::Whole(it.to_owned()))
            .into()
    }
}

async fn serve_metrics(addr: SocketAddr, metrics: &Arc<Metrics>) -> Result<MetricsServer> {
    let server = MetricsServer::start(addr, metrics.clone()).await;
    let server = server.map_err(|source| Error::Output {
        path: addr.to_string().into(),
        why: "cannot listen there".to_owned(),
        hint: Some("choose another --metrics address, or port 0 for any free one"),
        source: Some(source.into()),
    })?;
    let addr = server.addr();
    tracing::info!(metrics = %format!("http://{addr}/metrics"), "serving metrics");
    if !addr.ip().is_loopback() {
        tracing::warn!(%addr, "metrics can be read from other machines");
    }
    Ok(server)
}
