//! Texts that a person writes: configuration files, cron lines, and the values of options.

use std::{collections::BTreeSet, fmt::Display, path::Path, str::FromStr, time::Duration};

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::{
    batch::Column,
    client::Source,
    config::{Config, Job, Schedule, values},
    diff::DiffBy,
    error::Error,
    location::{Location, StorageOptions},
    output,
    record::stamp::Stamp,
    schedule::{Slot, Timetable},
    sink::{Compression, Format, JsonColumns, ParquetEncoding},
    text,
    throttle::{Concurrency, Rate},
};

/// Longest time to the next run.
const HORIZON: TimeDelta = TimeDelta::days(366 * 9);

/// A configuration file.
pub(super) fn config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let lines = 1 + text.matches('\n').count();
    match Config::parse(text, Path::new("/etc/overmind/snapshots.toml")) {
        Ok(config) => {
            let names: BTreeSet<_> =
                config.jobs.iter().map(|job| job.name.to_ascii_lowercase()).collect();
            assert_eq!(names.len(), config.jobs.len());
            config.jobs.iter().for_each(|job| configured(job, lines));
        }
        Err(error) => {
            assert!(matches!(error, Error::ConfigurationFile { .. }), "{error:?}");
            let told = error.one_line();
            let line = told.split_once("line ").and_then(|(_, rest)| rest.split_once(':'));
            let line: Option<usize> = line.and_then(|(line, _)| line.parse().ok());
            assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{told}");
        }
    }
}

fn configured(job: &Job, lines: usize) {
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    assert!(!job.name.is_empty() && job.name.chars().all(usual), "{}", job.name);
    assert!((1..=lines).contains(&job.line));
    assert!(job.root.is_absolute() || job.root.to_string_lossy().contains("://"));
    assert!(job.page_size != Some(0) && job.rows_per_file != Some(0));
    assert!(job.jitter <= Duration::from_secs(24 * 60 * 60));
    let storage = StorageOptions::default();
    assert_eq!(job.folder(&storage).expect("a folder").name(), job.name);
    assert_eq!(job.hidden(&storage).expect("a folder").name(), job.name);
    job.query.validate().expect("a checked query");
    if let (Some(schedule), Some(table)) = (&job.schedule, Timetable::of(job)) {
        let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        planned((schedule, &table), job.jitter, now, 3);
    }
}

/// A line with a schedule, and lines with a time zone, a time and a jitter.
pub(super) fn schedule(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let schedule: Schedule = match lines.next().unwrap_or_default().parse() {
        Ok(schedule) => schedule,
        Err(error) => return assert!(matches!(error, Error::Invalid { .. }), "{error:?}"),
    };
    let again: Schedule = schedule.as_str().parse().expect("the same schedule");
    let zone: Tz = lines.next().and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC);
    let time: Option<DateTime<Utc>> = lines.next().and_then(|time| time.trim().parse().ok());
    let time = time.filter(|time| (1970..=9999).contains(&time.year()));
    let time = time.unwrap_or(DateTime::UNIX_EPOCH);
    let jitter = lines.next().and_then(|jitter| values::duration(jitter).ok()).unwrap_or_default();
    let jitter = jitter.min(Duration::from_secs(24 * 60 * 60));
    let table = Timetable::new("job", &schedule, zone, jitter);
    assert!(table == Timetable::new("job", &again, zone, jitter));
    planned((&schedule, &table), jitter, time, 12);
    if zone == Tz::UTC {
        earliest(&schedule, &table, time);
    }
}

/// Checks the next runs of a timetable.
fn planned(
    (schedule, table): (&Schedule, &Timetable),
    jitter: Duration,
    start: DateTime<Utc>,
    runs: usize,
) {
    let jitter = TimeDelta::from_std(jitter).expect("at most a day");
    let slots: Vec<Slot> = table.after(start).take(runs).collect();
    // A fifth Friday of February comes every 28 years. The library ends at the year 5000.
    let is_rare = schedule.as_str().contains(['#', '+']) || start.year() > 4000;
    assert!(slots.len() == runs || is_rare, "{} runs after {start}", slots.len());
    let mut before = start;
    for slot in &slots {
        assert!(slot.scheduled > before, "{} after {before}", slot.scheduled);
        assert!(slot.scheduled - before <= HORIZON, "{} after {before}", slot.scheduled);
        assert!((TimeDelta::zero()..=jitter).contains(&(slot.starts - slot.scheduled)));
        // Until then, the answer is the same.
        let shortly = slot.scheduled - TimeDelta::seconds(1);
        assert_eq!(table.next_after(shortly), Some(*slot), "after {shortly}");
        before = slot.scheduled;
    }
    for pair in slots.windows(2) {
        assert!(pair[0].starts < pair[1].scheduled, "{pair:?}");
    }
    if let (Some(longest), true) = (table.longest_interval(start), slots.len() == runs) {
        let longest = TimeDelta::from_std(longest).expect("at most nine years and a day");
        let between = slots.windows(2).map(|pair| pair[1].scheduled - pair[0].scheduled).max();
        assert!(between.is_none_or(|between| between <= longest), "{between:?}, {longest}");
    }
}

/// Compares the next run with a search minute by minute, as far as it goes.
fn earliest(schedule: &Schedule, table: &Timetable, start: DateTime<Utc>) {
    const MINUTES: i64 = 1500;
    let begin = start.timestamp().div_euclid(60) + 1;
    let mut minutes =
        (begin..begin + MINUTES).filter_map(|it| DateTime::from_timestamp(it * 60, 0));
    let matches = |time: &DateTime<Utc>| schedule.cron().is_time_matching(time).unwrap_or(false);
    let expected = minutes.find(|time| matches(time) && time.year() < 5000);
    let found = table.next_after(start).map(|slot| slot.scheduled);
    let found = found.filter(|found| found.timestamp() < (begin + MINUTES) * 60);
    assert_eq!(found, expected, "after {start}");
}

/// The value of an option: of any option.
pub(super) fn arguments(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(duration) = values::duration(text) {
        assert_eq!(values::timeout(text).is_err(), duration.is_zero());
    }
    assert!(values::bytes(text).is_ok_and(|bytes| bytes > 0) || values::bytes(text).is_err());
    assert!(values::positive::<u64>(text).is_err() || values::whole::<u64>(text).is_ok());
    assert!(values::whole::<i64>(text).is_ok() || values::whole::<i8>(text).is_err());
    assert!(values::dataset_id(text).is_err() || values::id(text).is_ok());
    if let Ok(address) = values::address(text) {
        assert_eq!(values::address(&address.to_string()), Ok(address));
    }
    if let Ok(rate) = values::rate(text) {
        assert!(rate.per_second().is_finite() && rate.per_second() >= 1.0 / 3600.0);
        assert_eq!(rate.to_string().parse(), Ok(rate));
    }
    if let Ok(Concurrency::Fixed(number)) = values::concurrency(text) {
        assert!((1..=64).contains(&number.get()));
    }
    assert_eq!(text.parse::<Rate>().is_ok(), values::rate(text).is_ok());
    kept::<Column>(text);
    kept::<Compression>(text);
    kept::<DiffBy>(text);
    kept::<Format>(text);
    kept::<JsonColumns>(text);
    kept::<ParquetEncoding>(text);
    kept::<Source>(text);
    kept::<Stamp>(text);
    shown(text);
    place(text);
}

/// Asserts that a value is read as it is shown.
fn kept<T: FromStr<Err = Error> + Display + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => assert!(value.to_string().parse().is_ok_and(|again: T| again == value)),
        Err(error) => assert!(matches!(error, Error::Invalid { .. }), "{error:?}"),
    }
}

/// Text for people cannot control a terminal, and cleaning it twice changes nothing.
fn shown(shown: &str) {
    let line = text::line(shown);
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert_eq!(text::line(&line), line);
    assert_eq!(text::harmless(shown, usize::MAX), line);
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(shown) {
        let harmless = text::harmless_json(shown);
        // Outside of strings, JSON has only white space.
        let harmless = serde_json::from_str::<serde_json::Value>(&harmless);
        let is_spaced = shown.contains(['\t', '\r']);
        assert!(is_spaced || harmless.is_ok_and(|harmless| harmless == value), "{shown:?}");
    }
}

/// A path or a URL.
fn place(text: &str) {
    let options = StorageOptions::default();
    match Location::parse(text, &options) {
        Ok(place) => {
            let child = place.child("x");
            assert_eq!(child.name(), "x");
            assert_eq!(child.sibling("y").name(), "y");
            assert_eq!(child.sibling("y").sibling("x"), child);
            assert!(child.parent().is_none_or(|parent| parent.name() == place.name()), "{place}");
        }
        Err(error) => {
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            assert_without_password(text, &error);
        }
    }
    match output::target(Path::new(text), &options) {
        Ok(target) => {
            let encoding = output::encoding(&target, None, None).expect("an encoding");
            assert!(!encoding.extension().is_empty());
        }
        Err(error) => {
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            assert_without_password(text, &error);
        }
    }
}

/// Asserts that an error about a URL quotes neither its password nor its query.
fn assert_without_password(text: &str, error: &Error) {
    let (place, query) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let before = place.rsplit_once('@').map_or("", |(before, _)| before);
    let password = before.rsplit([':', '/']).next().unwrap_or_default();
    let told = error.to_string();
    for secret in [password, query.get(1..).unwrap_or_default()] {
        // A short one can be part of any word.
        if secret.len() >= 8 && secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            assert!(text.matches(secret).count() > 1 || !told.contains(secret), "{told}");
        }
    }
}
