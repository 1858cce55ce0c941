use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, TimeZone};
use proptest::prelude::*;

use super::*;

/// Returns the stamps that stay, newest first, each with its reasons as text.
fn kept(stamps: &[Stamp], keep: Keep, zone: Tz) -> Vec<String> {
    let reasons = decide(stamps, keep, zone);
    let mut kept: Vec<_> = stamps.iter().zip(reasons).filter(|(_, why)| !why.is_empty()).collect();
    kept.sort_by_key(|(stamp, _)| std::cmp::Reverse(**stamp));
    let words = |why: Vec<Reason>| why.iter().map(Reason::to_string).collect::<Vec<_>>().join("; ");
    kept.into_iter().map(|(stamp, why)| format!("{stamp} {}", words(why))).collect()
}

fn stamps(texts: &[&str]) -> Vec<Stamp> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Returns one stamp per night at 02:00 UTC.
fn nights(count: i64) -> Vec<Stamp> {
    let first = chrono_tz::UTC.with_ymd_and_hms(2026, 1, 1, 2, 0, 0).unwrap().to_utc();
    (0..count).map(|night| Stamp::at(first + TimeDelta::days(night))).collect()
}

#[test]
fn counts_thin_out_a_year_of_nights() {
    let keep = Keep { last: 2, daily: 4, weekly: 3, monthly: 4 };
    insta::assert_snapshot!(kept(&nights(365), keep, chrono_tz::UTC).join("\n"), @"
    20261231T020000Z last 1; daily 1; weekly 1; monthly 1
    20261230T020000Z last 2; daily 2
    20261229T020000Z daily 3
    20261228T020000Z daily 4
    20261227T020000Z weekly 2
    20261220T020000Z weekly 3
    20261130T020000Z monthly 2
    20261031T020000Z monthly 3
    20260930T020000Z monthly 4
    ");
}

#[test]
fn short_history_keeps_the_oldest() {
    let keep = Keep { monthly: 12, ..Keep::default() };
    insta::assert_snapshot!(kept(&nights(20), keep, chrono_tz::UTC).join("\n"), @"
    20260120T020000Z monthly 1
    20260101T020000Z monthly 2, the oldest
    ");
}

#[test]
fn daily_takes_newest_snapshot_of_a_day() {
    let times = ["20261101T020000Z", "20261102T010000Z", "20261102T020000Z", "20261103T020000Z"];
    let keep = Keep { daily: 2, ..Keep::default() };
    let kept = kept(&stamps(&times), keep, chrono_tz::UTC);
    assert_eq!(kept, ["20261103T020000Z daily 1", "20261102T020000Z daily 2"]);
}

#[test]
fn days_follow_the_time_zone() {
    // 23:30 and 00:30 in New York: two days there, one day in UTC.
    let times = stamps(&["20261103T043000Z", "20261103T053000Z"]);
    let keep = Keep { daily: 1, ..Keep::default() };
    let zone = chrono_tz::America::New_York;
    assert_eq!(kept(&times, keep, zone), ["20261103T053000Z daily 1"]);
    let keep = Keep { daily: 2, ..keep };
    let both = ["20261103T053000Z daily 1", "20261103T043000Z daily 2"];
    assert_eq!(kept(&times, keep, zone), both);
    let both = ["20261103T053000Z daily 1", "20261103T043000Z daily 2, the oldest"];
    assert_eq!(kept(&times, keep, chrono_tz::UTC), both);
}

fn some_stamps() -> impl Strategy<Value = Vec<Stamp>> {
    let seconds = 1_700_000_000_i64..1_830_000_000;
    prop::collection::btree_set(seconds, 0..80).prop_map(|seconds| {
        let stamp = |second| Stamp::at(DateTime::from_timestamp(second, 0).unwrap());
        seconds.into_iter().map(stamp).collect::<Vec<_>>()
    })
}

fn some_keep() -> impl Strategy<Value = Keep> {
    (0..20_u32, 0..20_u32, 0..20_u32, 0..20_u32).prop_map(|(last, daily, weekly, monthly)| Keep {
        last,
        daily,
        weekly,
        monthly,
    })
}

fn staying(stamps: &[Stamp], keep: Keep, zone: Tz) -> BTreeSet<Stamp> {
    let reasons = decide(stamps, keep, zone);
    stamps.iter().zip(reasons).filter(|(_, why)| !why.is_empty()).map(|(stamp, _)| *stamp).collect()
}

proptest! {
    #[test]
    fn newest_and_last_count_always_stay(
        stamps in some_stamps(), keep in some_keep(), zone in prop::sample::select(&chrono_tz::TZ_VARIANTS[..])
    ) {
        let staying = staying(&stamps, keep, zone);
        prop_assert_eq!(staying.last(), stamps.last());
        let last = stamps.iter().rev().take(keep.last as usize);
        prop_assert!(last.into_iter().all(|stamp| staying.contains(stamp)));
        let most = 1 + [keep.last, keep.daily, keep.weekly, keep.monthly].iter().sum::<u32>();
        prop_assert!(staying.len() <= most as usize);
    }

    #[test]
    fn larger_counts_never_remove_more(
        stamps in some_stamps(), keep in some_keep(), more in some_keep(), zone in prop::sample::select(&chrono_tz::TZ_VARIANTS[..])
    ) {
        let larger = Keep {
            last: keep.last + more.last,
            daily: keep.daily + more.daily,
            weekly: keep.weekly + more.weekly,
            monthly: keep.monthly + more.monthly,
        };
        prop_assert!(staying(&stamps, keep, zone).is_subset(&staying(&stamps, larger, zone)));
    }

    #[test]
    fn second_decision_removes_nothing(
        stamps in some_stamps(), keep in some_keep(), zone in prop::sample::select(&chrono_tz::TZ_VARIANTS[..])
    ) {
        let once = staying(&stamps, keep, zone);
        let stamps: Vec<Stamp> = once.iter().copied().collect();
        prop_assert_eq!(staying(&stamps, keep, zone), once);
    }

    #[test]
    fn decision_is_independent_of_order(
        stamps in some_stamps(), keep in some_keep()
    ) {
        let backwards: Vec<Stamp> = stamps.iter().rev().copied().collect();
        let zone = chrono_tz::Europe::London;
        prop_assert_eq!(staying(&stamps, keep, zone), staying(&backwards, keep, zone));
    }
}
