//! The record of a finished range of pages, in an output that many workers write.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{KeptPart, opened, sealed::check_size};
use crate::{
    error::{Error, Result},
    record::layout::{PartLayout, is_part_path},
};

/// Most ranges of a plan: a range has five digits in the names of its parts.
pub(crate) const MOST_RANGES: u32 = 99_999;

/// Most names that a worker tries for the record of its range.
const MOST_ATTEMPTS: u32 = 1000;

/// The record of a range whose parts are all staged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RangeRecord {
    /// Id of the plan.
    pub(crate) plan: String,
    /// Number of the range, from 1.
    pub(crate) range: u32,
    /// Number of the records of this range before, which can no longer be used.
    pub(crate) attempt: u32,
    /// Token of the worker. It is in the names of everything that the worker has staged.
    pub(crate) token: String,
    pub(crate) first_page: u64,
    pub(crate) last_page: u64,
    /// The `order` of the first row.
    pub(crate) first_order: Option<i64>,
    /// The parts, in the order of their rows; those of the same pages in the order of their folders.
    pub(crate) parts: Vec<KeptPart>,
}

impl RangeRecord {
    /// Parses a record; `None` if no worker wrote it, or if it was changed since.
    pub(super) fn parse(json: &[u8], width: usize) -> Option<Self> {
        opened(json).filter(|record: &Self| record.is_sound(width))
    }

    /// Whether the parts follow each other from the first page of the range to its last. `width` is the number of parts
    /// that have the same pages.
    fn is_sound(&self, width: usize) -> bool {
        let mut next = self.first_page;
        let follow = self.parts.chunks(width).all(|group| {
            let Some(first) = group.first() else { return false };
            let pages = |kept: &KeptPart| (kept.part.first_page, kept.part.last_page);
            let is_next = first.part.first_page == next && group.len() == width;
            next = first.part.last_page.saturating_add(1);
            is_next && group.iter().all(|kept| pages(kept) == pages(first))
        });
        let are_sound = |kept: &KeptPart| kept.is_sound() && is_part_path(&kept.part.path);
        let is_token =
            !self.token.is_empty() && self.token.bytes().all(|byte| byte.is_ascii_hexdigit());
        follow
            && is_token
            && !self.parts.is_empty()
            && next == self.last_page.saturating_add(1)
            && self.parts.iter().all(are_sound)
    }

    /// Returns the number of rows that were read.
    pub(crate) fn rows_read(&self, width: usize) -> u64 {
        let groups = self.parts.iter().step_by(width.max(1));
        groups.fold(0, |sum, kept| sum.saturating_add(kept.part.rows_read))
    }
}

/// A record as it was found.
#[derive(Debug, Clone)]
pub(crate) struct FoundRange {
    pub(crate) record: RangeRecord,
    /// Why its parts can no longer be used, as far as a look at their names shows.
    pub(crate) problem: Option<String>,
}

/// The checked parts of a range; or why a commit cannot use them.
pub(super) type RangeCheck<T> = std::result::Result<T, String>;

/// The records of an output, as they were found.
#[derive(Debug, Default)]
pub(crate) struct FoundRanges {
    /// In the order of their ranges and attempts.
    pub(crate) ranges: Vec<FoundRange>,
    /// The ranges with a record that no worker wrote, or that was changed since.
    pub(crate) damaged: BTreeSet<u32>,
    /// Whether a commit has begun to publish the parts. Then some of them are no longer where a worker has staged them.
    pub(crate) is_committing: bool,
}

impl FoundRanges {
    /// Adds a record that was read under the name of this range.
    pub(super) fn add(&mut self, range: u32, found: Option<FoundRange>) {
        match found {
            Some(found) => self.ranges.push(found),
            None => drop(self.damaged.insert(range)),
        }
    }
}

/// Refuses a plan that no worker would read, because it has more than `most` bytes.
pub(super) fn check_plan_size(plan: &[u8], most: u64, output: &Path) -> Result<()> {
    let hint =
        "its options are too long: give shorter expressions, or a `schema` with fewer columns";
    check_size("the plan", plan, most, (output, hint))
}

/// Refuses the record of a range that no commit would read, because it has more than `most` bytes.
pub(super) fn check_record_size(range: u32, json: &[u8], most: u64, output: &Path) -> Result<()> {
    let hint = "begin again with more ranges, or with more rows in each file";
    check_size(&format!("the record of range {range}"), json, most, (output, hint))
}

/// Returns the range in the name of a record: `range-00003-` and more.
pub(super) fn range_in(name: &str) -> Option<u32> {
    name.strip_prefix("range-")?.split_once('-')?.0.parse().ok()
}

/// What a worker wants to write.
#[derive(Debug, Clone)]
pub(crate) struct WantedRange {
    /// Id of the plan.
    pub(crate) plan: String,
    /// Number of the range, from 1.
    pub(crate) range: u32,
    /// Its first and its last page.
    pub(crate) pages: (u64, u64),
    /// Number of rows on these pages.
    pub(crate) rows: u64,
    pub(crate) layout: PartLayout,
}

impl WantedRange {
    /// Whether a commit takes this record for that of the range, if its parts are intact.
    pub(super) fn is_recorded_by(&self, record: &RangeRecord) -> bool {
        (&record.plan, record.range) == (&self.plan, self.range)
            && (record.first_page, record.last_page) == self.pages
            && record.rows_read(self.layout.width()) == self.rows
    }

    /// Returns the number of the next attempt to create the record, because another program has taken the name of the
    /// last one. `first` is the number of the first attempt.
    ///
    /// # Errors
    /// [`Error::Damaged`] after many attempts.
    pub(super) fn next_attempt(&self, last: u32, first: u32, output: PathBuf) -> Result<u32> {
        let next = last.checked_add(1).filter(|next| next - first < MOST_ATTEMPTS);
        next.ok_or_else(|| Error::Damaged {
            path: output,
            why: format!(
                "other programs have taken the names of the records of range {}",
                self.range
            ),
        })
    }
}

/// What a run does with a plan for many workers at its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlanUse {
    /// It refuses an output with a plan.
    Refuse,
    /// It begins the plan, ends it, or leaves it alone.
    Allow,
    /// It commits the plan, whose options are fixed.
    Commit,
}

impl PlanUse {
    /// Returns the hint for an output that exists and may not be replaced: `otherwise`, unless this run lacks `overwrite`.
    pub(super) fn hint_of_existing(self, otherwise: &'static str) -> &'static str {
        match self {
            Self::Refuse | Self::Allow => otherwise,
            Self::Commit => {
                "move it away and run `overmind-export commit` again; or give the export up with `overmind-export abort`, \
                 and begin again with `overwrite`"
            }
        }
    }
}

/// What to do with a plan that is there, and with the parts of an interrupted export.
pub(crate) struct PlanStart<'a> {
    /// Whether to remove them.
    pub(crate) restart: bool,
    /// Returns how the plan that is there differs from the new one; `None` if it is the same.
    pub(crate) difference: &'a dyn Fn(&[u8]) -> Option<String>,
}

/// The error of an output with a plan that another command wants to write.
pub(super) fn is_planned(output: PathBuf) -> Error {
    Error::Output {
        path: output,
        why: "many workers are exporting to it: a plan was begun there".to_owned(),
        hint: Some(
            "`overmind-export commit` publishes it, `overmind-export abort` gives it up; or write somewhere else",
        ),
        source: None,
    }
}
