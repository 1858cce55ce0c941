//! The plan of an export by many workers: its options, the dataset as it was, and the ranges of pages.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{options::PlannedOptions, place::ClusterOutput};
use crate::{
    destination::{BegunOutput, MOST_RANGES, OutputRequest, opened, sealed, similar_plan},
    error::{Error, Result},
    export::{ExportOptions, ExportPlan, range::RangePages},
    location::Location,
    record::layout::PartLayout,
    text::{counted, grouped},
};

/// Version of the layout of plans.
const FORMAT_VERSION: u32 = 1;

/// The plan as the staging of the output has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredPlan {
    format_version: u32,
    /// Random: two plans with the same options have different ids.
    pub(super) id: String,
    pub(super) begun_at: String,
    /// Number of rows of the dataset.
    pub(super) count: u64,
    pub(super) rows_per_page: u64,
    /// Number of pages after which a part ends in any case. Ranges begin there.
    part_pages: u64,
    /// Number of ranges.
    pub(super) ranges: u32,
    pub(super) layout: PartLayout,
    options: PlannedOptions,
    /// Everything that decides the bytes, as a worker must find it, too.
    fingerprint: Value,
}

impl StoredPlan {
    pub(super) fn new(
        plan: &ExportPlan,
        base_url: &str,
        (count, rows_per_page): (u64, u64),
        (ranges, begun_at): (u32, String),
    ) -> Result<Self> {
        Ok(Self {
            format_version: FORMAT_VERSION,
            id: format!("{:016x}", fastrand::u64(..)),
            begun_at,
            count,
            rows_per_page,
            part_pages: plan.part_grid(rows_per_page).pages,
            ranges,
            layout: plan.wanted().layout,
            options: PlannedOptions::of(&plan.options)?,
            fingerprint: plan.fingerprint(base_url),
        })
    }

    /// Parses a plan. `output` is named in errors.
    pub(super) fn parse(json: &[u8], output: &Path) -> Result<Self> {
        let damaged =
            |why: &str| Error::PlanDamaged { path: output.to_owned(), why: why.to_owned() };
        let plan: Self =
            opened(json).ok_or_else(|| damaged("was changed, or this version cannot read it"))?;
        let is_sound = plan.format_version == FORMAT_VERSION
            && plan.part_pages > 0
            && (1..=MOST_RANGES).contains(&plan.ranges)
            && (plan.rows_per_page > 0 || plan.count == 0)
            && plan.count < 1 << 48
            && plan.layout.is_sound();
        match is_sound {
            true => Ok(plan),
            false => Err(damaged("is of another version")),
        }
    }

    /// Finds the plan of an output. Blocks.
    ///
    /// # Errors
    /// [`Error::PlanEnded`] or [`Error::NoPlan`] if there is none, [`Error::PlanDamaged`] if it was changed.
    pub(super) fn find(output: &ClusterOutput) -> Result<(BegunOutput, Self)> {
        let location = output.location()?;
        let begun = BegunOutput::find(&location)?.ok_or_else(|| no_plan(output, &location))?;
        let plan = Self::parse(begun.plan(), output.given())?;
        Ok((begun, plan))
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        sealed(self)
    }

    /// Describes the first difference to a newer plan; `None` if both are the same export in the same ranges.
    pub(super) fn difference(&self, new: &Self) -> Option<String> {
        if let Some(difference) = self.setting_difference(&new.fingerprint) {
            return Some(difference);
        }
        if self.count != new.count {
            let (then, now) = (counted(self.count, "row"), grouped(new.count));
            return Some(format!("the dataset had {then} then, now it has {now}"));
        }
        if self.ranges != new.ranges {
            let then = counted(self.ranges.into(), "range");
            return Some(format!("it has {then}, now there are {}", grouped(new.ranges.into())));
        }
        let options = |plan: &Self| serde_json::to_value(&plan.options).ok();
        (options(self) != options(new) || self.rows_per_page != new.rows_per_page)
            .then(|| "it has other options".to_owned())
    }

    fn setting_difference(&self, now: &Value) -> Option<String> {
        let (then, now) = (self.fingerprint.as_object()?, now.as_object()?);
        let (key, value) = now.iter().find(|(key, value)| then.get(*key) != Some(value))?;
        let before = then.get(key).unwrap_or(&Value::Null);
        Some(format!("its setting {key} was {before}, now it is {value}"))
    }

    /// Returns the plan of the export on this machine, changed by `change`.
    ///
    /// # Errors
    /// [`Error::Output`] if another version, another API or another key of pseudonyms would give other bytes.
    pub(super) fn export_plan(
        &self,
        output: &ClusterOutput,
        base_url: &str,
        change: impl FnOnce(&mut ExportOptions),
    ) -> Result<ExportPlan> {
        let mut options = self.options.export_options(output)?;
        change(&mut options);
        let plan = ExportPlan::new(options)?;
        match self.setting_difference(&plan.fingerprint(base_url)) {
            None => Ok(plan),
            Some(difference) => Err(Error::Output {
                path: output.given().clone(),
                why: format!("its plan cannot be continued here: {difference}"),
                hint: Some(
                    "every worker needs the version, the base URL and the key of pseudonyms of the plan; \
                     `overmind-export begin` with --restart begins another one",
                ),
                source: None,
            }),
        }
    }

    /// Returns the request for the output, without a look at the key of pseudonyms.
    pub(super) fn request(&self, output: &ClusterOutput) -> Result<OutputRequest> {
        let record = self.options.record();
        let record = record.map(|place| Location::of(place, output.storage_options()));
        let (record, layout) = (record.transpose()?, self.layout.clone());
        Ok(OutputRequest { record, layout, ..output.request()? })
    }

    /// Returns the number of pages of the dataset.
    pub(super) fn pages(&self) -> u64 {
        self.count.div_ceil(self.rows_per_page.max(1)).max(1)
    }

    /// Returns the first and the last page of a range, which counts from 1. `None` if it has no pages, because there are
    /// fewer places where a range can begin than ranges.
    pub(super) fn pages_of(&self, range: u32) -> Option<(u64, u64)> {
        let blocks = u128::from(self.pages().div_ceil(self.part_pages));
        let begin = |range: u32| {
            let block = blocks * u128::from(range) / u128::from(self.ranges);
            u64::try_from(block).unwrap_or(u64::MAX).saturating_mul(self.part_pages)
        };
        let (first, end) = (begin(range.saturating_sub(1)), begin(range).min(self.pages()));
        (first < end).then_some((first + 1, end))
    }

    /// Returns the pages of a range, with what the plan says of them.
    pub(super) fn range_pages(&self, range: u32) -> Option<RangePages> {
        self.pages_of(range).map(|pages| self.with_facts(pages))
    }

    /// Returns all pages.
    pub(super) fn all_pages(&self) -> RangePages {
        self.with_facts((1, self.pages()))
    }

    fn with_facts(&self, (first, last): (u64, u64)) -> RangePages {
        RangePages { first, last, count: self.count, rows_per_page: self.rows_per_page }
    }

    pub(super) fn shown(&self, output: &Path) -> ClusterPlan {
        let range = |range| {
            let pages = self.range_pages(range);
            PlannedRange {
                range,
                first_page: pages.map(|pages| pages.first),
                last_page: pages.map(|pages| pages.last),
                rows: pages.map_or(0, |pages| pages.rows()),
            }
        };
        ClusterPlan {
            plan: self.id.clone(),
            output: output.display().to_string(),
            dataset: self.options.dataset(),
            count: self.count,
            pages: self.pages(),
            rows_per_page: self.rows_per_page,
            ranges: (1..=self.ranges).map(range).collect(),
        }
    }
}

/// The error of a step that finds no plan. If there is no output either, it was not committed, and waiting does not help.
fn no_plan(output: &ClusterOutput, location: &Location) -> Error {
    let path = output.given().clone();
    // If it cannot be listed, it may be there.
    if location.names().is_ok_and(|names| names.is_empty()) {
        // Only a local folder is searched for a similar name. In a store, the listing can be long.
        let similar = location.as_local().and_then(|_| similar_plan(&path));
        return Error::NoPlan { path, similar };
    }
    Error::PlanEnded { path }
}

/// The plan of an export by many workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClusterPlan {
    /// Id of the plan.
    pub plan: String,
    /// The output, as given.
    pub output: String,
    /// The dataset.
    pub dataset: Uuid,
    /// Number of rows of the dataset.
    pub count: u64,
    /// Number of pages of the dataset.
    pub pages: u64,
    /// Number of rows of a full page.
    pub rows_per_page: u64,
    ranges: Vec<PlannedRange>,
}

impl ClusterPlan {
    /// Returns the ranges, in the order of their rows.
    pub fn ranges(&self) -> &[PlannedRange] {
        &self.ranges
    }

    /// Returns the number of ranges without pages. Their workers have nothing to do.
    pub fn without_pages(&self) -> u64 {
        self.ranges.iter().filter(|range| range.first_page.is_none()).count() as u64
    }
}

/// A range of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedRange {
    /// Number of the range, from 1.
    pub range: u32,
    /// Number of its first page, from 1. `None` if it has no pages: a range begins where a part ends, and there are fewer
    /// parts than ranges. Then a worker has nothing to do.
    pub first_page: Option<u64>,
    /// Number of its last page.
    pub last_page: Option<u64>,
    /// Number of rows to read.
    pub rows: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(count: u64, part_pages: u64, ranges: u32) -> StoredPlan {
        let options = ExportOptions::new(Uuid::nil(), "out/");
        StoredPlan {
            format_version: FORMAT_VERSION,
            id: "0".to_owned(),
            begun_at: String::new(),
            count,
            rows_per_page: 100,
            part_pages,
            ranges,
            layout: PartLayout::default(),
            options: PlannedOptions::of(&options).unwrap(),
            fingerprint: Value::Null,
        }
    }

    #[test]
    fn ranges_tile_the_pages_and_begin_with_parts() {
        for (count, part_pages, ranges) in
            [(0, 2500, 1), (1, 1, 3), (10_000, 7, 16), (10_050, 10, 4), (99, 3, 99_999)]
        {
            let plan = plan(count, part_pages, ranges);
            let mut next = 1;
            for (first, last) in (1..=ranges).filter_map(|range| plan.pages_of(range)) {
                assert_eq!(first, next);
                assert!(last >= first);
                assert_eq!((first - 1) % part_pages, 0);
                next = last + 1;
            }
            assert_eq!(next, plan.pages() + 1, "{count} {part_pages} {ranges}");
            let rows = (1..=ranges).filter_map(|range| plan.range_pages(range));
            assert_eq!(rows.map(|range| range.rows()).sum::<u64>(), count);
        }
    }

    #[test]
    fn ranges_have_about_the_same_size() {
        let plan = plan(1_000_000, 10, 16);
        let sizes: Vec<u64> =
            (1..=16).filter_map(|range| plan.pages_of(range)).map(|(a, b)| b - a + 1).collect();
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&620), Some(&630)));
    }
}
