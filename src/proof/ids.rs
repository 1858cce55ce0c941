//! Counts distinct row ids exactly, in bounded memory for any number of rows (external merge sort). It never
//! leaves a named file behind.
//!
//! Ids are collected in one buffer. A full buffer is sorted and spilled: it is appended as a run to one
//! unnamed temporary file. At the end the runs are merged, so that equal ids become neighbours. A merge reads
//! at most [`FAN_IN`] runs at a time, each through a small block. Neither memory nor file descriptors grow
//! with the number of runs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::iter;
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::vec;

use uuid::Uuid;

/// Memory for the ids of an export: 4 MiB, which is 262,144 ids. It is small, so that an export of a million
/// rows takes little more memory than one of 100,000 rows. Sorting on disk is cheap.
pub(crate) const DEFAULT_LIMIT_BYTES: usize = 4 << 20;

/// Size of an id in bytes.
pub(crate) const ID_BYTES: usize = size_of::<u128>();
/// Initial capacity of the buffer: 1,024 ids. It doubles from here, so the last doubling reaches the
/// default limit exactly.
const FIRST_IDS: usize = 1024;
/// Growth of a set without a file: 65,536 ids, which are 1 MiB. Doubling would take up to twice the size of
/// all ids, and even more during the copy.
const CHUNK_IDS: usize = 64 << 10;
/// Maximum number of runs that a merge reads at a time: 64 blocks take 4 MiB, like the default limit.
const FAN_IN: usize = 64;
/// Size of the block that a merge reads from a run at a time: 64 KiB.
const BLOCK_BYTES: usize = 64 << 10;
/// Maximum number of repeated ids in an error message.
const EXAMPLES: usize = 5;

/// The ids so far, including repeated ones.
#[derive(Debug)]
pub(crate) struct IdSet {
    buffer: Vec<u128>,
    /// Full sorted buffers, if the set has no file.
    full: Vec<Vec<u128>>,
    spill: Option<IdSpill>,
}

/// The counts of a finished [`IdSet`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distinct {
    /// Number of inserted ids.
    pub(crate) rows: u64,
    /// Number of distinct ids among them.
    pub(crate) distinct: u64,
    /// Number of distinct ids that were inserted more than once.
    pub(crate) repeated_ids: u64,
    /// The smallest of the repeated ids, at most five.
    pub(crate) examples: Vec<Uuid>,
}

impl IdSet {
    /// Makes a set that keeps every id in memory, without a limit. It takes 16 bytes a row plus at most 1 MiB.
    pub(crate) fn in_memory() -> Self {
        Self { buffer: Vec::new(), full: Vec::new(), spill: None }
    }

    /// Makes a set that keeps `limit_bytes` of ids in memory and spills the others to a file in `temp_dir`.
    /// The file is created when it is first needed, and disappears however the process ends.
    pub(crate) fn spilling(limit_bytes: usize, temp_dir: PathBuf) -> Self {
        let limit = (limit_bytes / ID_BYTES).max(1);
        let spill = Some(IdSpill { limit, temp_dir, runs: None });
        Self { buffer: Vec::new(), full: Vec::new(), spill }
    }

    /// Adds the id of one row. After an error the set is unusable.
    pub(crate) fn insert(&mut self, id: Uuid) -> io::Result<()> {
        if self.buffer.len() == self.buffer.capacity() {
            self.make_room()?;
        }
        self.buffer.push(id.as_u128());
        Ok(())
    }

    /// Counts the ids. It reads spilled ids again, which takes seconds for many millions of rows.
    pub(crate) fn finish(self) -> io::Result<Distinct> {
        self.read_sorted(Distinct::of_sorted)
    }

    /// Reads the ids in their order, repeated ones several times.
    pub(super) fn read_sorted<T>(
        self,
        read: impl FnOnce(&mut dyn Iterator<Item = io::Result<u128>>) -> io::Result<T>,
    ) -> io::Result<T> {
        let Self { mut buffer, mut full, spill } = self;
        match spill {
            Some(mut spill) if spill.runs.is_some() => {
                spill.write(&mut buffer)?;
                // Free the buffer first, so that the merge's blocks do not need additional memory.
                drop(buffer);
                spill.read(read)
            }
            _ => {
                buffer.sort_unstable();
                full.push(buffer);
                read(&mut merged(full).map(Ok))
            }
        }
    }

    fn make_room(&mut self) -> io::Result<()> {
        let held = self.buffer.len();
        match &mut self.spill {
            Some(spill) if held >= spill.limit => spill.write(&mut self.buffer)?,
            Some(spill) => self.buffer.reserve_exact(held.max(FIRST_IDS).min(spill.limit - held)),
            None if held >= CHUNK_IDS => {
                self.buffer.sort_unstable();
                self.full.push(mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_IDS)));
            }
            None => self.buffer.reserve_exact(held.max(FIRST_IDS)),
        }
        Ok(())
    }
}

/// Merges sorted runs in memory and returns their ids in order.
fn merged(runs: Vec<Vec<u128>>) -> impl Iterator<Item = u128> {
    let mut runs: Vec<_> = runs.into_iter().map(Vec::into_iter).collect();
    let first =
        |(index, run): (usize, &mut vec::IntoIter<u128>)| Some(Reverse((run.next()?, index)));
    let mut heads: BinaryHeap<_> = runs.iter_mut().enumerate().filter_map(first).collect();
    iter::from_fn(move || {
        let mut head = heads.peek_mut()?;
        let Reverse((id, index)) = *head;
        match runs[index].next() {
            Some(next) => *head = Reverse((next, index)),
            None => {
                PeekMut::pop(head);
            }
        }
        Some(id)
    })
}

impl Distinct {
    fn of_sorted(ids: &mut dyn Iterator<Item = io::Result<u128>>) -> io::Result<Self> {
        let mut seen = Self::default();
        let mut last = None;
        let mut last_is_counted = false;
        for id in ids {
            let id = id?;
            seen.rows += 1;
            if last != Some(id) {
                last = Some(id);
                last_is_counted = false;
                seen.distinct += 1;
            } else if !last_is_counted {
                last_is_counted = true;
                seen.repeated_ids += 1;
                if seen.examples.len() < EXAMPLES {
                    seen.examples.push(Uuid::from_u128(id));
                }
            }
        }
        Ok(seen)
    }
}

#[derive(Debug)]
struct IdSpill {
    /// Maximum number of ids in memory.
    limit: usize,
    temp_dir: PathBuf,
    runs: Option<RunFile>,
}

impl IdSpill {
    fn write(&mut self, buffer: &mut Vec<u128>) -> io::Result<()> {
        buffer.sort_unstable();
        let at_dir = |error| in_dir(&self.temp_dir, &error);
        let runs = match &mut self.runs {
            Some(runs) => runs,
            None => self.runs.insert(RunFile::create(&self.temp_dir).map_err(at_dir)?),
        };
        runs.append(buffer.drain(..).map(Ok)).map_err(at_dir)
    }

    fn read<T>(
        self,
        read: impl FnOnce(&mut dyn Iterator<Item = io::Result<u128>>) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(runs) = self.runs else { return read(&mut iter::empty()) };
        runs.merged(&self.temp_dir)
            .and_then(|runs| read(&mut Merge::new(&runs.file, &runs.runs)?))
            .map_err(|error| in_dir(&self.temp_dir, &error))
    }
}

/// Adds the directory to the error: a full disk is the likely cause, and users can choose the directory.
fn in_dir(dir: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot keep row ids in a temporary file in {}: {error}", dir.display()),
    )
}

/// Sorted runs in one file, one after the other. It needs one file descriptor for any number of runs.
#[derive(Debug)]
struct RunFile {
    file: File,
    /// The byte range of each run.
    runs: Vec<Range<u64>>,
}

impl RunFile {
    fn create(dir: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(dir)?, runs: Vec::new() })
    }

    fn append(&mut self, ids: impl Iterator<Item = io::Result<u128>>) -> io::Result<()> {
        let start = self.runs.last().map_or(0, |run| run.end);
        let mut end = start;
        let mut writer = BufWriter::with_capacity(BLOCK_BYTES, &self.file);
        for id in ids {
            writer.write_all(&id?.to_le_bytes())?;
            end += ID_BYTES as u64;
        }
        writer.flush()?;
        self.runs.push(start..end);
        Ok(())
    }

    /// Merges the runs until at most [`FAN_IN`] are left.
    fn merged(mut self, dir: &Path) -> io::Result<Self> {
        while self.runs.len() > FAN_IN {
            let mut fewer = Self::create(dir)?;
            for group in self.runs.chunks(FAN_IN) {
                fewer.append(Merge::new(&self.file, group)?)?;
            }
            self = fewer;
        }
        Ok(self)
    }
}

/// Yields the ids of several runs in order. It reads the shared file at offsets, one block at a time.
struct Merge<'a> {
    file: &'a File,
    readers: Vec<RunReader>,
    /// The next id of every unfinished run, and the run's index.
    heads: BinaryHeap<Reverse<(u128, usize)>>,
}

impl<'a> Merge<'a> {
    fn new(file: &'a File, runs: &[Range<u64>]) -> io::Result<Self> {
        let mut readers: Vec<_> = runs.iter().cloned().map(RunReader::new).collect();
        let mut heads = BinaryHeap::with_capacity(readers.len());
        for (index, reader) in readers.iter_mut().enumerate() {
            if let Some(id) = reader.next(file)? {
                heads.push(Reverse((id, index)));
            }
        }
        Ok(Self { file, readers, heads })
    }
}

impl Iterator for Merge<'_> {
    type Item = io::Result<u128>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut head = self.heads.peek_mut()?;
        let Reverse((id, index)) = *head;
        match self.readers[index].next(self.file) {
            Ok(Some(next)) => *head = Reverse((next, index)),
            Ok(None) => {
                PeekMut::pop(head);
            }
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(id))
    }
}

struct RunReader {
    unread: Range<u64>,
    block: vec::IntoIter<u128>,
}

impl RunReader {
    fn new(run: Range<u64>) -> Self {
        Self { unread: run, block: Vec::new().into_iter() }
    }

    fn next(&mut self, mut file: &File) -> io::Result<Option<u128>> {
        if let Some(id) = self.block.next() {
            return Ok(Some(id));
        }
        let block = self.unread.start..self.unread.end.min(self.unread.start + BLOCK_BYTES as u64);
        let mut bytes = vec![0; (block.end - block.start) as usize];
        file.seek(SeekFrom::Start(block.start))?;
        file.read_exact(&mut bytes)?;
        self.unread.start = block.end;
        let (ids, _) = bytes.as_chunks::<ID_BYTES>();
        self.block = ids.iter().map(|id| u128::from_le_bytes(*id)).collect::<Vec<_>>().into_iter();
        Ok(self.block.next())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn counted(mut set: IdSet, ids: &[u128]) -> Distinct {
        for id in ids {
            set.insert(Uuid::from_u128(*id)).unwrap();
        }
        set.finish().unwrap()
    }

    fn spilling(ids_in_memory: usize, dir: &tempfile::TempDir) -> IdSet {
        IdSet::spilling(ids_in_memory * ID_BYTES, dir.path().to_owned())
    }

    fn model(ids: &[u128]) -> Distinct {
        let mut times = HashMap::new();
        for id in ids {
            *times.entry(*id).or_insert(0_u64) += 1;
        }
        let mut repeated: Vec<u128> =
            times.iter().filter(|(_, times)| **times > 1).map(|(id, _)| *id).collect();
        repeated.sort_unstable();
        Distinct {
            rows: ids.len() as u64,
            distinct: times.len() as u64,
            repeated_ids: repeated.len() as u64,
            examples: repeated.into_iter().take(5).map(Uuid::from_u128).collect(),
        }
    }

    /// Returns ids in random order, from a linear congruential generator.
    fn scattered(count: usize) -> Vec<u128> {
        let mut state = 1_u128;
        let next = || {
            state = state.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(7);
            state
        };
        iter::repeat_with(next).take(count).collect()
    }

    proptest! {
        #[test]
        fn counts_match_a_hash_map_under_any_limit(
            ids in prop::collection::vec(prop_oneof![0_u128..40, any::<u128>()], 0..400),
            limit in 1_usize..50,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let expected = model(&ids);
            prop_assert_eq!(&counted(IdSet::in_memory(), &ids), &expected);
            prop_assert_eq!(&counted(spilling(limit, &dir), &ids), &expected);
        }
    }

    #[test]
    fn many_runs_are_merged_in_several_passes() {
        let dir = tempfile::tempdir().unwrap();
        let mut ids = scattered(FAN_IN * FAN_IN + 1);
        // The same id is in the first and the last run. The two meet only if every merge pass keeps both.
        ids.push(ids[0]);
        let seen = counted(spilling(1, &dir), &ids);
        assert_eq!(seen, model(&ids));
        assert_eq!(seen.examples, [Uuid::from_u128(ids[0])]);
    }

    #[test]
    fn merge_never_reads_more_than_fan_in_runs() {
        let dir = tempfile::tempdir().unwrap();
        for count in [1, FAN_IN, FAN_IN + 1, FAN_IN * FAN_IN + 1] {
            let mut runs = RunFile::create(dir.path()).unwrap();
            for id in scattered(count) {
                runs.append([Ok(id)].into_iter()).unwrap();
            }
            assert!(runs.merged(dir.path()).unwrap().runs.len() <= FAN_IN);
        }
    }

    #[test]
    fn runs_longer_than_a_block_are_read_fully() {
        let dir = tempfile::tempdir().unwrap();
        let mut ids = scattered(3 * BLOCK_BYTES / ID_BYTES + 5);
        ids.extend_from_within(..7);
        assert_eq!(counted(spilling(BLOCK_BYTES / ID_BYTES + 3, &dir), &ids), model(&ids));
    }

    #[test]
    fn buffer_never_exceeds_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        for limit in [1, 1000, FIRST_IDS, 3 * FIRST_IDS, 4 * FIRST_IDS + 1] {
            let mut set = spilling(limit, &dir);
            for id in scattered(20_000) {
                set.insert(Uuid::from_u128(id)).unwrap();
                assert!(set.buffer.capacity() <= limit, "{} > {limit}", set.buffer.capacity());
            }
            assert_eq!(set.finish().unwrap().distinct, 20_000);
        }
    }

    #[test]
    fn ids_below_limit_never_touch_the_disk() {
        let set = IdSet::spilling(DEFAULT_LIMIT_BYTES, PathBuf::from("/nonexistent"));
        assert_eq!(counted(set, &scattered(5000)).distinct, 5000);
    }

    #[test]
    fn temporary_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut set = spilling(2, &dir);
        for id in scattered(10) {
            set.insert(Uuid::from_u128(id)).unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(set.finish().unwrap().rows, 10);
    }

    #[test]
    fn unwritable_directory_is_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let mut set = IdSet::spilling(ID_BYTES, missing.clone());
        set.insert(Uuid::from_u128(1)).unwrap();
        let error = set.insert(Uuid::from_u128(2)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    }

    #[test]
    fn in_memory_set_takes_16_bytes_a_row_plus_1_mib() {
        let ids = scattered(3 * CHUNK_IDS + 7);
        let twice = [&ids[..], &ids[5..8]].concat();
        let mut set = IdSet::in_memory();
        for (index, id) in twice.iter().enumerate() {
            set.insert(Uuid::from_u128(*id)).unwrap();
            let room: usize = set.full.iter().chain([&set.buffer]).map(Vec::capacity).sum();
            assert!(room <= index + 1 + CHUNK_IDS, "room for {room} ids, {index} are there");
        }
        assert_eq!(set.finish().unwrap(), model(&twice));
    }

    #[test]
    fn empty_set_has_no_rows() {
        assert_eq!(IdSet::in_memory().finish().unwrap(), Distinct::default());
    }
}
