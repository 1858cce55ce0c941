//! Decides which snapshots stay, from their stamps alone. Deletes nothing.
//!
//! The algorithm is that of restic. Each count walks from the newest snapshot to the oldest. It takes the
//! newest snapshot of each period that has one, until the count is used up. A count that is not used up
//! also takes the oldest snapshot, so that a short history keeps its first snapshot. A snapshot stays if
//! any count takes it.

#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{Datelike, NaiveDate};
use chrono_tz::Tz;

use crate::{config::Keep, record::stamp::Stamp};

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is the newest snapshot, which always stays.
    Newest,
    /// A count takes the snapshot.
    Count {
        rule: &'static str,
        /// The snapshot's position in that count, from 1.
        place: u32,
        /// Whether the count takes it as the oldest of all snapshots, not as the newest of its period.
        oldest: bool,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("the newest"),
            Self::Count { rule, place, oldest: false } => write!(f, "{rule} {place}"),
            Self::Count { rule, place, oldest: true } => write!(f, "{rule} {place}, the oldest"),
        }
    }
}

/// Returns the reasons why each snapshot stays, in the given order. A snapshot without a reason is expired.
///
/// Days, weeks and months are those of the time zone `zone`. Weeks begin on Monday.
pub(crate) fn decide(stamps: &[Stamp], keep: Keep, zone: Tz) -> Vec<Vec<Reason>> {
    let mut reasons = vec![Vec::new(); stamps.len()];
    let mut newest_first: Vec<usize> = (0..stamps.len()).collect();
    newest_first.sort_by_key(|index| std::cmp::Reverse(stamps[*index]));
    let week = |day: NaiveDate| day.week(chrono::Weekday::Mon).checked_first_day();
    let periods = |stamp: Stamp| {
        let day = stamp.time().with_timezone(&zone).date_naive();
        [Some(day), week(day), day.with_day(1)]
    };
    let rules = [("daily", keep.daily), ("weekly", keep.weekly), ("monthly", keep.monthly)];
    for (place, index) in (1..=keep.last).zip(&newest_first) {
        reasons[*index].push(Reason::Count { rule: "last", place, oldest: false });
    }
    for (which, (rule, count)) in rules.into_iter().enumerate() {
        let (mut place, mut before) = (0, None);
        for (number, index) in newest_first.iter().enumerate() {
            if place == count {
                break;
            }
            let now = Some(periods(stamps[*index])[which]);
            let is_oldest = number + 1 == newest_first.len();
            if now != before || is_oldest {
                place += 1;
                let oldest = now == before;
                reasons[*index].push(Reason::Count { rule, place, oldest });
                before = now;
            }
        }
    }
    if let Some(newest) = newest_first.first().filter(|newest| reasons[**newest].is_empty()) {
        reasons[*newest].push(Reason::Newest);
    }
    reasons
}
