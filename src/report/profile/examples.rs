//! The first rows with the values of a column, as long as there is room: examples of values that are counted elsewhere.

use twox_hash::XxHash3_64;

use super::tree::texts::earlier;

/// Number of values that have room: 2,048, which take 32 KiB. A value whose room is taken has no example.
const SLOTS: usize = 1 << 11;
/// Values in a column after which a new one is nothing special.
const MOST_NEW: usize = 64;

/// For each part of the hashes, the first value and its first row, from 1; 0 for none.
#[derive(Debug)]
pub(crate) struct ValueExamples {
    slots: Box<[(u64, u64)]>,
    count: usize,
}

impl Default for ValueExamples {
    fn default() -> Self {
        Self { slots: vec![(0, 0); SLOTS].into(), count: 0 }
    }
}

impl ValueExamples {
    /// Adds a value by its hash. Returns whether it is a new one among few.
    pub(crate) fn add(&mut self, hash: u64, row: u64) -> bool {
        let slot = &mut self.slots[hash as usize % SLOTS];
        let is_new = slot.1 == 0;
        if is_new {
            *slot = (hash, row);
            self.count += 1;
        }
        is_new && self.count <= MOST_NEW
    }

    pub(crate) fn join(&mut self, other: Self) {
        for (own, other) in self.slots.iter_mut().zip(other.slots) {
            if own.0 == other.0 {
                own.1 = earlier(own.1, other.1);
            } else if other.1 > 0 && (own.1 == 0 || other.1 < own.1) {
                *own = other;
            }
        }
    }

    /// Returns the first row with a value; 0 if it is not known.
    pub(crate) fn get(&self, value: &str) -> u64 {
        let hash = XxHash3_64::oneshot(value.as_bytes());
        let (own, row) = self.slots[hash as usize % SLOTS];
        if own == hash { row } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_join_to_the_first() {
        let hash = |value: &str| XxHash3_64::oneshot(value.as_bytes());
        let (mut left, mut right) = (ValueExamples::default(), ValueExamples::default());
        assert!(left.add(hash("a"), 5) && !left.add(hash("a"), 6));
        assert!(right.add(hash("a"), 2) && right.add(hash("b"), 3));
        left.join(right);
        assert_eq!(["a", "b", "c"].map(|value| left.get(value)), [2, 3, 0]);
    }
}
