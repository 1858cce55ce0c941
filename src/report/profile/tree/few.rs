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
}

impl FewValues {
    pub(crate) fn add(&mut self, text: &str, is_text: bool) {
        self.add_many(text, is_text, 1);
    }

    /// Whether no further value is counted.
    pub(crate) fn is_many(&self) -> bool {
        self.is_many
    }

    fn add_many(&mut self, text: &str, is_text: bool, count: u64) {
        if self.is_many {
            return;
        }
        let same = |it: &&mut FewValue| it.is_text == is_text && *it.text == *text;
        if let Some(value) = self.values.iter_mut().find(same) {
            value.count += count;
        } else if text.len() > LONGEST || self.values.len() >= MOST_VALUES {
            (self.values, self.is_many) = (Vec::new(), true);
        } else {
            self.values.push(FewValue { text: text.into(), is_text, count });
        }
    }

    pub(crate) fn join(&mut self, other: Self) {
        if other.is_many {
            (self.values, self.is_many) = (Vec::new(), true);
        }
        for FewValue { text, is_text, count } in other.values {
            self.add_many(&text, is_text, count);
        }
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

    #[test]
    fn few_values_are_counted_in_any_order() {
        let (mut left, mut right) = (FewValues::default(), FewValues::default());
        ["A", "B", "A"].iter().for_each(|it| left.add(it, true));
        right.add("A", true);
        right.add("true", false);
        right.add("true", true);
        left.join(right);
        let found: Vec<_> =
            left.sorted().iter().map(|it| (&*it.text, it.is_text, it.count)).collect();
        assert_eq!(found, [("A", true, 3), ("B", true, 1), ("true", false, 1), ("true", true, 1)]);
    }

    #[test]
    fn many_or_long_values_are_not_counted() {
        let mut many = FewValues::default();
        (0..25).for_each(|it| many.add(&it.to_string(), false));
        assert!(many.sorted().is_empty());
        let (mut left, mut right) = (FewValues::default(), FewValues::default());
        (0..20).for_each(|it| left.add(&it.to_string(), false));
        (10..30).for_each(|it| right.add(&it.to_string(), false));
        left.join(right);
        left.add("0", false);
        assert!(left.sorted().is_empty());
        let mut long = FewValues::default();
        long.add(&"x".repeat(65), true);
        long.add("x", true);
        assert!(long.sorted().is_empty());
    }
}
