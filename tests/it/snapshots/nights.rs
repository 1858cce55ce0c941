//! Thirty nights of two jobs with a fake clock: changing data, outages, a kill, and the end of daylight
//! saving time in Europe and America. Each morning the test compares the snapshots with a model.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use overmind_export::{
    Config, Keep, Manifest, Stamp, Status,
    chrono::{DateTime, Datelike, Days, NaiveDate, Utc, Weekday},
    chrono_tz::Tz,
    demo::{Dataset, Fault, FaultAttempt, FaultPage, Faults, Options},
    schedule::Timetable,
    verify,
};
use serde_json::Value;

use super::{AGENT, Hands, Nightly, version_id};
use crate::support::{ID, Ran};

const NIGHTS: usize = 30;
const SOON: Duration = Duration::from_secs(30);
const JOBS: &str = r#"
[[job]]
name = "support"
agent = "0d3f0b52-7d5c-4c39-9a49-1f6a5d3a8f01"
page_size = 25
rows_per_file = 50
# 01:30 occurs twice in the night in which the clocks go back.
schedule = "30 1 * * *"
timezone = "Europe/London"
keep = { last = 3, daily = 5, weekly = 3, monthly = 2 }

[[job]]
name = "triage"
dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"
unchanged = "content"
schedule = "0 2 * * *"
timezone = "America/New_York"
keep = { last = 2, weekly = 4 }
"#;

/// The rows of a dataset: the number of each row, and how often it was changed.
type Rows = BTreeMap<u64, u32>;

fn dataset(rows: &Rows) -> Dataset {
    let row = |(number, revision): (&u64, &u32)| {
        format!(
            r#"{{"id":"00000000-0000-4000-8000-{number:012}","order":{number},"input":"question {number}","expected_output":{{"revision":{revision}}}}}"#
        )
    };
    Dataset::from_rows("support-chat", rows.iter().map(row).collect())
}

/// Changes, removes and adds some rows.
fn change(rows: &mut Rows, night: usize) {
    let night = night as u64;
    for number in (night..300).step_by(29) {
        if let Some(revision) = rows.get_mut(&number) {
            *revision += 1;
        }
    }
    rows.remove(&(night * 7));
    rows.extend((0..night % 4).map(|more| (1000 + 10 * night + more, 0)));
}

/// The expected counts of `diff`: added, removed, changed, unchanged.
fn difference(before: &Rows, after: &Rows) -> [u64; 4] {
    let added = after.keys().filter(|number| !before.contains_key(number)).count();
    let removed = before.keys().filter(|number| !after.contains_key(number)).count();
    let both = before.iter().filter_map(|(number, old)| Some((old, after.get(number)?)));
    let changed = both.clone().filter(|(old, new)| old != new).count();
    [added, removed, changed, both.count() - changed].map(|count| count as u64)
}

/// The expected snapshots after retention: for each count, the newest snapshot of each of the last
/// periods. The command walks from the newest snapshot to the oldest; this model from the oldest to the
/// newest.
pub(crate) fn retained(stamps: &BTreeSet<Stamp>, keep: Keep, zone: Tz) -> BTreeSet<Stamp> {
    let monday = |day: NaiveDate| {
        day.checked_sub_days(Days::new(day.weekday().days_since(Weekday::Mon).into())).unwrap()
    };
    let first = |day: NaiveDate| day.with_day(1).unwrap();
    let mut kept: BTreeSet<Stamp> = stamps.iter().rev().take(keep.last as usize).copied().collect();
    let day = |stamp: &Stamp| stamp.time().with_timezone(&zone).date_naive();
    let mut newest = [(); 3].map(|()| BTreeMap::<NaiveDate, Stamp>::new());
    for stamp in stamps {
        for (newest, period) in
            newest.iter_mut().zip([day(stamp), monday(day(stamp)), first(day(stamp))])
        {
            newest.insert(period, *stamp);
        }
    }
    for (newest, count) in newest.iter().zip([keep.daily, keep.weekly, keep.monthly]) {
        kept.extend(newest.values().rev().take(count as usize));
        if newest.len() < count as usize {
            kept.extend(stamps.first());
        }
    }
    kept
}

/// The expected state of a job.
struct Model {
    name: &'static str,
    keep: Keep,
    zone: Tz,
    /// The scheduled times, one per night.
    times: Vec<DateTime<Utc>>,
    /// The rows in the API.
    rows: Rows,
    /// The newest snapshot: its stamp and its rows.
    stored: Option<(Stamp, Rows)>,
    /// The stamp of an interrupted run, which the next run resumes.
    begun: Option<Stamp>,
    /// The time of the last successful run.
    as_of: Option<DateTime<Utc>>,
    /// The stamps of all existing snapshots.
    there: BTreeSet<Stamp>,
    /// Number of runs in the history.
    runs: usize,
    /// Number of snapshots that were compared with the one before.
    differences: usize,
}

impl Model {
    fn new(nightly: &Nightly, name: &'static str) -> Self {
        let job = nightly.config().jobs_named(&[name.to_owned()]).unwrap().remove(0);
        let start = "2026-10-10T12:00:00Z".parse().unwrap();
        let slots = Timetable::of(&job).unwrap();
        Self {
            name,
            keep: job.keep.unwrap(),
            zone: job.timezone,
            times: slots.after(start).take(NIGHTS).map(|slot| slot.scheduled).collect(),
            rows: (0..300).map(|number| (number, 0)).collect(),
            stored: None,
            begun: None,
            as_of: None,
            there: BTreeSet::new(),
            runs: 0,
            differences: 0,
        }
    }

    /// Runs the job at the scheduled time of a night and checks the result.
    fn night(&mut self, nightly: &Nightly, night: usize, outage: bool) {
        let now = self.times[night];
        let result = nightly.job_at(&[self.name], &now.to_rfc3339()).remove(0);
        self.runs += 1;
        let expected = match &self.stored {
            _ if outage => Status::Failed,
            Some((_, rows)) if *rows == self.rows => Status::Unchanged,
            _ => Status::Stored,
        };
        assert_eq!(result.status, expected, "{} in night {night}: {result:?}", self.name);
        if expected != Status::Failed {
            self.as_of = Some(now);
        }
        if expected == Status::Stored {
            let stamp = self.begun.take().unwrap_or(Stamp::at(now));
            self.there.insert(stamp);
            let before = self.stored.replace((stamp, self.rows.clone()));
            if let Some((before, rows)) = before {
                self.compare(nightly, (before, &rows), stamp);
            }
        }
        if expected != Status::Failed {
            self.there = retained(&self.there, self.keep, self.zone);
        }
        self.morning(nightly, night);
    }

    fn folder(&self, nightly: &Nightly, stamp: Stamp) -> PathBuf {
        nightly.job(self.name).join(stamp.folder())
    }

    /// Compares a new snapshot with the previous one. That one still exists, because `keep` retains at
    /// least the last two.
    fn compare(&mut self, nightly: &Nightly, (before, old): (Stamp, &Rows), after: Stamp) {
        let ran = Ran::of(
            nightly
                .world
                .command()
                .arg("diff")
                .args([self.folder(nightly, before), self.folder(nightly, after)])
                .arg("--json"),
        );
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let found: Value = serde_json::from_str(&ran.stdout).unwrap();
        let count = |what: &str| found[what].as_u64().unwrap();
        let counts = ["added", "removed", "changed", "unchanged"].map(count);
        assert_eq!(counts, difference(old, &self.rows), "{}: {before} and {after}", self.name);
        self.differences += 1;
    }

    /// Checks the job's folder as a notebook would read it in the morning.
    fn morning(&self, nightly: &Nightly, night: usize) {
        let context = format!("{} in the morning after night {night}", self.name);
        let there: BTreeSet<Stamp> =
            nightly.stamps(self.name).iter().map(|stamp| stamp.parse().unwrap()).collect();
        assert_eq!(there, self.there, "{context}");
        let (stamp, rows) = self.stored.as_ref().expect("the first night succeeds");
        let job = nightly.job(self.name);
        assert_eq!(nightly.newest(self.name), job.join(stamp.folder()), "{context}");
        let record = nightly.record(self.name, &stamp.to_string());
        let manifest = Manifest::read(&record).unwrap();
        assert_eq!(manifest.rows, rows.len() as u64, "{context}");
        let latest = nightly.latest(self.name);
        assert_eq!(latest["snapshot"], stamp.to_string(), "{context}");
        let as_of: DateTime<Utc> = latest["as_of"].as_str().unwrap().parse().unwrap();
        assert_eq!(Some(as_of), self.as_of, "{context}");
        assert_eq!(nightly.history(self.name).len(), self.runs, "{context}");
    }
}

#[test]
fn thirty_nights_match_the_model() {
    let nightly = Nightly::with(Options::default(), Vec::new(), JOBS);
    let (mut support, mut triage) =
        (Model::new(&nightly, "support"), Model::new(&nightly, "triage"));
    for job in [&support, &triage] {
        let hours = |pair: &[DateTime<Utc>]| (pair[1] - pair[0]).num_hours();
        let mut nights: Vec<i64> = job.times.windows(2).map(hours).collect();
        nights.sort_unstable();
        // One night has 25 hours, and no night is missing or repeated.
        assert_eq!((nights[0], nights[27], nights[28]), (24, 24, 25), "{}", job.name);
    }
    let mut version = 0;
    for night in 0..NIGHTS {
        if matches!(night, 0 | 1 | 3..=5 | 8..=10 | 12..=16 | 19 | 22 | 23 | 26 | 28) {
            change(&mut support.rows, night);
            version += 1;
        }
        if matches!(night, 2 | 11 | 20 | 24) {
            change(&mut triage.rows, night);
        }
        nightly.world.server.replace(vec![
            dataset(&support.rows)
                .with_id(version_id(version))
                .with_agent(AGENT)
                .with_version(version as i64),
            dataset(&triage.rows).with_id(ID),
        ]);
        let outage = matches!(night, 6 | 7 | 14 | 20);
        let faults = |page| Faults::none().on(page, FaultAttempt::Always, Fault::status(503));
        nightly.world.server.set_faults(match night {
            // Outages: all requests fail, or only the list and pages 2 to 4.
            6 | 14 => {
                faults(FaultPage::List).on(FaultPage::Any, FaultAttempt::Always, Fault::status(503))
            }
            7 | 20 => faults(FaultPage::Numbers(2..=4)).on(
                FaultPage::List,
                FaultAttempt::Always,
                Fault::status(502),
            ),
            _ => Faults::none(),
        });
        if night == 10 {
            kill(&nightly, &mut support, night);
        } else {
            support.night(&nightly, night, outage);
        }
        triage.night(&nightly, night, outage);
    }
    for job in [&support, &triage] {
        for stamp in &job.there {
            let found = verify(&job.folder(&nightly, *stamp).as_path().into()).unwrap();
            assert!(found.is_ok(), "{found:?}");
        }
    }
    assert_eq!((support.differences, triage.differences), (16, 4));
    let ran = nightly.run(&["snapshots"]).ok();
    let told = ran.told(&nightly.world);
    // Durations are in the notes about failures.
    let (notes, table): (Vec<&str>, Vec<&str>) =
        told.lines().partition(|line| line.contains(": last failure, 2026-10-31 "));
    assert_eq!(notes.len(), 2, "{told}");
    insta::assert_snapshot!(table.join("\n"), @"
    exit 0
     JOB      SNAPSHOT          DATASET   ROWS      BYTES  COMPLETE  UNCHANGED AS OF
     support  20261024T003000Z  a0000000   299  14.86 KiB  yes       -
     support  20261030T013000Z  a0000000   303  17.14 KiB  yes       2026-11-01 01:30
     support  20261102T013000Z  a0000000   304  17.23 KiB  yes       -
     support  20261103T013000Z  a0000000   306  17.25 KiB  yes       2026-11-05 01:30
     support  20261106T013000Z  a0000000   307  17.31 KiB  yes       2026-11-07 01:30
     support  20261108T013000Z  a0000000   306  17.30 KiB  yes       2026-11-09 01:30
     triage   20261013T060000Z  182bd5e5   301   3.00 KiB  yes       2026-10-21 06:00
     triage   20261022T060000Z  182bd5e5   303   3.05 KiB  yes       2026-10-30 06:00
     triage   20261101T070000Z  182bd5e5   302   3.10 KiB  yes       2026-11-03 07:00
     triage   20261104T070000Z  182bd5e5   301   3.12 KiB  yes       2026-11-09 07:00
    ");
    for name in ["support", "triage"] {
        let names = [nightly.names(name), nightly.hidden_names(name)].concat();
        assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
    }
}

/// Starts the night's run in a child process and kills it with SIGKILL after its first part. Such a run changes
/// neither the history nor the snapshots.
fn kill(nightly: &Nightly, job: &mut Model, night: usize) {
    let late = Fault::Delay(Duration::from_secs(100));
    nightly.world.server.set_faults(Faults::none().on(10, FaultAttempt::Always, late));
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "snapshots::nights::one_night", "--ignored"])
        .env("NIGHT_FILE", nightly.world.path("snapshots.toml"))
        .env("NIGHT_API", nightly.world.server.url())
        .env("NIGHT_JOB", job.name)
        .env("NIGHT_TIME", job.times[night].to_rfc3339())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    let stamp = Stamp::at(job.times[night]);
    let partial = nightly.hidden(job.name).join(format!(".{}.partial", stamp.folder()));
    let journal = || fs::read_to_string(partial.join("journal.jsonl")).unwrap_or_default();
    let begun = Instant::now();
    while journal().matches('\n').count() < 2 {
        assert!(begun.elapsed() < SOON, "no part was finished");
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
    nightly.world.server.set_faults(Faults::none());
    job.begun = Some(stamp);
    job.morning(nightly, night);
}

#[test]
#[ignore = "another test starts it in a child process and kills it"]
fn one_night() {
    let text = |name| env::var(name).ok();
    let Some(file) = text("NIGHT_FILE") else { return };
    let config = Config::read(file.as_ref()).unwrap();
    let jobs = config.jobs_named(&[text("NIGHT_JOB").unwrap()]).unwrap();
    let clock = Arc::new(Hands(Mutex::new(text("NIGHT_TIME").unwrap().parse().unwrap())));
    super::run(&jobs, &text("NIGHT_API").unwrap(), clock);
}
