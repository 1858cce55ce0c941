//! Counts pairs of a key and a value, of which only hashes are known: how many keys have different values.

use std::io;

use uuid::Uuid;

use super::IdSet;

/// Bits of the hash of a value. The others are of its key. Only values of one key are compared.
const VALUE_BITS: u32 = 32;

/// A hash of a key, and one of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HashPair(u128);

/// The pairs so far.
#[derive(Debug)]
pub(crate) struct HashPairs(IdSet);

/// The counts of finished [`HashPairs`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PairCounts {
    /// Number of pairs.
    pub(crate) rows: u64,
    /// Number of different keys.
    pub(crate) keys: u64,
    /// Number of keys that occur more than once.
    pub(crate) repeated: u64,
    /// Number of keys that occur with different values.
    pub(crate) differing: u64,
}

impl HashPair {
    pub(crate) fn new(key: u128, value: u64) -> Self {
        let mask = (1 << VALUE_BITS) - 1;
        Self(key & !mask | u128::from(value) & mask)
    }

    /// The part of the hash that the key has.
    pub(crate) fn key(self) -> u128 {
        self.0 >> VALUE_BITS
    }

    /// The part of the hash that the value has.
    pub(crate) fn value(self) -> u32 {
        (self.0 & u128::from(u32::MAX)) as u32
    }
}

impl HashPairs {
    /// Keeps the pairs in this set.
    pub(crate) fn new(ids: IdSet) -> Self {
        Self(ids)
    }

    pub(crate) fn insert(&mut self, pair: HashPair) -> io::Result<()> {
        self.0.insert(Uuid::from_u128(pair.0))
    }

    pub(crate) fn finish(self) -> io::Result<PairCounts> {
        self.0.read_sorted(|pairs| {
            let (mut counts, mut last) = (PairCounts::default(), None::<HashPair>);
            // Of the last key: whether it was seen twice, and with different values.
            let (mut is_repeated, mut differs) = (false, false);
            for pair in pairs {
                let pair = HashPair(pair?);
                counts.rows += 1;
                match last {
                    Some(last) if last.key() == pair.key() => {
                        counts.repeated += u64::from(!is_repeated);
                        is_repeated = true;
                        if last != pair {
                            counts.differing += u64::from(!differs);
                            differs = true;
                        }
                    }
                    _ => {
                        counts.keys += 1;
                        (is_repeated, differs) = (false, false);
                    }
                }
                last = Some(pair);
            }
            Ok(counts)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_different_values_are_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let key = |number: u128| number << 100;
        let pairs = [
            (key(1), 7),
            (key(2), 1),
            (key(3), 5),
            (key(2), 2),
            (key(2), 3),
            (key(3), 5),
            (key(2), 1),
            (key(4), 0),
            (key(3), 5),
        ];
        for limit in [16, 64, 4096] {
            let mut found = HashPairs::new(IdSet::spilling(limit, folder.path().to_owned()));
            for (key, value) in pairs {
                found.insert(HashPair::new(key, value)).unwrap();
            }
            let counts = PairCounts { rows: 9, keys: 4, repeated: 2, differing: 1 };
            assert_eq!(found.finish().unwrap(), counts, "{limit}");
        }
    }

    #[test]
    fn pairs_have_their_parts() {
        let pair = HashPair::new(u128::MAX, 5);
        assert_eq!((pair.key(), pair.value()), (u128::MAX >> 32, 5));
        assert_ne!(pair, HashPair::new(u128::MAX, 6));
        assert_eq!(HashPair::new(1 << 40, 5).key(), 1 << 8);
    }
}
