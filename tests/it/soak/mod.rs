//! A week of nights of `schedule`: two processes with 20 jobs, a clock that the test sets, and from a seed faults of
//! the API and of a store, changing datasets, kills, a full disk, and edits of the configuration. After each night
//! everything that exists is compared with what must exist.
//!
//! ```sh
//! cargo test --test it soak:: -- --ignored --nocapture
//! SOAK_SEED=7 SOAK_NIGHTS=3 SOAK_JOBS=8 cargo test --test it soak:: -- --ignored --nocapture
//! ```
//!
//! The seed decides what happens and in which group of runs. It does not decide how the threads of two processes take
//! turns, so a failure that depends on that may need several attempts.
//!
//! The process `steady` runs all week: its memory and its open files must not grow. The process `killed` is killed
//! and started again.

mod clock;
mod data;
mod jobs;
mod model;
mod morning;
mod service;
mod weather;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use overmind_export::{
    Job,
    chrono::{DateTime, TimeDelta, Utc},
    demo::Options,
};

use self::{
    clock::DrivenClock,
    data::Data,
    jobs::{DATASETS, Place, Plan},
    model::JobModel,
    service::{Run, SOON, Service, Usage},
    weather::{SmallDisk, Weather},
};
use crate::{
    stores::server::Store,
    support::{self, KEY, Ran, World, poll},
};

const NAME: &str = "soak::week_of_nights_keeps_every_promise";
/// Set in the process that can mount a file system.
const INSIDE: &str = "SOAK_INSIDE";
/// Noons. In a night of each week, the clocks of Europe or America change: back, back, forward, forward.
const STARTS: [&str; 4] = [
    "2026-10-21T12:00:00Z",
    "2026-10-28T12:00:00Z",
    "2027-03-24T12:00:00Z",
    "2027-03-10T12:00:00Z",
];
/// How long before a scheduled time the clock is set. The schedule then waits for that time by itself.
const BEFORE: TimeDelta = TimeDelta::milliseconds(300);
/// Kills in one group of runs.
const MOST_KILLS: u32 = 2;

#[test]
#[ignore = "takes up to ten minutes: `.ci/run --all` runs it"]
fn week_of_nights_keeps_every_promise() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    let nights = number("SOAK_NIGHTS").unwrap_or(7);
    let jobs = number("SOAK_JOBS").unwrap_or(20) as usize;
    if env::var_os(INSIDE).is_some() {
        return Week::new(seed, jobs, true).run(nights);
    }
    println!("soak: SOAK_SEED={seed} SOAK_NIGHTS={nights} SOAK_JOBS={jobs}");
    let inside = ["-rm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /tmp && exit 7"];
    if Command::new("unshare").args(inside).output().is_ok_and(|ran| ran.status.code() == Some(7)) {
        let mut command = Command::new("unshare");
        command.arg("-rm").arg(env::current_exe().unwrap());
        command.args(["--exact", NAME, "--ignored", "--nocapture"]).env(INSIDE, "1");
        let status = command.env("SOAK_SEED", seed.to_string()).status().unwrap();
        assert!(status.success(), "soak: repeat it with SOAK_SEED={seed}");
    } else {
        println!("SKIPPED: the full disk, because nothing can be mounted here (unshare -rm)");
        Week::new(seed, jobs, false).run(nights);
    }
}

struct Week {
    seed: u64,
    /// For one group of runs. What happens in a group does not depend on the timing of the groups before.
    random: Rng,
    /// For kills, which depend on timing.
    chance: Rng,
    groups: u64,
    night: u64,
    /// Noon before the night.
    begin: DateTime<Utc>,
    /// Noon after it.
    end: DateTime<Utc>,
    is_last: bool,
    clock: DrivenClock,
    data: Data,
    disk: Option<SmallDisk>,
    steady: Process,
    killed: Process,
    usage: Vec<Usage>,
    /// What happened in the night, for people.
    told: Vec<String>,
    kills: u32,
    store: Store,
    world: World,
}

/// A process, its configuration, and what is known about its jobs.
struct Process {
    service: Service,
    plan: Plan,
    /// The jobs of each configuration that the file had.
    generations: Vec<Vec<Job>>,
    /// Jobs that an edit of this night has changed.
    edited: BTreeSet<&'static str>,
    models: BTreeMap<String, JobModel>,
}

impl Process {
    fn new(plan: Plan, folder: &Path) -> Self {
        let mut process = Self {
            service: Service::new(plan.name, folder),
            plan,
            generations: Vec::new(),
            edited: BTreeSet::new(),
            models: BTreeMap::new(),
        };
        process.write(folder);
        process
    }

    /// Writes the configuration file.
    fn write(&mut self, folder: &Path) {
        self.plan.write(folder);
        self.service.written = self.generations.len();
        self.generations.push(self.plan.parsed(folder));
    }

    /// The jobs that the file has now.
    fn jobs(&self) -> &[Job] {
        self.generations.last().unwrap()
    }
}

impl Week {
    fn new(seed: u64, jobs: usize, can_mount: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let options = Options { api_key: Some(KEY.to_owned()), ..Options::default() };
        let world = World::generated(options, 1);
        let folder = world.folder.path();
        for name in ["small", "roomy"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        fs::write(folder.join("key"), format!("{KEY}\n")).unwrap();
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.join("told"), "#!/bin/sh\nexec cat >> told.jsonl\n").unwrap();
        fs::set_permissions(folder.join("told"), fs::Permissions::from_mode(0o755)).unwrap();
        let begin = STARTS[random.usize(0..STARTS.len())].parse().unwrap();
        let clock = DrivenClock::new(folder, begin);
        let data = Data::new(DATASETS, &mut random, begin);
        data.serve(&world.server);
        let store = Store::start();
        let [steady, killed] = Plan::both(jobs, &store);
        println!(
            "soak: seed {seed}, {} jobs in a process that runs all week, {} in one that is killed, from {begin}",
            steady.len(),
            killed.len()
        );
        let [steady, killed] = [steady, killed].map(|plan| Process::new(plan, folder));
        let disk = can_mount.then(|| SmallDisk::mount(folder));
        Self {
            seed,
            random,
            chance: Rng::with_seed(!seed),
            groups: 0,
            night: 0,
            begin,
            end: begin,
            is_last: false,
            clock,
            data,
            disk,
            steady,
            killed,
            usage: Vec::new(),
            told: Vec::new(),
            kills: 0,
            store,
            world,
        }
    }

    fn folder(&self) -> PathBuf {
        self.world.folder.path().to_owned()
    }

    fn run(mut self, nights: u64) {
        let url = self.world.server.url();
        self.steady.service.start(&url, &self.clock, None);
        self.start_killed();
        for night in 1..=nights {
            let begun = Instant::now();
            (self.night, self.is_last) = (night, night == nights);
            (self.begin, self.end) = (self.end, self.end + TimeDelta::days(1));
            for process in [&mut self.steady, &mut self.killed] {
                process.edited.clear();
            }
            if self.is_last {
                // No kill is due any more.
                self.killed.service.kill();
                self.start_killed();
            }
            loop {
                let next = self.next_due();
                if next > self.end {
                    break;
                }
                self.group(next);
            }
            self.clock.forward_to(self.end);
            self.morning();
            println!("  {} s", begun.elapsed().as_secs());
        }
        for process in [&mut self.steady, &mut self.killed] {
            assert_eq!(process.service.stop(), Some(143));
        }
        self.check_secrets();
    }

    fn start_killed(&mut self) {
        // A run syncs about 20 files.
        let is_armed = !self.is_last && self.kills < MOST_KILLS;
        let kill = is_armed.then(|| self.chance.u32(1..80));
        self.killed.service.start(&self.world.server.url(), &self.clock, kill);
    }

    /// Waits until no job runs or is due, and returns the time at which the next one is due.
    fn next_due(&mut self) -> DateTime<Utc> {
        let look = || {
            let now = self.clock.now();
            self.revive();
            let steady = self.steady.service.idle_until(now);
            let killed = self.killed.service.idle_until(now);
            Some(steady?.min(killed?))
        };
        poll(SOON, look, || "a job does not end, or does not begin".to_owned())
    }

    /// Starts the process that is killed again, if it has ended.
    fn revive(&mut self) {
        assert!(self.steady.service.is_alive(), "the process has ended");
        if !self.killed.service.is_alive() {
            self.killed.service.kill();
            self.kills += 1;
            self.told.push("killed".to_owned());
            self.start_killed();
        }
    }

    /// Lets the jobs run that are due at this time, and everything happen that the seed chooses.
    fn group(&mut self, due: DateTime<Utc>) {
        let folder = self.folder();
        self.groups += 1;
        self.random = Rng::with_seed(self.seed ^ (self.groups << 32));
        let weather = match self.is_last {
            true => Weather::Calm,
            false => Weather::random(&mut self.random, self.disk.is_some()),
        };
        self.told.push(format!("{weather:?}"));
        self.kills = 0;
        for process in [&mut self.steady, &mut self.killed] {
            process.service.weather = weather;
        }
        weather.begin(&self.world.server, &self.store, &mut self.random);
        let spare = if self.random.bool() { 0 } else { self.random.u64(0..40_000) };
        if let (Weather::FullDisk, Some(disk), true) = (weather, &self.disk, self.random.bool()) {
            disk.fill(spare);
        }
        let requests = self.requests();
        let mut later = |one_in: u32| {
            let happens = !self.is_last && self.random.u32(0..one_in) == 0;
            happens.then(|| requests + self.random.u64(1..50))
        };
        let (mut kill, mut edit) = (later(2), later(8));
        let mut fill = later(1).filter(|_| weather == Weather::FullDisk);
        let mut change = later(1).filter(|_| weather == Weather::Shifting);
        if !self.is_last && self.random.u32(0..5) == 0 {
            self.edit();
        }
        let is_broken = !self.is_last && self.random.u32(0..30) == 0;
        if is_broken {
            let (text, why) = self.steady.plan.broken(&mut self.random);
            fs::write(folder.join(self.steady.plan.file()), text).unwrap();
            self.told.push(format!("broken file: {why}"));
        }
        self.clock.forward_to(due - BEFORE);
        self.data.change(&mut self.random, 4, self.clock.now());
        self.data.serve(&self.world.server);
        let used = self.steady.service.reload();
        assert_eq!(used, Some(!is_broken), "the answer to SIGHUP");
        if self.killed.service.is_alive() {
            // A process that has ended starts with the new time.
            assert_ne!(self.killed.service.reload(), Some(false));
        }
        let begun = Instant::now();
        while !self.is_over(due) {
            assert!(begun.elapsed() < SOON, "the jobs of {due} do not end");
            let seen = self.requests();
            let is_time = |at: &mut Option<u64>| at.take_if(|at| *at <= seen).is_some();
            if is_time(&mut kill) && self.kills < MOST_KILLS {
                match self.chance.bool() {
                    true => self.killed.service.kill(),
                    // A sync may have killed it before the signal.
                    false => assert!(matches!(self.killed.service.stop(), Some(143) | None)),
                }
            }
            if is_time(&mut edit) && !is_broken {
                self.edit();
                assert_eq!(self.steady.service.reload(), Some(true));
                assert_ne!(self.killed.service.reload(), Some(false));
            }
            if is_time(&mut fill)
                && let Some(disk) = &self.disk
            {
                disk.fill(spare);
            }
            if is_time(&mut change) {
                self.data.change(&mut self.random, 2, self.clock.now());
                self.data.serve(&self.world.server);
                change = Some(seen + self.random.u64(5..40));
            }
            self.world.server.wait_until(Duration::from_millis(10), |now| now.requests != seen);
        }
        // The command cannot read a broken file either.
        if weather == Weather::FullDisk && !is_broken {
            self.prune();
        }
        Weather::end(&self.world.server, &self.store);
        if let Some(disk) = &self.disk {
            disk.free();
        }
        for process in [&mut self.steady, &mut self.killed] {
            // A sync may still kill the process. The runs of its next start have no faults.
            process.service.read();
            process.service.weather = Weather::Calm;
        }
        if is_broken {
            let metrics = self.steady.service.metrics().unwrap();
            assert_eq!(metrics["reload_successful"], 0.0);
            self.steady.plan.write(&folder);
            assert_eq!(self.steady.service.reload(), Some(true));
            assert_eq!(self.steady.service.metrics().unwrap()["reload_successful"], 1.0);
        }
    }

    /// Whether the jobs that were due at this time have ended.
    fn is_over(&mut self, due: DateTime<Utc>) -> bool {
        self.revive();
        let now = self.clock.now();
        let services = [&mut self.steady.service, &mut self.killed.service];
        now > due && services.into_iter().all(|service| service.idle_until(now).is_some())
    }

    /// Number of requests that the API has received.
    fn requests(&self) -> u64 {
        let requests = Cell::new(0);
        self.world.server.wait_until(Duration::ZERO, |stats| {
            requests.set(stats.requests);
            true
        });
        requests.get()
    }

    /// Edits one of the configuration files. It is used from the next SIGHUP on.
    fn edit(&mut self) {
        let folder = self.folder();
        let process = if self.random.bool() { &mut self.steady } else { &mut self.killed };
        let (what, job) = process.plan.edit(&mut self.random);
        process.edited.insert(job);
        process.write(&folder);
        self.told.push(format!("edit {what}"));
    }

    /// Prunes the jobs of the full disk by hand. It needs no space.
    fn prune(&mut self) {
        let started = self.clock.now();
        let commands = [&self.steady, &self.killed].map(|process| {
            let names = process.jobs().iter().map(|job| job.name.clone());
            let names = names.filter(|name| process.plan.place(name) == Place::Small);
            (process.plan.file(), names.collect::<Vec<_>>())
        });
        for (file, names) in commands.iter().filter(|(_, names)| !names.is_empty()) {
            let arguments = ["prune", "--config", file].into_iter();
            let arguments: Vec<&str> = arguments.chain(names.iter().map(String::as_str)).collect();
            self.command(&arguments).ok();
        }
        let processes = [&mut self.steady, &mut self.killed];
        for (process, (_, names)) in processes.into_iter().zip(commands) {
            let generation = process.service.written;
            process.service.runs.extend(names.into_iter().map(|job| Run {
                job,
                scheduled: None,
                started,
                generation,
                weather: Weather::FullDisk,
                end: Some(("pruned".to_owned(), 0)),
                is_stopped: false,
                start: 0,
            }));
        }
    }

    /// Runs the command with the clock and the store of the week.
    fn command(&self, arguments: &[&str]) -> Ran {
        let mut command = support::command(self.world.folder.path());
        self.clock.drive(&mut command);
        self.store.environment(&mut command);
        Ran::of(command.args(arguments))
    }
}

impl Drop for Week {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let Self { seed, night, told, .. } = self;
        println!("soak: failed with seed {seed} in night {night}: {told:?}");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{seed}"));
        drop(fs::create_dir_all(&kept));
        for service in [&self.steady.service, &self.killed.service] {
            let (name, starts) = (service.name, service.starts);
            println!("--- the end of the log of {name} (start {starts}):\n{}", service.tail(40));
            for start in 1..=starts {
                let log = service.log_path(start);
                drop(fs::copy(&log, kept.join(log.file_name().unwrap_or_default())));
            }
        }
        println!("--- all logs are in {}", kept.display());
    }
}
