//! A set of hashes that says at once whether one is new, in bounded memory for any number of them.
//!
//! The hashes are in buckets of 4 KiB, by their first bits, so the hashes must be evenly distributed: they are keyed, and a
//! table that grows although it is nearly empty is an error, before it fills the disk. When a bucket is full, the table doubles: each bucket is split in two, from the first to the last. A table of up to 4 MiB is in memory,
//! and a larger one in an unnamed temporary file: one bucket is read for each hash, and one place written for each new
//! one. In memory, it then has two bytes for each bucket. The file takes 20 to 50 bytes for each hash.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    mem,
    path::PathBuf,
};

/// Bytes of a hash.
pub(crate) const HASH_BYTES: usize = size_of::<u128>();
/// Hashes of a full bucket: 256.
const SLOTS: usize = 256;
/// Bytes of a bucket: 4 KiB, a page of memory.
const BUCKET_BYTES: usize = SLOTS * HASH_BYTES;
/// Fewest hashes of a bucket on average when a bucket is full. A full bucket of evenly distributed hashes is one among others
/// that are a third full at least.
const FEWEST: usize = SLOTS / 8;
/// Largest table in memory: 4 MiB, like the ids of the proof.
const MEMORY_BYTES: usize = 4 << 20;

/// The hashes so far.
#[derive(Debug)]
pub(crate) struct FirstSeen {
    table: HashTable,
    /// The number of the first bits of a hash that choose its bucket.
    bits: u32,
    /// The number of hashes in each bucket.
    counts: Vec<u16>,
    /// Largest table in memory.
    limit_bytes: usize,
    temp_dir: PathBuf,
}

#[derive(Debug)]
enum HashTable {
    Memory(Vec<u8>),
    File(File),
}

impl FirstSeen {
    /// Makes an empty set, whose file will be in this folder if it needs one. The file disappears however the process
    /// ends.
    pub(crate) fn new(temp_dir: PathBuf) -> Self {
        Self::within(MEMORY_BYTES, temp_dir)
    }

    fn within(limit_bytes: usize, temp_dir: PathBuf) -> Self {
        let table = HashTable::Memory(vec![0; BUCKET_BYTES]);
        Self { table, bits: 0, counts: vec![0], limit_bytes, temp_dir }
    }

    /// Adds a hash. Returns whether it is new. After an error the set is unusable.
    pub(crate) fn insert(&mut self, hash: u128) -> io::Result<bool> {
        loop {
            // Without a bit, there is one bucket.
            let bucket = hash.checked_shr(u128::BITS - self.bits).unwrap_or(0) as usize;
            let count = self.counts.get(bucket).map_or(0, |count| usize::from(*count));
            if self.table.bucket(bucket, count)?.contains(&hash) {
                return Ok(false);
            }
            if count < SLOTS {
                self.table.write(bucket * BUCKET_BYTES + count * HASH_BYTES, &[hash])?;
                self.counts[bucket] += 1;
                return Ok(true);
            }
            self.double()?;
        }
    }

    /// Splits each bucket in two.
    fn double(&mut self) -> io::Result<()> {
        let hashes: usize = self.counts.iter().map(|count| usize::from(*count)).sum();
        if hashes < self.counts.len() * FEWEST {
            let why = "the hashes of the rows are not evenly distributed: their file was changed";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let bytes = 2 * self.counts.len() * BUCKET_BYTES;
        let mut table = match bytes <= self.limit_bytes {
            true => HashTable::Memory(vec![0; bytes]),
            false => {
                let file = tempfile::tempfile_in(&self.temp_dir)?;
                file.set_len(bytes as u64)?;
                HashTable::File(file)
            }
        };
        self.bits += 1;
        let mut counts = Vec::with_capacity(2 * self.counts.len());
        for (bucket, count) in mem::take(&mut self.counts).into_iter().enumerate() {
            let hashes = self.table.bucket(bucket, usize::from(count))?;
            let is_low = |hash: &u128| hash >> (u128::BITS - self.bits) & 1 == 0;
            let (low, high): (Vec<_>, Vec<_>) = hashes.into_iter().partition(is_low);
            for half in [low, high] {
                table.write(counts.len() * BUCKET_BYTES, &half)?;
                counts.push(half.len() as u16);
            }
        }
        (self.table, self.counts) = (table, counts);
        Ok(())
    }
}

impl HashTable {
    /// Returns the hashes of a bucket, of which there are `count`.
    fn bucket(&mut self, bucket: usize, count: usize) -> io::Result<Vec<u128>> {
        let start = bucket * BUCKET_BYTES;
        let mut read = [0; BUCKET_BYTES];
        let bytes = match self {
            Self::Memory(table) => {
                table.get(start..start + count * HASH_BYTES).ok_or_else(outside)?
            }
            Self::File(file) => {
                let bytes = &mut read[..count * HASH_BYTES];
                file.seek(SeekFrom::Start(start as u64))?;
                file.read_exact(bytes)?;
                bytes
            }
        };
        let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
        Ok(hashes.iter().map(|hash| u128::from_le_bytes(*hash)).collect())
    }

    /// Writes hashes at this position.
    fn write(&mut self, start: usize, hashes: &[u128]) -> io::Result<()> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        match self {
            Self::Memory(table) => {
                let place = table.get_mut(start..start + bytes.len()).ok_or_else(outside)?;
                place.copy_from_slice(&bytes);
            }
            Self::File(file) if !bytes.is_empty() => {
                file.seek(SeekFrom::Start(start as u64))?;
                file.write_all(&bytes)?;
            }
            Self::File(_) => {}
        }
        Ok(())
    }
}

fn outside() -> io::Error {
    io::Error::other("a bucket is outside of its table")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Returns evenly distributed hashes: the odd multiplier is that of Knuth for 128 bits.
    fn hash(number: u64) -> u128 {
        let mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        (mixed ^ mixed >> 64).wrapping_mul(0xda94_2042_e4dd_58b5_a3b1_9535_4a39_b70d)
    }

    fn set(buckets: usize, dir: &tempfile::TempDir) -> FirstSeen {
        FirstSeen::within(buckets * BUCKET_BYTES, dir.path().to_owned())
    }

    proptest! {
        #[test]
        fn only_first_occurrences_are_new(
            numbers in prop::collection::vec(0_u64..3000, 0..6000),
            buckets in 0_usize..20,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (mut set, mut model) = (set(buckets, &dir), HashSet::new());
            for number in numbers {
                prop_assert_eq!(set.insert(hash(number)).unwrap(), model.insert(number));
            }
        }
    }

    #[test]
    fn many_hashes_are_in_a_file_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut set = set(16, &dir);
        for number in 0..100_000 {
            assert!(set.insert(hash(number)).unwrap(), "{number}");
        }
        for number in (0..100_000).rev().step_by(7) {
            assert!(!set.insert(hash(number)).unwrap(), "{number}");
        }
        assert!(matches!(set.table, HashTable::File(_)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        // Two bytes for each bucket, which is at least a third full.
        assert!(set.counts.len() <= 3 * 100_000 / SLOTS, "{}", set.counts.len());
        assert_eq!(set.counts.iter().map(|count| u64::from(*count)).sum::<u64>(), 100_000);
    }

    #[test]
    fn crowded_bucket_never_makes_the_table_grow() {
        let mut set = FirstSeen::new(PathBuf::from("/nonexistent"));
        let failed = (1..300_u128).find_map(|number| set.insert(number).err()).unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::InvalidData);
        assert!(set.counts.len() <= 16, "{}", set.counts.len());
    }

    #[test]
    fn few_hashes_never_touch_the_disk() {
        let mut set = FirstSeen::new(PathBuf::from("/nonexistent"));
        assert!((0..50_000).all(|number| set.insert(hash(number)).unwrap()));
        let mut small = FirstSeen::within(BUCKET_BYTES, PathBuf::from("/nonexistent"));
        let failed = (0..300).find_map(|number| small.insert(hash(number)).err()).unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::NotFound);
    }
}
