use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const NEW_YORK: Tz = chrono_tz::America::New_York;
const LONDON: Tz = chrono_tz::Europe::London;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn named(job: &str, schedule: &str, zone: Tz, jitter: u64) -> Timetable {
    Timetable::new(job, &schedule.parse().unwrap(), zone, Duration::from_secs(jitter))
}

fn table(schedule: &str, zone: Tz) -> Timetable {
    named("job", schedule, zone, 0)
}

/// Returns the first runs after a time, in local time.
fn runs(schedule: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
    let table = table(schedule, zone);
    let local = |slot: Slot| slot.starts.with_timezone(&table.zone).to_rfc3339();
    table.after(at(after)).take(count).map(local).collect()
}

#[test]
fn skipped_spring_time_runs_after_the_gap() {
    assert_eq!(
        runs("30 2 * * *", NEW_YORK, "2026-03-07T12:00:00Z", 3),
        ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00", "2026-03-10T02:30:00-04:00"]
    );
    assert_eq!(
        runs("30 1 * * *", LONDON, "2026-03-28T12:00:00Z", 3),
        ["2026-03-29T02:00:00+01:00", "2026-03-30T01:30:00+01:00", "2026-03-31T01:30:00+01:00"]
    );
}

#[test]
fn repeated_autumn_time_runs_once() {
    assert_eq!(
        runs("30 1 * * *", NEW_YORK, "2026-10-31T12:00:00Z", 2),
        ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]
    );
    assert_eq!(
        runs("30 1 * * *", LONDON, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T01:30:00+01:00", "2026-10-26T01:30:00+00:00"]
    );
    // Between the two occurrences, the next run is on the next day.
    assert_eq!(
        runs("30 1 * * *", NEW_YORK, "2026-11-01T06:10:00Z", 1),
        ["2026-11-02T01:30:00-05:00"]
    );
}

#[test]
fn each_of_several_fixed_times_runs_once() {
    assert_eq!(
        runs("30 2,14 * * *", NEW_YORK, "2026-03-08T05:00:00Z", 2),
        ["2026-03-08T03:00:00-04:00", "2026-03-08T14:30:00-04:00"]
    );
    assert_eq!(
        runs("0,30 1 * * *", LONDON, "2026-10-24T23:30:00Z", 3),
        ["2026-10-25T01:00:00+01:00", "2026-10-25T01:30:00+01:00", "2026-10-26T01:00:00+00:00"]
    );
    // Both times fall on the hour after the gap, which gives one run.
    assert_eq!(
        runs("0 2,3 * * *", NEW_YORK, "2026-03-08T05:00:00Z", 2),
        ["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"]
    );
}

#[test]
fn intervals_follow_elapsed_hours() {
    assert_eq!(
        runs("0 * * * *", NEW_YORK, "2026-03-08T05:30:00Z", 3),
        ["2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00", "2026-03-08T04:00:00-04:00"]
    );
    assert_eq!(
        runs("0 * * * *", LONDON, "2026-10-24T23:30:00Z", 3),
        ["2026-10-25T01:00:00+01:00", "2026-10-25T01:00:00+00:00", "2026-10-25T02:00:00+00:00"]
    );
}

#[test]
fn common_cron_spellings_are_understood() {
    let first = |schedule| runs(schedule, Tz::UTC, "2026-11-24T12:00:00Z", 1).remove(0);
    for (schedule, expected) in [
        ("0 2 * * *", "2026-11-25T02:00:00+00:00"),
        ("  0   2  *  *  * ", "2026-11-25T02:00:00+00:00"),
        ("0 2 * * mon-fri", "2026-11-25T02:00:00+00:00"),
        ("0 2 * * MON,Sat", "2026-11-28T02:00:00+00:00"),
        ("0 2 * * sat-sun", "2026-11-28T02:00:00+00:00"),
        ("0 2 * * 0", "2026-11-29T02:00:00+00:00"),
        ("0 2 * * 7", "2026-11-29T02:00:00+00:00"),
        ("15 6 1 jan *", "2027-01-01T06:15:00+00:00"),
        ("0 0 1 jan,apr,jul,oct *", "2027-01-01T00:00:00+00:00"),
        ("*/20 9-17 * * 1-5", "2026-11-24T12:20:00+00:00"),
        ("0 0 L * *", "2026-11-30T00:00:00+00:00"),
        ("0 2 29 2 *", "2028-02-29T02:00:00+00:00"),
        // If both kinds of days are given, one of them is enough, as in every cron.
        ("0 2 1 * fri", "2026-11-27T02:00:00+00:00"),
        ("@daily", "2026-11-25T00:00:00+00:00"),
        ("@weekly", "2026-11-29T00:00:00+00:00"),
    ] {
        assert_eq!(first(schedule), expected, "{schedule}");
    }
}

#[test]
fn jitter_varies_by_job_and_night_and_is_stable() {
    let delay = |name: &str, after: &str| {
        let table = named(name, "0 2 * * *", Tz::UTC, 600);
        let slot = table.next_after(at(after)).unwrap();
        (slot.starts - slot.scheduled).num_seconds()
    };
    let names: Vec<String> = (0..40).map(|n| format!("job-{n}")).collect();
    let delays: BTreeSet<i64> = names.iter().map(|it| delay(it, "2026-11-24T12:00:00Z")).collect();
    assert!(delays.len() > 30, "{delays:?}");
    assert!(delays.iter().all(|it| (0..=600).contains(it)), "{delays:?}");
    assert!(delays.first() < Some(&100) && delays.last() > Some(&500), "{delays:?}");
    assert_ne!(delay("job", "2026-11-24T12:00:00Z"), delay("job", "2026-11-25T12:00:00Z"));
    // A fixed number, because a new release must not move the runs of existing users.
    assert_eq!(delay("job", "2026-11-24T12:00:00Z"), 368);
}

#[test]
fn longest_interval_covers_weekends_and_months() {
    const HOUR: u64 = 3600;
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    let hours = |schedule: &str, jitter: u64| {
        let longest = named("job", schedule, Tz::UTC, jitter).longest_interval(now);
        longest.map(|longest| longest.as_secs() as f64 / HOUR as f64)
    };
    assert_eq!(hours("0 2 * * *", 0), Some(24.0));
    assert_eq!(hours("0 2 * * *", 2 * HOUR), Some(26.0));
    assert_eq!(hours("*/15 * * * *", 0), Some(0.25));
    assert_eq!(hours("30 2 * * mon-fri", 0), Some(72.0));
    assert_eq!(hours("* 9-17 * * mon-fri", 0), Some(2.0 * 24.0 + 15.0 + 1.0 / 60.0));
    assert_eq!(hours("0 0 1 * *", 0), Some(31.0 * 24.0));
    assert_eq!(hours("0 0 29 2 *", 0), Some(1461.0 * 24.0));
}

proptest! {
    #[test]
    fn runs_are_ordered_and_jitter_stays_below_next_run(
        schedule in prop_oneof![
            Just("30 1 * * *"), Just("30 2 * * *"), Just("*/15 * * * *"), Just("0 1-3 * * sun"),
            Just("5,35 1,2 * * *"), Just("0 2 29 2 *"), Just("* * * * *"),
        ],
        zone in prop_oneof![
            Just(Tz::UTC), Just(NEW_YORK), Just(LONDON), Just(Tz::Australia__Lord_Howe),
            Just(Tz::Asia__Kathmandu), Just(Tz::America__Sao_Paulo),
        ],
        jitter in 0_u64..100_000,
        second in 1_700_000_000_i64..1_900_000_000,
    ) {
        let table = named("job", schedule, zone, jitter);
        let mut time = DateTime::from_timestamp(second, 0).unwrap();
        for slot in table.after(time).take(20) {
            prop_assert!(slot.scheduled > time, "{} after {time}", slot.scheduled);
            prop_assert!(slot.starts >= slot.scheduled);
            prop_assert!((slot.starts - slot.scheduled).num_seconds() <= jitter as i64);
            let next = table.next_after(slot.scheduled).unwrap();
            prop_assert!(slot.starts < next.scheduled);
            // Until the scheduled time, the answer does not change.
            prop_assert_eq!(table.next_after(slot.scheduled - TimeDelta::seconds(1)), Some(slot));
            time = slot.scheduled;
        }
    }

    /// A daily job in a zone with daylight saving time runs once on each day of a year.
    #[test]
    fn every_day_has_one_run(
        hour in 0_u32..24, minute in 0_u32..60, year in 2024_i32..2036,
        zone in prop_oneof![Just(NEW_YORK), Just(LONDON), Just(Tz::Australia__Lord_Howe)],
    ) {
        use chrono::{Datelike, NaiveDate};
        let table = table(&format!("{minute} {hour} * * *"), zone);
        let begin = NaiveDate::from_ymd_opt(year - 1, 12, 30).unwrap().and_hms_opt(0, 0, 0).unwrap();
        let days: Vec<NaiveDate> = (table.after(begin.and_utc()))
            .map(|slot| slot.scheduled.with_timezone(&table.zone).date_naive())
            .skip_while(|day| day.year() < year)
            .take_while(|day| day.year() == year)
            .collect();
        let expected: Vec<NaiveDate> =
            NaiveDate::from_ymd_opt(year, 1, 1).unwrap().iter_days().take(days.len()).collect();
        prop_assert_eq!(&days, &expected);
        prop_assert!(days.len() >= 365);
    }
}

#[cfg(feature = "report")]
#[test]
fn missed_times_are_between_runs() {
    let missed = |schedule: &str, runs: &[(&str, i64)]| {
        let run = |(start, minutes): &(&str, i64)| {
            let start: DateTime<Utc> = format!("2026-09-{start}Z").parse().unwrap();
            serde_json::from_value(serde_json::json!({
                "job": "a", "status": "unchanged", "started_at": start, "finished_at": start + TimeDelta::minutes(*minutes),
                "seconds": 1.0, "rows": 0, "bytes": 0, "requests": 1, "retries": 0, "snapshots": [], "pruned": [],
                "error": null, "exit_code": 0,
            }))
        };
        let runs: Result<Vec<JobResult>, _> = runs.iter().map(run).collect();
        let times = Timetable::new("a", &schedule.parse().unwrap(), Tz::UTC, Duration::ZERO);
        let missed = times.missed_between(&runs.unwrap());
        missed.iter().map(|at| at.format("%dT%H:%M").to_string()).collect::<Vec<_>>()
    };
    let nights = [
        ("01T02:00:00", 1),
        ("02T02:00:00", 1),
        // The night before was missed.
        ("04T02:00:00", 1),
        // Late, by hand, early, and again on time.
        ("05T09:00:00", 1),
        ("05T11:00:00", 1),
        ("06T01:59:58", 1),
        ("07T02:00:00", 1),
    ];
    assert_eq!(missed("0 2 * * *", &nights), ["03T02:00"]);
    // Runs that take longer than their interval.
    let long = [("01T02:00:00", 5), ("01T02:06:00", 5), ("01T02:12:00", 1), ("01T02:14:00", 1)];
    assert_eq!(missed("*/2 * * * *", &long), [""; 0]);
    // Runs of another schedule.
    let weekly = [("01T02:00:00", 1), ("08T02:00:00", 1), ("15T02:00:00", 1)];
    assert_eq!(missed("0 2 * * *", &weekly), [""; 0]);
}
