//! The checks of a morning: the command's own words about the night, and the processes themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use overmind_export::{
    Job, JobResult, Status,
    chrono::{DateTime, TimeDelta, Utc},
    schedule::Timetable,
};
use serde_json::Value;

use super::{
    Process, Week,
    jobs::Place,
    model::{Folders, JobModel, Morning},
    service::{SOON, Usage},
    weather::Weather,
};
use crate::{
    stores::server::SECRET,
    support::{KEY, wait_until},
};

/// By how much the process may grow after the second night.
const MOST: Usage = Usage { resident_kib: 16 << 10, peak_kib: 32 << 10, files: 8, threads: 8 };

impl Week {
    pub(super) fn morning(&mut self) {
        let mut models =
            [&mut self.steady, &mut self.killed].map(|it| std::mem::take(&mut it.models));
        let (mut stored, mut ended) = (0, BTreeMap::<String, u32>::new());
        for (process, models) in [&self.steady, &self.killed].into_iter().zip(&mut models) {
            let oddities = &process.service.oddities;
            assert!(oddities.is_empty(), "{}: {oddities:#?}", process.service.name);
            let names: BTreeSet<&str> =
                process.generations.iter().flatten().map(|job| job.name.as_str()).collect();
            let mut snapshots = Vec::new();
            for name in names {
                let morning = self.job(process, name);
                let model = models.entry(name.to_owned()).or_default();
                for run in morning.runs_of_night(model) {
                    let end =
                        run.end.as_ref().map_or("killed".to_owned(), |(end, code)| match code {
                            0 => end.clone(),
                            code => format!("exit {code}"),
                        });
                    *ended.entry(end).or_default() += 1;
                }
                self.check_times(process, &morning, model);
                let paths = morning.check(model);
                if model.is_clean {
                    check_latest_json(&morning, &paths);
                }
                let root = match morning.place {
                    Place::Store => format!("s3://bucket/{}/{name}", process.plan.name),
                    _ => morning.folders.data.display().to_string(),
                };
                let paths: Vec<String> =
                    paths.iter().map(|path| format!("{root}/{path}")).collect();
                if process.jobs().iter().any(|job| job.name == name) {
                    self.check_latest(process, name, &paths);
                }
                snapshots.extend(paths);
            }
            if !snapshots.is_empty() {
                let arguments =
                    ["verify", "-q"].into_iter().chain(snapshots.iter().map(String::as_str));
                let ran = self.command(&arguments.collect::<Vec<_>>());
                assert_eq!(ran.code, Some(0), "{}: {ran:?}", self.what());
            }
            stored += snapshots.len();
            self.check_history_and_health(process);
        }
        let [steady, killed] = models;
        (self.steady.models, self.killed.models) = (steady, killed);
        self.check_told();
        self.check_secrets();
        let usage = self.check_usage();
        let told = std::mem::take(&mut self.told).join(", ");
        println!(
            "night {}, {}: {stored} snapshots; runs {ended:?}; {} MiB, peak {} MiB, {} files, {} threads\n  {told}",
            self.night,
            self.end.date_naive(),
            usage.resident_kib >> 10,
            usage.peak_kib >> 10,
            usage.files,
            usage.threads
        );
    }

    fn what(&self) -> String {
        format!("seed {}, night {}", self.seed, self.night)
    }

    fn job<'a>(&'a self, process: &'a Process, name: &'a str) -> Morning<'a> {
        let place = process.plan.place(name);
        let (root, folder) = (process.plan.name, self.world.folder.path());
        let root = match place {
            Place::Roomy => folder.join("roomy").join(root),
            Place::Small => folder.join("small").join(root),
            Place::Store => self.store.path(root),
        };
        Morning {
            what: format!("{}, job {name}", self.what()),
            generations: &process.generations,
            name,
            place,
            folders: Folders { data: root.join(name), hidden: root.join(".overmind").join(name) },
            runs: &process.service.runs,
            data: &self.data,
        }
    }

    /// Checks that the job has run at each of its times.
    fn check_times(&self, process: &Process, morning: &Morning<'_>, model: &JobModel) {
        let Some(job) = process.jobs().iter().find(|job| job.name == morning.name) else { return };
        if process.edited.contains(morning.name) {
            return;
        }
        let what = &morning.what;
        let slots = Timetable::of(job).unwrap();
        let due: Vec<DateTime<Utc>> = slots
            .after(self.begin - TimeDelta::hours(1))
            .filter(|slot| slot.starts > self.begin)
            .take_while(|slot| slot.starts <= self.end)
            .map(|slot| slot.scheduled)
            .collect();
        let runs = morning.runs_of_night(model);
        let started: Vec<DateTime<Utc>> = runs.iter().filter_map(|run| run.scheduled).collect();
        if process.plan.name == "steady" {
            assert_eq!(started, due, "{what}: the runs are not at the times of the schedule");
            return;
        }
        // After a kill, a run is repeated, unless the job has no history yet, or its store refused to show it.
        let lost = |weather| morning.place == Place::Store && weather == Weather::StoreRefuses;
        if model.has_lines() && !runs.iter().any(|run| lost(run.weather)) {
            let (last, expected) = (started.last(), due.last());
            assert_eq!(last, expected, "{what}: the last run was not made up for");
        }
        // A process that starts also makes up for times of a schedule that is newer than the job's last run.
        let is_slot = |time: &DateTime<Utc>| {
            slots
                .next_after(*time - TimeDelta::seconds(1))
                .is_some_and(|slot| slot.scheduled == *time)
        };
        assert!(started.iter().all(is_slot), "{what}: {started:?}, due were {due:?}");
    }

    /// Compares `latest` with the existing snapshots, which are paths or URLs.
    fn check_latest(&self, process: &Process, name: &str, paths: &[String]) {
        let mut newest = BTreeMap::new();
        for path in paths {
            let (series, _) = path.rsplit_once('/').unwrap();
            newest.insert(series, path.as_str());
        }
        let ran = self.command(&["latest", name, "--config", &process.plan.file()]);
        let told: BTreeSet<&str> = ran.stdout.lines().collect();
        let expected: BTreeSet<&str> = newest.into_values().collect();
        assert_eq!(told, expected, "{}, job {name}: latest: {ran:?}", self.what());
    }

    /// Compares `history` and `snapshots --check` with the histories.
    fn check_history_and_health(&self, process: &Process) {
        let file = process.plan.file();
        let ran = self.command(&["history", "--json", "--config", &file]).ok();
        let parsed = |line: &str| serde_json::from_str::<JobResult>(line).unwrap();
        let mut told: BTreeMap<String, Vec<JobResult>> = BTreeMap::new();
        for run in ran.stdout.lines().map(parsed) {
            told.entry(run.job.clone()).or_default().push(run);
        }
        let ran = self.command(&["snapshots", "--check", "--json", "--config", &file]);
        let health: Vec<Value> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(health.len(), process.jobs().len(), "{}: {ran:?}", self.what());
        let mut is_bad = false;
        for (job, health) in process.jobs().iter().zip(&health) {
            let history = self.job(process, &job.name).history();
            let what = format!("{}, job {}", self.what(), job.name);
            assert_eq!(told.remove(&job.name).unwrap_or_default(), history, "{what}: history");
            let (failed, stale) = self.health(job, &history);
            let expected = [("failed", failed), ("stale", stale)];
            for (field, expected) in expected {
                assert_eq!(health[field], expected, "{what}: {field}: {health}\n{history:#?}");
            }
            let last = |has_failed: bool| {
                let is_it = |run: &&JobResult| {
                    !run.was_interrupted() && (run.status == Status::Failed) == has_failed
                };
                history.iter().rfind(is_it).map(|run| Value::from(run.finished_at.clone()))
            };
            let (success, failure) = (last(false), last(true));
            assert_eq!(health["last_success"], success.unwrap_or_default(), "{what}: {health}");
            let told = &health["last_failure"]["finished_at"];
            assert_eq!(*told, failure.unwrap_or_default(), "{what}: {health}");
            is_bad |= failed || stale;
        }
        assert_eq!(ran.code, Some(is_bad.into()), "{}: {ran:?}", self.what());
        assert!(told.is_empty(), "{}: {told:?}", self.what());
        self.command(&["snapshots", "--config", &file]).ok();
    }

    /// Whether the last run of a job failed, and whether two runs should have ended since its last success.
    fn health(&self, job: &Job, history: &[JobResult]) -> (bool, bool) {
        let last = history.iter().rfind(|run| !run.was_interrupted());
        let failed = last.is_some_and(|run| run.status == Status::Failed);
        let Some(success) = history.iter().rfind(|run| run.status != Status::Failed) else {
            return (failed, true);
        };
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (begin, end) = (time(&success.started_at), time(&success.finished_at));
        let second = Timetable::of(job).unwrap().after(begin).nth(1).unwrap();
        (failed, second.starts + (end - begin) < self.end)
    }

    /// Checks that `on_result` was told every run of the process that runs all week.
    fn check_told(&self) {
        let of_run = self
            .steady
            .service
            .runs
            .iter()
            .filter(|run| run.start > 0)
            .map(|run| (run.job.clone(), run.end.as_ref().unwrap().1));
        let mut ended: Vec<(String, u8)> = of_run.collect();
        ended.sort();
        let told = || {
            let text = fs::read_to_string(self.world.path("told.jsonl")).unwrap_or_default();
            let runs = text.lines().filter_map(|line| serde_json::from_str::<JobResult>(line).ok());
            let steady: BTreeSet<&str> =
                self.steady.generations.iter().flatten().map(|job| job.name.as_str()).collect();
            let mut runs: Vec<(String, u8)> = runs
                .filter(|run| steady.contains(run.job.as_str()))
                .map(|run| (run.job, run.exit_code))
                .collect();
            runs.sort();
            runs
        };
        wait_until(|| told() == ended);
    }

    /// Checks that no log and no file but the key, the configuration and the data has a secret in it.
    pub(super) fn check_secrets(&self) {
        let mut files = Vec::new();
        collect(self.world.folder.path(), &mut files);
        collect(&self.store.path(""), &mut files);
        for path in files {
            let name = path.rsplit('/').next().unwrap();
            if name == "key" || name.ends_with(".toml") || name.starts_with("part-") {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                !text.contains(KEY) && !text.contains(SECRET),
                "{}: a secret is in {path}",
                self.what()
            );
        }
    }

    /// Checks that the process has not grown since the second night. Idle connections are closed after some time.
    fn check_usage(&mut self) -> Usage {
        let metrics = self.steady.service.metrics().unwrap();
        assert_eq!(metrics["requests_in_flight"], 0.0, "{}", self.what());
        let mut usage = self.steady.service.usage();
        if let [first, second, ..] = self.usage[..] {
            let most = Usage {
                resident_kib: first.resident_kib.max(second.resident_kib) + MOST.resident_kib,
                peak_kib: second.peak_kib + MOST.peak_kib,
                files: first.files.max(second.files) + MOST.files,
                threads: first.threads.max(second.threads) + MOST.threads,
            };
            let begun = Instant::now();
            while usage.files > most.files && begun.elapsed() < SOON {
                thread::sleep(Duration::from_millis(100));
                usage = self.steady.service.usage();
            }
            let is_within = usage.resident_kib <= most.resident_kib
                && usage.peak_kib <= most.peak_kib
                && usage.files <= most.files
                && usage.threads <= most.threads;
            let files = self.steady.service.open_files();
            assert!(
                is_within,
                "{}: {usage:?}, in the first nights {first:?}, {second:?}; open files: {files:#?}",
                self.what()
            );
        }
        self.usage.push(usage);
        usage
    }
}

/// Checks that `latest.json` names the newest snapshot.
fn check_latest_json(morning: &Morning<'_>, paths: &[String]) {
    let mut newest = BTreeMap::new();
    for path in paths {
        let series = path.rsplit_once('/').map_or("", |(series, _)| series);
        newest.insert(series, path);
    }
    for (series, path) in newest {
        let file = morning.folders.hidden.join(series).join("latest.json");
        let latest: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!(latest["path"], format!("{}/{path}", morning.name), "{}", morning.what);
    }
}

fn collect(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            collect(&path, found);
        } else {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
}
