//! The numbers of a column: their range, a few values, and a sample that gives their distribution.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use twox_hash::XxHash3_64;

use super::{figures::LengthBar, tree::few::FewValues};

/// Numbers in the sample: 4,096. A share of the sample is within 2 points of that of all numbers.
const SAMPLED: usize = 4096;
/// Bars of a histogram.
const BARS: usize = 20;

/// The numbers of a column.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) integers: Option<(i64, i64)>,
    pub(crate) floats: Option<(f64, f64)>,
    pub(crate) few: FewValues,
    count: u64,
    /// Numbers by a hash of their row, the smallest first: the same rows in any order.
    sample: BTreeMap<(u64, u64), NumberValue>,
}

/// A number of a column. Many integers are no floating-point numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum NumberValue {
    Int(i64),
    Float(f64),
}

impl NumberValue {
    fn as_float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(value), Self::Int(other)) => value.cmp(other),
            _ => self.as_float().total_cmp(&other.as_float()),
        }
    }
}

impl fmt::Display for NumberValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => f.write_str(&float_text(*value)),
        }
    }
}

/// Returns 0 for -0, which is the same number, and the usual NaN for every other one.
pub(crate) fn one_zero(value: f64) -> f64 {
    // The sum of -0 and 0 is 0.
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// Returns a number as people write it: with an exponent if it would have many zeros.
pub(crate) fn float_text(value: f64) -> String {
    let mut text = format!("{value:?}");
    if text.ends_with(".0") {
        text.truncate(text.len() - 2);
    }
    text
}

impl Numbers {
    pub(crate) fn add_integer(&mut self, value: i64, row: u64) {
        self.integers = Some(wider(self.integers, value));
        self.add(NumberValue::Int(value), row);
    }

    pub(crate) fn add_float(&mut self, value: f64, row: u64) {
        let value = one_zero(value);
        self.floats = Some(wider(self.floats, value));
        self.add(NumberValue::Float(value), row);
    }

    fn add(&mut self, value: NumberValue, row: u64) {
        if !self.few.is_many() {
            self.few.add(&value.to_string(), false, row);
        }
        self.offer(value, row);
    }

    fn offer(&mut self, value: NumberValue, row: u64) {
        self.count += 1;
        self.keep((XxHash3_64::oneshot(&row.to_le_bytes()), row), value);
    }

    fn keep(&mut self, key: (u64, u64), value: NumberValue) {
        let is_among = self.sample.len() < SAMPLED
            || self.sample.last_key_value().is_some_and(|(last, _)| key < *last);
        if is_among {
            self.sample.insert(key, value);
            if self.sample.len() > SAMPLED {
                self.sample.pop_last();
            }
        }
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.integers = joined(self.integers, other.integers);
        self.floats = joined(self.floats, other.floats);
        self.few.join(other.few);
        self.count += other.count;
        for (key, value) in other.sample {
            self.keep(key, value);
        }
    }

    /// Number of numbers in the sample; `None` if all are in it.
    pub(crate) fn sampled(&self) -> Option<u64> {
        let sampled = self.sample.len() as u64;
        (sampled < self.count).then_some(sampled)
    }

    /// Returns the number that half of the sample does not exceed.
    pub(crate) fn median(&self) -> Option<NumberValue> {
        let mut all: Vec<NumberValue> = self.sample.values().copied().collect();
        all.sort_by(NumberValue::order);
        all.get(all.len().saturating_sub(1) / 2).copied()
    }

    /// Returns how many numbers of the sample are in each of equally wide parts of the range; the borders are places, not
    /// values.
    pub(crate) fn bars(&self) -> Vec<LengthBar> {
        let range = self.floats.or(self.integers.map(|(low, high)| (low as f64, high as f64)));
        let Some((low, high)) = range.filter(|(low, high)| (high - low).is_finite() && low < high)
        else {
            return Vec::new();
        };
        let mut rows = vec![0_u64; BARS];
        let values = self.sample.values().map(|value| value.as_float());
        for value in values.filter(|value| value.is_finite()) {
            let place = ((value - low) / (high - low) * BARS as f64) as usize;
            if let Some(rows) = rows.get_mut(place.min(BARS - 1)) {
                *rows += 1;
            }
        }
        let bar = |(place, rows)| LengthBar { low: place, high: place, rows };
        (0..).zip(rows).map(bar).collect()
    }
}

/// Widens a range so that it has the value.
pub(crate) fn wider<T: PartialOrd + Copy>(range: Option<(T, T)>, value: T) -> (T, T) {
    let (low, high) = range.unwrap_or((value, value));
    (if value < low { value } else { low }, if value > high { value } else { high })
}

/// Joins two ranges.
pub(crate) fn joined<T: PartialOrd + Copy>(
    own: Option<(T, T)>,
    other: Option<(T, T)>,
) -> Option<(T, T)> {
    match other {
        Some((low, high)) => Some(wider(Some(wider(own, low)), high)),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_does_not_depend_on_the_order() {
        let of = |rows: &mut dyn Iterator<Item = u64>| {
            let mut numbers = Numbers::default();
            rows.for_each(|row| numbers.add_integer(row as i64 * 10, row));
            numbers
        };
        let (mut left, all) = (of(&mut (5000..10_000).rev()), of(&mut (0..10_000)));
        left.join(of(&mut (0..5000)));
        assert_eq!(left.sample, all.sample);
        assert_eq!((left.integers, left.sampled()), (Some((0, 99_990)), Some(4096)));
        let median = left.median().map(NumberValue::as_float);
        assert!(median.is_some_and(|it| (48_000.0..52_000.0).contains(&it)));
        assert_eq!(left.bars().iter().map(|bar| bar.rows).sum::<u64>(), 4096);
        let few = of(&mut (0..3));
        assert_eq!((few.sampled(), few.median()), (None, Some(NumberValue::Int(10))));
        assert_eq!(few.few.sorted().len(), 3);
    }

    #[test]
    fn numbers_are_those_of_the_rows() {
        let mut numbers = Numbers::default();
        (0..3).for_each(|row| numbers.add_integer(9_007_199_254_740_993, row));
        assert_eq!(numbers.median().map(|it| it.to_string()).as_deref(), Some("9007199254740993"));
        let mut numbers = Numbers::default();
        for (row, value) in [0.0, -0.0, 1e308, 0.1].into_iter().enumerate() {
            numbers.add_float(value, row as u64);
        }
        let few: Vec<_> = numbers.few.sorted().iter().map(|it| (&*it.text, it.count)).collect();
        assert_eq!(few, [("0", 2), ("0.1", 1), ("1e308", 1)]);
        assert_eq!([1.0, 1.5, -2e-7, 123_456.0].map(float_text), ["1", "1.5", "-2e-7", "123456"]);
    }

    #[test]
    fn infinite_range_has_no_bars() {
        let mut numbers = Numbers::default();
        numbers.add_float(1.0, 1);
        assert!(numbers.bars().is_empty());
        numbers.add_float(f64::INFINITY, 2);
        assert!(numbers.bars().is_empty());
    }
}
