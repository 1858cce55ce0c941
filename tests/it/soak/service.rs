//! A `schedule` process of the soak: its log, its metrics, what the system says about it, and its ends.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use overmind_export::chrono::{DateTime, Utc};
use serde_json::Value;

use super::{clock::DrivenClock, weather::Weather};
use crate::support::{self, poll};

/// Limit of every wait. The longest one that a run needs is a step of the schedule, 30 s.
pub(super) const SOON: Duration = Duration::from_secs(150);
/// Messages of the log at the end of a run.
const ENDS: [&str; 4] = ["stored", "unchanged", "failed", "interrupted: the next run resumes it"];

/// The exit code of a run that SIGTERM interrupted.
pub(super) const INTERRUPTED: u8 = 143;

/// A run, as the log tells it, or a `prune` by hand.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) job: String,
    pub(super) scheduled: Option<DateTime<Utc>>,
    pub(super) started: DateTime<Utc>,
    /// The configuration with which it began.
    pub(super) generation: usize,
    pub(super) weather: Weather,
    /// Message and exit code. `None` while it runs, and if it was killed.
    pub(super) end: Option<(String, u8)>,
    /// Whether SIGTERM came before its end. Then it may have ended its retention early.
    pub(super) is_stopped: bool,
    /// Which start of the process it belongs to, from 1; 0 is a `prune` by hand.
    pub(super) start: usize,
}

/// What the system says about a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) resident_kib: u64,
    pub(super) peak_kib: u64,
    pub(super) files: u64,
    pub(super) threads: u64,
}

pub(super) struct Service {
    pub(super) name: &'static str,
    folder: PathBuf,
    child: Option<Child>,
    /// Number of starts.
    pub(super) starts: usize,
    offset: u64,
    address: Option<String>,
    /// The configuration that the file has, and the one that is in use.
    pub(super) written: usize,
    generation: usize,
    pub(super) weather: Weather,
    pub(super) runs: Vec<Run>,
    /// Number of times that the configuration was read again, or could not be used.
    pub(super) reloads: usize,
    pub(super) refusals: usize,
    /// Lines that are no JSON, and errors that are not about a run.
    pub(super) oddities: Vec<String>,
}

impl Service {
    pub(super) fn new(name: &'static str, folder: &Path) -> Self {
        Self {
            name,
            folder: folder.to_owned(),
            child: None,
            starts: 0,
            offset: 0,
            address: None,
            written: 0,
            generation: 0,
            weather: Weather::Calm,
            runs: Vec::new(),
            reloads: 0,
            refusals: 0,
            oddities: Vec::new(),
        }
    }

    /// Starts the process. `kill` is the number of synced files after which it kills itself.
    pub(super) fn start(&mut self, url: &str, clock: &DrivenClock, kill: Option<u32>) {
        self.starts += 1;
        (self.offset, self.address, self.generation) = (0, None, self.written);
        let mut command = support::command(&self.folder);
        clock.drive(&mut command);
        if let Some(kill) = kill {
            command.env("FAULT_KILL", kill.to_string());
        }
        command
            .env("OVERMIND_LAB_BASE_URL", url)
            // Otherwise the GNU allocator keeps what was freed for each thread, which looks like growth.
            .env("MALLOC_ARENA_MAX", "1")
            .args(["schedule", "--config", &format!("{}.toml", self.name)])
            .args(["--metrics", "127.0.0.1:0", "--log-format", "json"])
            .stdout(Stdio::null())
            .stderr(File::create(self.log_path(self.starts)).unwrap());
        self.child = Some(command.spawn().unwrap());
    }

    pub(super) fn log_path(&self, start: usize) -> PathBuf {
        self.folder.join(format!("{}-{start}.log", self.name))
    }

    /// The last lines of the newest log.
    pub(super) fn tail(&self, lines: usize) -> String {
        let text = fs::read(self.log_path(self.starts)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Reads the new lines of the log.
    pub(super) fn read(&mut self) {
        let mut file = File::open(self.log_path(self.starts)).unwrap();
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.offset += whole as u64;
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            match serde_json::from_str::<Value>(line) {
                Ok(event) => self.take(&event),
                Err(_) => self.oddities.push(line.to_owned()),
            }
        }
    }

    fn take(&mut self, event: &Value) {
        let fields = &event["fields"];
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        let time = |text: &str| text.parse::<DateTime<Utc>>().ok();
        let (message, job) = (text("message"), text("job"));
        if message == "serving metrics" {
            let url = text("metrics");
            self.address =
                url.strip_prefix("http://").and_then(|it| it.split('/').next()).map(str::to_owned);
        } else if message == "run starts" {
            self.runs.push(Run {
                job,
                scheduled: time(&text("scheduled")),
                started: time(event["timestamp"].as_str().unwrap()).unwrap(),
                generation: self.generation,
                weather: self.weather,
                end: None,
                is_stopped: false,
                start: self.starts,
            });
        } else if ENDS.contains(&message.as_str()) && !job.is_empty() {
            let code = match message.starts_with("interrupted") {
                true => INTERRUPTED,
                false => fields["exit_code"].as_u64().unwrap_or_default() as u8,
            };
            let start = self.starts;
            let is_it = |run: &&mut Run| run.job == job && run.start == start && run.end.is_none();
            let run = self.runs.iter_mut().rev().find(is_it).expect("a run has ended twice");
            run.end = Some((message, code));
        } else if message == "the configuration file was read again" {
            self.reloads += 1;
            self.generation = self.written;
        } else if message.starts_with("cannot use the configuration file") {
            self.refusals += 1;
        } else if event["level"] == "ERROR" && !message.starts_with("interrupted by SIGTERM") {
            self.oddities.push(event.to_string());
        }
    }

    pub(super) fn is_alive(&mut self) -> bool {
        let Some(child) = &mut self.child else { return false };
        child.try_wait().unwrap().is_none()
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        self.read();
    }

    /// Stops the process with SIGTERM and returns its exit code. `None` if it was killed meanwhile.
    pub(super) fn stop(&mut self) -> Option<i32> {
        self.await_start()?;
        self.read();
        let has_ended: Vec<bool> = self.runs.iter().map(|run| run.end.is_some()).collect();
        self.signal("TERM");
        assert!(self.until("end after SIGTERM", |_| false).is_none());
        for (place, run) in self.runs.iter_mut().enumerate() {
            run.is_stopped |= run.start == self.starts && has_ended.get(place) != Some(&true);
        }
        self.child.take()?.wait().unwrap().code()
    }

    /// Sends a signal. Does nothing if the process has ended.
    fn signal(&mut self, signal: &str) {
        if !self.is_alive() {
            return;
        }
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap();
        assert!(sent.success() || !self.is_alive(), "{}: SIG{signal}", self.name);
    }

    /// Sends SIGHUP, and waits until the schedule has read its file, or could not use it. Returns whether it used
    /// it; `None` if the process has ended meanwhile.
    pub(super) fn reload(&mut self) -> Option<bool> {
        self.await_start()?;
        if !self.is_alive() {
            return None;
        }
        let before = (self.reloads, self.refusals);
        self.signal("HUP");
        self.until("answer to SIGHUP", |it| (it.reloads, it.refusals) != before)?;
        Some(self.reloads > before.0)
    }

    /// Waits until the process serves metrics: then it handles signals. `None` if it has ended.
    pub(super) fn await_start(&mut self) -> Option<()> {
        self.until("metrics", |it| it.address.is_some())
    }

    /// Waits for a state of the log. `None` if the process has ended.
    pub(super) fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> Option<()> {
        let name = self.name;
        let look = || {
            let is_alive = self.is_alive();
            self.read();
            match reached(self) {
                true => Some(Some(())),
                false if !is_alive => Some(None),
                false => None,
            }
        };
        poll(SOON, look, || format!("{name}: no {what}"))
    }

    /// The metrics: the value of each name with its labels. `None` if the process has ended.
    pub(super) fn metrics(&mut self) -> Option<BTreeMap<String, f64>> {
        self.await_start()?;
        let get = || -> std::io::Result<String> {
            let mut socket = TcpStream::connect(self.address.as_deref().unwrap())?;
            socket.set_read_timeout(Some(SOON))?;
            write!(socket, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = match get() {
            Ok(answer) if answer.ends_with("# EOF\n") => answer,
            answer => {
                // Only a process that is being killed gives no answer.
                let name = self.name;
                let look = || (!self.is_alive()).then_some(());
                poll(SOON, look, || format!("{name}: metrics: {answer:?}"));
                return None;
            }
        };
        let lines = answer.lines().filter(|line| line.starts_with("overmind_export_"));
        let value = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.trim_start_matches("overmind_export_").to_owned(), value.parse().ok()?))
        };
        Some(lines.filter_map(value).collect())
    }

    /// The next time at which a job is due; `None` if a run is active, or is due now, or if the process has ended.
    pub(super) fn idle_until(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let metrics = self.metrics()?;
        self.read();
        let start = self.starts;
        let is_active = self.runs.iter().any(|run| run.start == start && run.end.is_none());
        let of = |name: &str| -> Vec<f64> {
            metrics
                .iter()
                .filter(|(key, _)| key.starts_with(name))
                .map(|(_, value)| *value)
                .collect()
        };
        let next = of("next_run_timestamp_seconds").into_iter().reduce(f64::min)?;
        let next = DateTime::from_timestamp(next as i64, 0)?;
        let is_running = of("running{").iter().any(|running| *running > 0.0);
        (!is_active && !is_running && next > now).then_some(next)
    }

    fn process(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.as_ref().unwrap().id()))
    }

    /// What the process has open.
    pub(super) fn open_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.process().join("fd")).unwrap();
        // A file can be closed meanwhile.
        entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
    }

    pub(super) fn usage(&self) -> Usage {
        let process = self.process();
        let status = fs::read_to_string(process.join("status")).unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let count = |name: &str| fs::read_dir(process.join(name)).unwrap().count() as u64;
        Usage {
            resident_kib: kib("VmRSS:"),
            peak_kib: kib("VmHWM:"),
            files: count("fd"),
            threads: count("task"),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
