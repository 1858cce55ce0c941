use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use chrono::TimeDelta;
use chrono_tz::Tz;
use tokio::time::Instant;

use super::*;
use crate::schedule::Timetable;

const GRACE: Duration = Duration::from_secs(8);
const HOUR: u64 = 3600;

/// The wall clock of a test: a start time, plus tokio's paused time, plus the sum of all clock changes.
#[derive(Debug)]
struct Wall {
    from: DateTime<Utc>,
    begun: Instant,
    set: Mutex<TimeDelta>,
}

impl Clock for Wall {
    fn now(&self) -> DateTime<Utc> {
        self.from + self.begun.elapsed() + *self.set.lock().unwrap()
    }
}

/// A runner whose runs take a given time, with a record of these runs.
struct Script {
    wall: Arc<Wall>,
    takes: BTreeMap<&'static str, Duration>,
    last_run: Option<DateTime<Utc>>,
    /// Whether `last_run` never returns.
    silent: bool,
    /// Whether runs ignore a request to stop.
    deaf: bool,
    ran: Mutex<Vec<String>>,
    running: Mutex<BTreeMap<String, u32>>,
}

impl Runner for Script {
    type Job = &'static str;

    async fn run(&self, job: &'static str, slot: Slot, stop: Stop) {
        let minute = |time: DateTime<Utc>| time.format("%m-%dT%H:%M").to_string();
        let (begun, due) = (minute(self.wall.now()), minute(slot.scheduled));
        self.ran().push(if begun == due {
            format!("{job} {begun}")
        } else {
            format!("{job} {begun} for {due}")
        });
        let running = |change: fn(&mut u32)| {
            let mut running = self.running.lock().unwrap();
            let running = running.entry(job.to_owned()).or_default();
            change(running);
            assert!(*running <= 1, "{job} overlaps itself");
        };
        running(|count| *count += 1);
        let time = self.takes.get(job).copied().unwrap_or(Duration::from_secs(90));
        if job == "broken" {
            running(|count| *count -= 1);
            panic!("a bug in a run");
        }
        select! {
            () = sleep(time) => {}
            _ = stop.wait(), if !self.deaf => self.ran().push(format!("{job} stopped")),
        }
        running(|count| *count -= 1);
    }

    async fn last_run(&self, _: &&'static str) -> Option<DateTime<Utc>> {
        if self.silent {
            std::future::pending::<()>().await;
        }
        self.last_run
    }
}

impl Script {
    fn ran(&self) -> MutexGuard<'_, Vec<String>> {
        self.ran.lock().unwrap()
    }
}

/// A scheduler that runs in the background of a test.
struct World {
    script: Arc<Script>,
    metrics: Arc<Metrics>,
    stop: Stop,
    reloads: mpsc::UnboundedSender<Vec<AgendaEntry<&'static str>>>,
    ends: task::JoinHandle<bool>,
}

impl World {
    fn begin(
        from: &str,
        jobs: Vec<AgendaEntry<&'static str>>,
        change: impl FnOnce(&mut Script),
    ) -> Self {
        let from = from.parse().unwrap();
        let wall = Arc::new(Wall { from, begun: Instant::now(), set: Mutex::default() });
        let mut script = Script {
            wall: wall.clone(),
            takes: BTreeMap::new(),
            last_run: None,
            silent: false,
            deaf: false,
            ran: Mutex::default(),
            running: Mutex::default(),
        };
        change(&mut script);
        let (script, metrics) = (Arc::new(script), Arc::new(Metrics::new()));
        let (stop, (reloads, orders)) = (Stop::default(), mpsc::unbounded_channel());
        let scheduler = Scheduler::new(script.clone(), wall, metrics.clone(), 4);
        let ends =
            tokio::spawn(scheduler.run(jobs, orders, stop.clone(), async { sleep(GRACE).await }));
        Self { script, metrics, stop, reloads, ends }
    }

    /// Lets this time pass and returns the runs that began in it.
    async fn pass(&self, seconds: u64) -> Vec<String> {
        sleep(Duration::from_secs(seconds)).await;
        std::mem::take(&mut *self.script.ran())
    }

    fn set_clock(&self, by: TimeDelta) {
        *self.script.wall.set.lock().unwrap() += by;
    }

    async fn end(self) -> bool {
        self.stop.request("SIGTERM", 15);
        self.ends.await.unwrap()
    }
}

fn job(name: &'static str, schedule: &str, zone: Tz) -> AgendaEntry<&'static str> {
    let timetable = Timetable::new(name, &schedule.parse().unwrap(), zone, Duration::ZERO);
    AgendaEntry { name: name.to_owned(), timetable, catch_up: true, job: name }
}

const NONE: [&str; 0] = [];

#[tokio::test(start_paused = true)]
async fn nightly_job_keeps_local_time_across_clock_changes() {
    for (from, zone, change, gap) in [
        ("2026-10-10T12:00:00Z", Tz::America__New_York, "2026-11-01", false),
        ("2026-10-10T12:00:00Z", Tz::Europe__London, "2026-10-25", false),
        ("2026-03-01T12:00:00Z", Tz::America__New_York, "2026-03-08", true),
        ("2026-03-01T12:00:00Z", Tz::Europe__London, "2026-03-29", true),
    ] {
        // In spring, London's clock skips the hour from 01:00, New York's the hour from 02:00.
        let hour = if gap && zone == Tz::America__New_York { 2 } else { 1 };
        let world = World::begin(from, vec![job("a", &format!("30 {hour} * * *"), zone)], |_| {});
        let ran = world.pass(40 * 24 * HOUR).await;
        assert_eq!(ran.len(), 40, "{zone} {from}: {ran:?}");
        for run in &ran {
            let time = DateTime::parse_from_rfc3339(&format!("2026-{}:00Z", &run[2..])).unwrap();
            let local = time.with_timezone(&zone).naive_local().to_string();
            let moved = gap && local.starts_with(change);
            let expected =
                if moved { format!("0{}:00:00", hour + 1) } else { format!("0{hour}:30:00") };
            assert!(local.ends_with(&expected), "{zone}: {local} is not {expected}");
        }
        assert!(world.end().await);
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_follow_their_own_time_zones() {
    let jobs = vec![
        job("tokyo", "0 2 * * *", Tz::Asia__Tokyo),
        job("utc", "0 2 * * *", Tz::UTC),
        job("denver", "0 2 * * mon", Tz::America__Denver),
    ];
    let world = World::begin("2026-11-23T00:00:00Z", jobs, |_| {});
    assert_eq!(
        world.pass(24 * HOUR).await,
        ["utc 11-23T02:00", "denver 11-23T09:00", "tokyo 11-23T17:00"]
    );
    assert!(world.end().await);
}

#[tokio::test(start_paused = true)]
async fn slow_run_never_overlaps_and_is_followed_by_one() {
    let jobs = vec![job("slow", "*/10 * * * *", Tz::UTC), job("quick", "*/10 * * * *", Tz::UTC)];
    let takes = BTreeMap::from([("slow", Duration::from_secs(34 * 60))]);
    let world = World::begin("2026-11-23T00:05:00Z", jobs, |script| script.takes = takes);
    let ran = world.pass(HOUR).await;
    let of = |name: &str| ran.iter().filter(|it| it.starts_with(name)).cloned().collect::<Vec<_>>();
    assert_eq!(of("slow"), ["slow 11-23T00:10", "slow 11-23T00:44 for 11-23T00:40"]);
    assert_eq!(of("quick").len(), 6);
}

#[tokio::test(start_paused = true)]
async fn downtime_is_caught_up_once_immediately() {
    let last = "2026-11-19T02:00:00Z".parse().ok();
    let jobs = || vec![job("a", "0 2 * * *", Tz::UTC)];
    let world = World::begin("2026-11-23T07:00:00Z", jobs(), |script| script.last_run = last);
    assert_eq!(world.pass(HOUR).await, ["a 11-23T07:00 for 11-23T02:00"]);
    assert_eq!(world.pass(23 * HOUR).await, ["a 11-24T02:00"]);
    let last = "2026-11-23T02:00:00Z".parse().ok();
    let world = World::begin("2026-11-23T07:00:00Z", jobs(), |script| script.last_run = last);
    assert_eq!(world.pass(12 * HOUR).await, NONE);
}

#[tokio::test(start_paused = true)]
async fn clock_jump_is_noticed_within_one_step() {
    let jobs = vec![job("a", "0 2 * * *", Tz::UTC)];
    let world = World::begin("2026-11-23T00:00:00Z", jobs, |_| {});
    assert_eq!(world.pass(60).await, NONE);
    // The machine was suspended for nine hours.
    world.set_clock(TimeDelta::hours(9));
    assert_eq!(world.pass(STEP.as_secs() + 1).await, ["a 11-23T09:01 for 11-23T02:00"]);
    world.set_clock(TimeDelta::hours(-2));
    assert_eq!(world.pass(12 * HOUR).await, NONE);
    assert_eq!(world.pass(12 * HOUR).await, ["a 11-24T02:00"]);
}

#[tokio::test(start_paused = true)]
async fn reload_adds_and_removes_jobs() {
    let takes = BTreeMap::from([("a", Duration::from_secs(3 * HOUR))]);
    let jobs = vec![job("a", "0 2 * * *", Tz::UTC), job("b", "0 6 * * *", Tz::UTC)];
    let world = World::begin("2026-11-23T00:00:00Z", jobs, |script| script.takes = takes);
    assert_eq!(world.pass(3 * HOUR).await, ["a 11-23T02:00"]);
    // The run of `a` continues, although the job was removed.
    world.reloads.send(vec![job("c", "0 4 * * *", Tz::UTC)]).unwrap();
    assert_eq!(world.pass(20 * HOUR).await, ["c 11-23T04:00"]);
    assert!(world.end().await);
}

#[tokio::test(start_paused = true)]
async fn stop_ends_active_runs_and_starts_no_more() {
    let takes = BTreeMap::from([("a", Duration::from_secs(HOUR))]);
    let jobs = vec![job("a", "0 2 * * *", Tz::UTC), job("b", "1 2 * * *", Tz::UTC)];
    let world = World::begin("2026-11-23T01:59:59Z", jobs, |script| script.takes = takes);
    assert_eq!(world.pass(10).await, ["a 11-23T02:00"]);
    let (script, begun) = (world.script.clone(), Instant::now());
    assert!(world.end().await);
    assert!(begun.elapsed() < GRACE);
    assert_eq!(*script.ran(), ["a stopped"]);
}

#[tokio::test(start_paused = true)]
async fn stop_does_not_wait_for_a_hanging_history() {
    let jobs = || vec![job("a", "0 2 * * *", Tz::UTC)];
    let world = World::begin("2026-11-23T00:00:00Z", jobs(), |script| script.silent = true);
    assert_eq!(world.pass(1).await, NONE);
    assert!(timeout(Duration::from_secs(1), world.end()).await.unwrap());

    let world = World::begin("2026-11-23T00:00:00Z", Vec::new(), |script| script.silent = true);
    world.reloads.send(jobs()).unwrap();
    assert_eq!(world.pass(1).await, NONE);
    assert!(timeout(Duration::from_secs(1), world.end()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn run_that_ignores_stop_is_aborted_after_grace() {
    let jobs = vec![job("a", "0 2 * * *", Tz::UTC)];
    let world = World::begin("2026-11-23T01:59:59Z", jobs, |script| {
        script.deaf = true;
        script.takes.insert("a", Duration::from_secs(HOUR));
    });
    assert_eq!(world.pass(10).await.len(), 1);
    let begun = Instant::now();
    assert!(!world.end().await);
    assert_eq!(begun.elapsed().as_secs(), GRACE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn panicking_run_ends_without_affecting_others() {
    let jobs = vec![job("broken", "0 * * * *", Tz::UTC), job("b", "0 * * * *", Tz::UTC)];
    let world = World::begin("2026-11-23T01:30:00Z", jobs, |_| {});
    let ran = world.pass(2 * HOUR).await;
    assert_eq!(ran.iter().filter(|it| it.starts_with("broken")).count(), 2, "{ran:?}");
    assert_eq!(ran.iter().filter(|it| it.starts_with("b ")).count(), 2, "{ran:?}");
}

#[tokio::test(start_paused = true)]
async fn metrics_show_next_runs_and_health() {
    let jobs = vec![job("a", "0 2 * * *", Tz::UTC)];
    let world = World::begin("2026-11-23T00:00:00Z", jobs, |_| {});
    for _ in 0..40 {
        world.pass(600).await;
        assert!(world.metrics.healthy());
    }
    let line = "overmind_export_next_run_timestamp_seconds{job=\"a\"} 1795485600\n";
    assert!(world.metrics.text().contains(line), "{}", world.metrics.text());
}
