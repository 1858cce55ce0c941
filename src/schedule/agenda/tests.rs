use std::time::Duration;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn entry(name: &str, schedule: &str, catch_up: bool) -> AgendaEntry<()> {
    let cron = schedule.parse().unwrap();
    let timetable = Timetable::new(name, &cron, chrono_tz::UTC, Duration::ZERO);
    AgendaEntry { name: name.to_owned(), timetable, catch_up, job: () }
}

/// Creates an agenda of these jobs at the time `now`. Each job last ran at `last_run`.
fn agenda(entries: Vec<AgendaEntry<()>>, now: &str, last_run: Option<&str>) -> Agenda<()> {
    let mut agenda = Agenda::new(4);
    let last_runs = entries.iter().filter_map(|it| Some((it.name.clone(), at(last_run?))));
    let last_runs = last_runs.collect();
    agenda.replace(entries, at(now), &last_runs);
    agenda
}

/// Returns the events up to now in short form.
fn events(agenda: &mut Agenda<()>, now: &str) -> Vec<String> {
    let hour = |slot: Slot| slot.scheduled.format("%dT%H:%M").to_string();
    let text = |event| match event {
        AgendaEvent::Start { name, slot, missed, .. } => {
            format!("start {name} {} +{missed}", hour(slot))
        }
        AgendaEvent::Busy { name, slot, .. } => format!("busy {name} {}", hour(slot)),
        AgendaEvent::Missed { name, slot, missed } => {
            format!("missed {name} {} {missed}", hour(slot))
        }
    };
    agenda.due(at(now)).into_iter().map(text).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn job_runs_once_at_its_time() {
    let mut agenda = agenda(vec![entry("a", "0 2 * * *", true)], "2026-11-20T12:00:00Z", None);
    assert_eq!(agenda.wakes(), Some(at("2026-11-21T02:00:00Z")));
    assert_eq!(events(&mut agenda, "2026-11-21T01:59:59.999Z"), NONE);
    assert_eq!(events(&mut agenda, "2026-11-21T02:00:00Z"), ["start a 21T02:00 +0"]);
    agenda.ended("a");
    assert_eq!(events(&mut agenda, "2026-11-21T02:00:00.001Z"), NONE);
    assert_eq!(agenda.wakes(), Some(at("2026-11-22T02:00:00Z")));
}

#[test]
fn downtime_is_caught_up_by_one_run() {
    let jobs = vec![entry("a", "0 2 * * *", true)];
    let mut agenda = agenda(jobs, "2026-11-24T12:00:00Z", Some("2026-11-20T02:00:07Z"));
    assert_eq!(events(&mut agenda, "2026-11-24T12:00:00Z"), ["start a 24T02:00 +3"]);
    agenda.ended("a");
    assert_eq!(events(&mut agenda, "2026-11-24T12:30:00Z"), NONE);
    assert_eq!(agenda.wakes(), Some(at("2026-11-25T02:00:00Z")));
}

#[test]
fn no_catch_up_if_disabled_or_never_run() {
    let last = Some("2026-11-20T02:00:07Z");
    let mut unasked = agenda(vec![entry("a", "0 2 * * *", false)], "2026-11-24T12:00:00Z", last);
    assert_eq!(events(&mut unasked, "2026-11-24T12:00:00Z"), NONE);
    let mut new = agenda(vec![entry("a", "0 2 * * *", true)], "2026-11-24T12:00:00Z", None);
    assert_eq!(events(&mut new, "2026-11-24T12:00:00Z"), NONE);
    assert_eq!(events(&mut new, "2026-11-25T02:00:00Z"), ["start a 25T02:00 +0"]);
}

#[test]
fn suspended_machine_catches_up_or_reports_misses() {
    let jobs = vec![entry("a", "0 2 * * *", true), entry("b", "30 2 * * *", false)];
    let mut agenda = agenda(jobs, "2026-11-20T12:00:00Z", None);
    assert_eq!(
        events(&mut agenda, "2026-11-23T08:00:00Z"),
        ["start a 23T02:00 +2", "missed b 23T02:30 3"]
    );
    // Four minutes late still counts as on time.
    assert_eq!(events(&mut agenda, "2026-11-24T02:34:00Z")[1..], ["start b 24T02:30 +0"]);
}

#[test]
fn run_longer_than_interval_is_followed_by_one_run() {
    for catch_up in [true, false] {
        let jobs = vec![entry("a", "*/10 * * * *", catch_up)];
        let mut agenda = agenda(jobs, "2026-11-20T12:05:00Z", None);
        assert_eq!(events(&mut agenda, "2026-11-20T12:10:00Z"), ["start a 20T12:10 +0"]);
        assert_eq!(events(&mut agenda, "2026-11-20T12:20:00Z"), ["busy a 20T12:20"]);
        // The event comes once, and there is no wake-up until the run has ended.
        assert_eq!(events(&mut agenda, "2026-11-20T12:30:00Z"), NONE);
        assert_eq!(agenda.wakes(), None);
        agenda.ended("a");
        assert_eq!(events(&mut agenda, "2026-11-20T12:47:00Z"), ["start a 20T12:40 +2"]);
        agenda.ended("a");
        assert_eq!(events(&mut agenda, "2026-11-20T12:49:00Z"), NONE);
        assert_eq!(events(&mut agenda, "2026-11-20T12:50:00Z"), ["start a 20T12:50 +0"]);
    }
}

#[test]
fn jobs_above_the_limit_wait_for_a_free_place() {
    let jobs = ["a", "b", "c"].map(|name| entry(name, "0 2 * * *", false));
    let mut agenda = agenda(jobs.into(), "2026-11-20T12:00:00Z", None);
    agenda.side_by_side = 2;
    assert_eq!(
        events(&mut agenda, "2026-11-21T02:00:00Z"),
        ["start a 21T02:00 +0", "start b 21T02:00 +0"]
    );
    assert_eq!(events(&mut agenda, "2026-11-21T02:30:00Z"), NONE);
    agenda.ended("b");
    // Hours later the delay still does not count as downtime.
    assert_eq!(events(&mut agenda, "2026-11-21T06:00:00Z"), ["start c 21T02:00 +0"]);
}

#[test]
fn reload_keeps_past_and_active_runs() {
    let jobs = || vec![entry("a", "0 2 * * *", true), entry("b", "0 2 * * *", true)];
    let mut agenda = agenda(jobs(), "2026-11-20T12:00:00Z", None);
    assert_eq!(events(&mut agenda, "2026-11-21T02:00:00Z").len(), 2);
    agenda.ended("a");
    // Remove `b` from the file and add it again while it runs.
    let long_ago = ["a", "b"].map(|name| (name.to_owned(), at("2026-01-01T00:00:00Z"))).into();
    agenda.replace(vec![entry("a", "0 2 * * *", true)], at("2026-11-21T02:01:00Z"), &long_ago);
    assert_eq!(events(&mut agenda, "2026-11-21T02:02:00Z"), NONE);
    agenda.replace(jobs(), at("2026-11-21T02:03:00Z"), &long_ago);
    assert_eq!(events(&mut agenda, "2026-11-21T02:03:00Z"), NONE);
    assert_eq!(
        events(&mut agenda, "2026-11-22T02:00:00Z"),
        ["start a 22T02:00 +0", "busy b 22T02:00"]
    );
}

#[test]
fn new_schedule_skips_times_already_past() {
    let mut agenda = agenda(vec![entry("a", "0 22 * * *", true)], "2026-11-20T12:00:00Z", None);
    let changed = vec![entry("a", "0 9 * * *", true)];
    agenda.replace(changed, at("2026-11-20T15:00:00Z"), &BTreeMap::new());
    assert_eq!(events(&mut agenda, "2026-11-20T15:00:00Z"), NONE);
    assert_eq!(agenda.wakes(), Some(at("2026-11-21T09:00:00Z")));
}

#[test]
fn due_run_survives_a_new_schedule() {
    let mut waits = agenda(vec![entry("a", "0 2 * * *", true)], "2026-11-20T12:00:00Z", None);
    assert_eq!(events(&mut waits, "2026-11-21T02:00:00Z"), ["start a 21T02:00 +0"]);
    assert_eq!(events(&mut waits, "2026-11-22T02:00:00Z"), ["busy a 22T02:00"]);
    let changed = |schedule| vec![entry("a", schedule, false)];
    waits.replace(changed("*/15 * * * *"), at("2026-11-22T02:20:00Z"), &BTreeMap::new());
    waits.ended("a");
    // No run of the new timetable counts as missed.
    assert_eq!(events(&mut waits, "2026-11-22T02:21:00Z"), ["start a 22T02:00 +0"]);
    assert_eq!(waits.wakes(), Some(at("2026-11-22T02:30:00Z")));

    let mut late = entry("a", "0 2 * * *", true);
    let cron = "0 2 * * *".parse().unwrap();
    late.timetable = Timetable::new("a", &cron, chrono_tz::UTC, Duration::from_secs(3600));
    let slot = late.timetable.next_after(at("2026-11-21T00:00:00Z")).unwrap();
    assert!(slot.starts > at("2026-11-21T02:00:01Z"));
    let mut jittered = agenda(vec![late], "2026-11-21T00:00:00Z", None);
    jittered.replace(changed("0 9 * * *"), at("2026-11-21T02:00:01Z"), &BTreeMap::new());
    assert_eq!(jittered.wakes(), Some(slot.starts));
    let started = jittered.due(slot.starts);
    assert!(
        matches!(&started[..], [AgendaEvent::Start { slot: it, .. }] if *it == slot),
        "{started:?}"
    );
    assert_eq!(jittered.wakes(), Some(at("2026-11-21T09:00:00Z")));
}

#[test]
fn clock_set_back_neither_repeats_nor_blocks_runs() {
    let mut agenda = agenda(vec![entry("a", "0 2 * * *", true)], "2026-11-20T12:00:00Z", None);
    assert_eq!(events(&mut agenda, "2026-11-21T02:00:00Z").len(), 1);
    agenda.ended("a");
    assert_eq!(events(&mut agenda, "2026-11-21T01:30:00Z"), NONE);
    assert_eq!(events(&mut agenda, "2026-11-21T02:00:00Z"), NONE);
    assert_eq!(events(&mut agenda, "2036-11-21T02:00:00Z").len(), 1);
    agenda.ended("a");
    assert_eq!(events(&mut agenda, "2026-11-22T01:00:00Z"), NONE);
    assert_eq!(events(&mut agenda, "2026-11-22T02:00:00Z"), ["start a 22T02:00 +0"]);
}
