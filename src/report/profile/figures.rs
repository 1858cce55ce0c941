//! Figures about many values in bounded memory: distinct values, common values, and lengths.

use std::collections::HashSet;

use datasketches::{
    frequencies::{ErrorType, FrequentItemsSketch},
    hll::{HllSketch, HllType, HllUnion},
};
use hdrhistogram::Histogram;
use twox_hash::XxHash3_64;

use crate::error::{Error, Result};

/// Distinct values that are counted exactly: 16,384, with 8 bytes each.
const FEW: usize = 16 << 10;
/// Registers of the HyperLogLog sketch, as a power of two: 2¹⁴ registers have a standard error of 0.8 %.
const LOG_REGISTERS: u8 = 14;
/// Size of the map of common values: counts are exact up to three quarters of it, 1,536 values.
const COMMON_MAP: usize = 2048;
/// Longest value that is counted by its text, in bytes.
const LONGEST_COMMON: usize = 256;
/// Decimal digits of a length that the histogram keeps. Lengths below 256 are exact.
const LENGTH_DIGITS: u8 = 2;
/// Lengths that are kept one by one, for an exact median: 4,096.
const FEW_LENGTHS: usize = 4096;
/// Most bars of a histogram.
const MOST_BARS: usize = 28;

/// The number of distinct values: exact if they are few, or else estimated by HyperLogLog.
#[derive(Debug)]
pub(crate) struct DistinctValues {
    few: HashSet<u64>,
    is_many: bool,
    sketch: HllSketch,
}

impl DistinctValues {
    pub(crate) fn new() -> Result<Self> {
        let sketch = HllSketch::new(LOG_REGISTERS, HllType::Hll8).map_err(internal)?;
        Ok(Self { few: HashSet::new(), is_many: false, sketch })
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let hash = XxHash3_64::oneshot(bytes);
        self.sketch.update(hash);
        if !self.is_many {
            self.few.insert(hash);
            self.bound();
        }
    }

    fn bound(&mut self) {
        if self.few.len() > FEW {
            (self.few, self.is_many) = (HashSet::new(), true);
        }
    }

    pub(crate) fn join(&mut self, other: &Self) -> Result<()> {
        let mut union = HllUnion::new(LOG_REGISTERS).map_err(internal)?;
        union.update(&self.sketch);
        union.update(&other.sketch);
        self.sketch = union.to_sketch(HllType::Hll8);
        self.is_many |= other.is_many;
        match self.is_many {
            true => self.few.clear(),
            false => self.few.extend(&other.few),
        }
        self.bound();
        Ok(())
    }

    /// Returns the number of distinct values, and whether it is exact.
    pub(crate) fn count(&self) -> (u64, bool) {
        match self.is_many {
            // This estimate depends only on the values, and not on their order.
            true => (self.sketch.composite_estimate().round() as u64, false),
            false => (self.few.len() as u64, true),
        }
    }
}

/// The most common of many values, with their counts.
#[derive(Debug)]
pub(crate) struct CommonValues {
    sketch: FrequentItemsSketch<String>,
    /// Number of values that are too long to be counted.
    long: u64,
}

impl CommonValues {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { sketch: FrequentItemsSketch::new(COMMON_MAP).map_err(internal)?, long: 0 })
    }

    pub(crate) fn add(&mut self, value: &str) {
        match value.len() <= LONGEST_COMMON {
            true => self.sketch.update_ref(value),
            false => self.long += 1,
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.sketch.merge(&other.sketch);
        self.long += other.long;
    }

    /// Number of values that were added.
    pub(crate) fn total(&self) -> u64 {
        self.sketch.total_weight() + self.long
    }

    /// Returns the values and their counts, the most common first. If counts are estimates, a value that may occur only once
    /// is left out: its count is the error of the sketch.
    pub(crate) fn top(&self, most: usize) -> Vec<(String, u64)> {
        let found = self.sketch.frequent_items(ErrorType::NoFalseNegatives);
        let is_exact = self.is_exact();
        let found = found.iter().filter(|row| is_exact || row.lower_bound() > 1);
        let mut found: Vec<_> = found.map(|row| (row.item().clone(), row.estimate())).collect();
        found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        found.truncate(most);
        found
    }

    /// Returns the number of times that no value exceeds.
    pub(crate) fn most(&self) -> u64 {
        let found = self.sketch.frequent_items(ErrorType::NoFalseNegatives);
        let most = found.iter().map(|row| row.upper_bound()).max();
        most.unwrap_or(0).max(self.sketch.maximum_error())
    }

    /// Whether the counts are exact: none made room for others.
    pub(crate) fn is_exact(&self) -> bool {
        self.most_error() == 0
    }

    /// Returns by how many a count can be too large. The count of a value without one is at most this.
    pub(crate) fn most_error(&self) -> u64 {
        self.sketch.maximum_error()
    }

    /// Number of values that are too long to be counted by their text.
    pub(crate) fn long(&self) -> u64 {
        self.long
    }

    /// Number of different values that have a count.
    pub(crate) fn different(&self) -> usize {
        self.sketch.num_active_items()
    }
}

/// A row with the longest or the shortest value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtremeRow {
    pub(crate) length: u64,
    /// Number of the row, from 1.
    pub(crate) row: u64,
    pub(crate) id: String,
}

/// Whether a length is an extreme one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extremes {
    pub(crate) is_shortest: bool,
    pub(crate) is_longest: bool,
}

/// How long values are.
#[derive(Debug)]
pub(crate) struct Lengths {
    histogram: Histogram<u64>,
    /// All lengths, as long as they are few.
    few: Vec<u64>,
    pub(crate) longest: Option<ExtremeRow>,
    pub(crate) shortest: Option<ExtremeRow>,
}

/// A bar of a histogram: the lengths from `low` to `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LengthBar {
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) rows: u64,
}

impl Lengths {
    pub(crate) fn new() -> Result<Self> {
        let histogram = Histogram::new(LENGTH_DIGITS).map_err(internal)?;
        Ok(Self { histogram, few: Vec::new(), longest: None, shortest: None })
    }

    /// Adds a length. Returns whether it is longer or shorter than all before.
    pub(crate) fn add(&mut self, length: u64, row: u64, id: &str) -> Extremes {
        if self.histogram.len() < FEW_LENGTHS as u64 {
            self.few.push(length);
        } else {
            self.few = Vec::new();
        }
        // It grows with the values. Without memory for that, the value counts as the largest one.
        if self.histogram.record(length).is_err() {
            self.histogram.saturating_record(length);
        }
        let extreme = || Some(ExtremeRow { length, row, id: id.to_owned() });
        let is_longest = self.longest.as_ref().is_none_or(|it| length > it.length);
        if is_longest {
            self.longest = extreme();
        }
        let is_shortest = self.shortest.as_ref().is_none_or(|it| length < it.length);
        if is_shortest {
            self.shortest = extreme();
        }
        Extremes { is_shortest, is_longest }
    }

    pub(crate) fn join(&mut self, other: Self) -> Result<()> {
        self.histogram.add(&other.histogram).map_err(internal)?;
        self.few.extend(other.few);
        if self.histogram.len() > FEW_LENGTHS as u64 {
            self.few = Vec::new();
        }
        let rows = |extremes: [Option<ExtremeRow>; 2]| extremes.into_iter().flatten();
        let longest = rows([self.longest.take(), other.longest]);
        self.longest = longest.min_by_key(|it| (std::cmp::Reverse(it.length), it.row));
        let shortest = rows([self.shortest.take(), other.shortest]);
        self.shortest = shortest.min_by_key(|it| (it.length, it.row));
        Ok(())
    }

    /// Returns the number of values.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns the median, and whether it is exact; otherwise it is to within 1 %.
    pub(crate) fn median(&self) -> (u64, bool) {
        if !self.few.is_empty() {
            let mut few = self.few.clone();
            few.sort_unstable();
            return (few.get((few.len() - 1) / 2).copied().unwrap_or_default(), true);
        }
        let value = self.histogram.value_at_quantile(0.5);
        // The end of its range in the histogram can be beyond the longest value.
        let value = value.min(self.longest.as_ref().map_or(value, |it| it.length));
        let is_equal =
            self.shortest.as_ref().map(|it| it.length) == self.longest.as_ref().map(|it| it.length);
        (value, value < 256 || is_equal)
    }

    /// Returns the bars, each at most a quarter of its octave wide. Their borders are those of the histogram, so the
    /// counts are exact.
    pub(crate) fn bars(&self) -> Vec<LengthBar> {
        let (Some(shortest), Some(longest)) = (&self.shortest, &self.longest) else {
            return Vec::new();
        };
        let (shortest, longest) = (shortest.length, longest.length);
        let of = |steps: u64| {
            let mut bars = Vec::new();
            let (mut low, mut width) = (0_u64, 1_u64);
            while low <= longest {
                if low >= 2 * steps * width {
                    width *= 2;
                }
                let high = low + width - 1;
                if high >= shortest {
                    bars.push(LengthBar { low, high, rows: 0 });
                }
                low += width;
            }
            bars
        };
        let steps = [64, 32, 16, 8, 4, 2, 1];
        let mut bars = steps.map(of).into_iter().find(|bars| bars.len() <= MOST_BARS);
        let bars = bars.get_or_insert_with(|| of(1));
        for value in self.histogram.iter_recorded() {
            let low = self.histogram.lowest_equivalent(value.value_iterated_to());
            if let Some(bar) = bars.iter_mut().find(|bar| bar.low <= low && low <= bar.high) {
                bar.rows += value.count_since_last_iteration();
            }
        }
        std::mem::take(bars)
    }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("a figure of the report: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_values_are_exact_and_then_estimated() {
        let (mut left, mut right) =
            (DistinctValues::new().unwrap(), DistinctValues::new().unwrap());
        (0..600_u32).for_each(|it| left.add(&it.to_le_bytes()));
        (300..900_u32).for_each(|it| right.add(&it.to_le_bytes()));
        left.join(&right).unwrap();
        assert_eq!(left.count(), (900, true));
        (0..200_000_u32).for_each(|it| right.add(&it.to_le_bytes()));
        left.join(&right).unwrap();
        let (count, is_exact) = left.count();
        assert!(!is_exact && (194_000..=206_000).contains(&count), "{count}");
    }

    #[test]
    fn bars_count_every_length_once() {
        for (lengths, most) in [
            (vec![0, 0, 1, 5, 9, 100, 101], 28),
            ((900..1100).collect::<Vec<u64>>(), 28),
            ((0..200_000).step_by(7).collect(), 28),
            (vec![1_000_000], 28),
            (vec![0, 64 << 20], 28),
        ] {
            let mut found = Lengths::new().unwrap();
            for (row, length) in lengths.iter().enumerate() {
                found.add(*length, row as u64 + 1, "");
            }
            let mut sorted = lengths.clone();
            sorted.sort_unstable();
            let (median, is_exact) = found.median();
            let expected = sorted[(sorted.len() - 1) / 2];
            assert!(median.abs_diff(expected) * 100 <= expected, "{median}, {expected}");
            assert_eq!(is_exact, lengths.len() <= FEW_LENGTHS);
            let bars = found.bars();
            assert!(bars.len() <= most, "{}", bars.len());
            for bar in &bars {
                let rows = lengths.iter().filter(|it| (bar.low..=bar.high).contains(it)).count();
                assert_eq!(bar.rows, rows as u64, "{bar:?}");
            }
            assert_eq!(bars.iter().map(|bar| bar.rows).sum::<u64>(), lengths.len() as u64);
        }
    }

    #[test]
    fn common_values_are_counted_exactly_up_to_a_limit() {
        let mut common = CommonValues::new().unwrap();
        for number in 0..1000 {
            common.add(&format!("value {}", number % 10));
        }
        common.add("value 3");
        assert!(common.is_exact());
        assert_eq!(common.top(2), [("value 3".to_owned(), 101), ("value 0".to_owned(), 100)]);
        assert_eq!((common.total(), common.different()), (1001, 10));
        // A long value has no count of its own. It does not make the others inexact.
        common.add(&"x".repeat(300));
        assert_eq!((common.is_exact(), common.long(), common.total()), (true, 1, 1002));
        (0..5000).for_each(|it| common.add(&format!("unique {it}")));
        assert!(!common.is_exact());
        // What may occur once is not common.
        assert!(common.top(usize::MAX).iter().all(|(value, _)| value.starts_with("value")));
        let mut unique = CommonValues::new().unwrap();
        (0..20_000).for_each(|it| unique.add(&format!("unique {it}")));
        assert_eq!(unique.top(20), []);
        assert!(unique.most() > 1 && unique.most() < 100, "{}", unique.most());
    }
}
