//! The values at a path, as long as they are few and short: answers, labels, booleans, scores.

/// Most different values: 24. With more, the values are free text or numbers, and are not counted.
const MOST_VALUES: usize = 24;
/// Longest text of a value, in bytes: 64. A longer one is free text.
const LONGEST: usize = 64;

/// How often each of a few values occurs. All counts are exact, and do not depend on the order of the values.
#[derive(Debug, Default)]
pub(crate) struct FewValues {
    values: Vec<FewValue>,
    /// Whether there are too many values, or too long ones.
    is_many: bool,
}

/// A value with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FewValue {
    pub(crate) text: Box<str>,
    /// Whether it is a text. Otherwise the text is that of a number, `true`, `false` or `null`.
    pub(crate) is_text: bool,
    pub(crate) count: u64,
    /// The first row with it, from 1.
    pub(crate) row: u64,
}

impl FewValues {
    /// Adds a value of a row. Returns whether it is a new one.
    pub(crate) fn add(&mut self, text: &str, is_text: bool, row: u64) -> bool {
        self.add_many((text, is_text), 1, row)
    }

    fn add_many(&mut self, (text, is_text): (&str, bool), count: u64, row: u64) -> bool {
        if self.is_many {
            return false;
        }
        let same = |it: &&mut FewValue| it.is_text == is_text && *it.text == *text;
        if let Some(value) = self.values.iter_mut().find(same) {
            value.count += count;
            value.row = value.row.min(row);
        } else if text.len() > LONGEST || self.values.len() >= MOST_VALUES {
            (self.values, self.is_many) = (Vec::new(), true);
        } else {
            self.values.push(FewValue { text: text.into(), is_text, count, row });
            return true;
        }
        false
    }

    pub(crate) fn join(&mut self, other: Self) {
        if other.is_many {
            (self.values, self.is_many) = (Vec::new(), true);
        }
        for FewValue { text, is_text, count, row } in other.values {
            self.add_many((&text, is_text), count, row);
        }
    }

    /// Whether there are too many values to count them, or too long ones.
    pub(crate) fn is_many(&self) -> bool {
        self.is_many
    }

    /// Returns the values, the most common first; empty if there are too many, or none.
    pub(crate) fn sorted(&self) -> Vec<&FewValue> {
        let mut all: Vec<&FewValue> = self.values.iter().collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_all(
        values: &mut FewValues,
        texts: impl IntoIterator<Item = String>,
        is_text: bool,
        row: u64,
    ) {
        for text in texts {
            values.add(&text, is_text, row);
        }
    }

    #[test]
    fn few_values_are_counted_in_any_order() {
        let (mut left, mut right) = (FewValues::default(), FewValues::default());
        add_all(&mut left, ["A", "B", "A"].map(str::to_owned), true, 7);
        right.add("A", true, 5);
        right.add("true", false, 8);
        right.add("true", true, 9);
        left.join(right);
        let found: Vec<_> =
            left.sorted().iter().map(|it| (&*it.text, it.is_text, it.count, it.row)).collect();
        let expected =
            [("A", true, 3, 5), ("B", true, 1, 7), ("true", false, 1, 8), ("true", true, 1, 9)];
        assert_eq!(found, expected);
    }

    #[test]
    fn many_or_long_values_are_not_counted() {
        let mut many = FewValues::default();
        add_all(&mut many, (0..25).map(|it: u8| it.to_string()), false, 1);
        assert!(many.sorted().is_empty());
        let (mut left, mut right) = (FewValues::default(), FewValues::default());
        add_all(&mut left, (0..20).map(|it: u8| it.to_string()), false, 1);
        add_all(&mut right, (10..30).map(|it: u8| it.to_string()), false, 1);
        left.join(right);
        left.add("0", false, 1);
        assert!(left.sorted().is_empty());
        let mut long = FewValues::default();
        long.add(&"x".repeat(65), true, 1);
        long.add("x", true, 1);
        assert!(long.sorted().is_empty());
    }
}
