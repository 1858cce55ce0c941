//! Chooses the record of each range, and names the ranges that are missing or cannot be used.

use std::collections::BTreeMap;

use super::plan::StoredPlan;
use crate::{
    destination::{FoundRange, FoundRanges, RangeRecord},
    export::range::RangePages,
    text::{counted, grouped},
};

/// A range with pages, and its record; or why it must be written again.
pub(super) struct CoveredRange {
    pub(super) range: u32,
    pub(super) pages: RangePages,
    pub(super) record: Result<RangeRecord, RangeProblem>,
    /// Number of parts of its record, also if they cannot be used.
    pub(super) parts: usize,
}

/// Why a range must be written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RangeProblem {
    Missing,
    /// It has a record, but its parts cannot be used.
    Unusable(String),
}

impl CoveredRange {
    /// Describes the problem of the range, if it has one.
    pub(super) fn problem(&self, plan: &StoredPlan) -> Option<String> {
        let problem = self.record.as_ref().err()?;
        let RangePages { first, last, .. } = self.pages;
        let pages = match first == last {
            true => format!("range {} of {}: page {first}", self.range, plan.ranges),
            false => format!("range {} of {}: pages {first} to {last}", self.range, plan.ranges),
        };
        let verb = if first == last { "is" } else { "are" };
        Some(match problem {
            RangeProblem::Missing => format!("{pages} {verb} missing"),
            RangeProblem::Unusable(why) => format!("{pages} cannot be used: {why}"),
        })
    }
}

/// Returns the ranges of a plan that have pages, in order. `width` is the number of parts of the same pages.
pub(super) fn covered(plan: &StoredPlan, found: FoundRanges, width: usize) -> Vec<CoveredRange> {
    let FoundRanges { ranges: found, damaged, .. } = found;
    let of_plan = found.into_iter().filter(|found| found.record.plan == plan.id);
    let mut by_range = BTreeMap::<u32, Vec<FoundRange>>::new();
    of_plan.for_each(|found| by_range.entry(found.record.range).or_default().push(found));
    let ranges = (1..=plan.ranges).filter_map(|range| Some((range, plan.range_pages(range)?)));
    let ranges = ranges.map(|(range, pages)| {
        let mut record = Err(match damaged.contains(&range) {
            true => RangeProblem::Unusable("its record was changed".to_owned()),
            false => RangeProblem::Missing,
        });
        let mut parts = 0;
        let mut own = by_range.remove(&range).unwrap_or_default();
        // The last record of a range is the one that replaces the others.
        own.sort_by_key(|found| found.record.attempt);
        for found in own {
            parts = found.record.parts.len();
            let problem = found.problem.or_else(|| wrong(&found.record, pages, width));
            match problem {
                None => record = Ok(found.record),
                Some(why) if record.is_err() => record = Err(RangeProblem::Unusable(why)),
                Some(_) => {}
            }
        }
        CoveredRange { range, pages, record, parts }
    });
    ranges.collect()
}

/// Returns why a record cannot be that of these pages.
fn wrong(record: &RangeRecord, pages: RangePages, width: usize) -> Option<String> {
    let rows = record.rows_read(width);
    if (record.first_page, record.last_page) != (pages.first, pages.last) {
        let RangeRecord { first_page, last_page, .. } = record;
        return Some(format!("its record has the pages {first_page} to {last_page}"));
    }
    (rows != pages.rows()).then(|| {
        let rows = counted(rows, "row");
        format!("its parts have {rows}, and the plan {}", grouped(pages.rows()))
    })
}
