use std::{
    iter,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
};

use arrow_array::{Int64Array, cast::AsArray, types::Int64Type};
use proptest::prelude::*;

use super::{
    super::units::{SequentialUnits, UnitBatches},
    *,
};
use crate::{error::Error, location::Location};

const WAITING_BYTES: usize = 32 << 20;

/// A file whose units have batches of one row: the number of the row.
struct FakeFile {
    path: Location,
    /// Batches of each unit.
    units: Vec<usize>,
    /// The unit whose last batch is an error.
    damaged: Option<usize>,
    declared: Option<u64>,
    /// Bytes that decoding a unit needs.
    bytes: u64,
    begun: AtomicUsize,
    open: Arc<AtomicU64>,
    most: AtomicU64,
}

impl FakeFile {
    fn new(units: Vec<usize>) -> Self {
        Self {
            path: "rows.parquet".into(),
            units,
            damaged: None,
            declared: None,
            bytes: 1,
            begun: AtomicUsize::new(0),
            open: Arc::default(),
            most: AtomicU64::new(0),
        }
    }
}

/// Counts the bytes of a unit while its batches exist.
struct OpenBytes(Arc<AtomicU64>, u64);

impl Drop for OpenBytes {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, SeqCst);
    }
}

impl ReadUnits for FakeFile {
    fn path(&self) -> &Location {
        &self.path
    }

    fn count(&self) -> usize {
        self.units.len()
    }

    fn rows(&self) -> Option<u64> {
        self.declared
    }

    fn at_once(&self) -> usize {
        usize::MAX
    }

    fn check(&self, _: usize) -> Result<CheckedUnit> {
        Ok(CheckedUnit { bytes: self.bytes, rows: 1 })
    }

    fn batches(self: Arc<Self>, unit: usize, checked: CheckedUnit) -> Result<UnitBatches> {
        self.begun.fetch_add(1, SeqCst);
        let open = self.open.fetch_add(checked.bytes, SeqCst) + checked.bytes;
        self.most.fetch_max(open, SeqCst);
        let guard = OpenBytes(self.open.clone(), checked.bytes);
        let first: usize = self.units[..unit].iter().sum();
        let rows = first..first + self.units[unit];
        let damaged = (self.damaged == Some(unit)).then(|| Err(damaged()));
        let mut batches = rows.map(|row| Ok(batch(row))).chain(damaged);
        Ok(Box::new(iter::from_fn(move || {
            let _open = &guard;
            batches.next()
        })))
    }
}

fn damaged() -> Error {
    Error::Damaged { path: "rows.parquet".into(), why: "a page is damaged".to_owned() }
}

fn batch(row: usize) -> RecordBatch {
    let column = Arc::new(Int64Array::from(vec![row as i64]));
    RecordBatch::try_from_iter([("row", column as _)]).unwrap()
}

fn row(batch: &RecordBatch) -> i64 {
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

fn threads(file: &Arc<FakeFile>, threads: usize, bytes: usize) -> UnitThreads<i64> {
    let ahead = ReadAhead { threads, bytes: WAITING_BYTES };
    UnitThreads::new(file.clone(), ahead, move |batch| Ok((row(&batch), bytes)))
}

/// The rows, and the text of the error that ended them.
fn rows(results: impl Iterator<Item = Result<i64>>) -> (Vec<i64>, Option<String>) {
    let (mut rows, mut error) = (Vec::new(), None);
    for result in results {
        assert_eq!(error, None, "a result after an error");
        match result {
            Ok(row) => rows.push(row),
            Err(found) => error = Some(found.to_string()),
        }
    }
    (rows, error)
}

proptest! {
    #[test]
    fn threads_give_what_one_gives(
        units in prop::collection::vec(0_usize..5, 0..12),
        damaged in prop::option::of(0_usize..12),
        declared in prop::option::of(0_u64..30),
        count in 1_usize..6,
        bytes in prop_oneof![Just(1), Just(WAITING_BYTES / 2), Just(WAITING_BYTES * 2)],
        decoding in prop_oneof![Just(1), Just(DECODING_BYTES / 2), Just(DECODING_BYTES * 2)],
    ) {
        let file = FakeFile { damaged, declared, bytes: decoding, ..FakeFile::new(units) };
        let file = Arc::new(file);
        let batches = SequentialUnits::new(file.clone());
        let expected = rows(batches.map(|batch| batch.map(|batch| row(&batch))));
        prop_assert_eq!(rows(threads(&file, count, bytes)), expected);
        if decoding < DECODING_BYTES {
            prop_assert!(file.most.load(SeqCst) <= DECODING_BYTES + decoding);
        }
    }
}

#[test]
fn slow_caller_limits_units_ahead() {
    let file = Arc::new(FakeFile::new(vec![1; 100]));
    let mut results = threads(&file, 3, 1);
    results.next().unwrap().unwrap();
    let most = 3 * UNITS_AHEAD;
    let mut state = results.shared.state.lock();
    // The threads have ended their units and wait, as soon as all of these have begun.
    while state.next < state.current + most || state.queues.iter().any(|queue| !queue.ended) {
        state = results.shared.state.wait(state);
    }
    drop(state);
    assert!(file.begun.load(SeqCst) <= 1 + most);
    assert_eq!(rows(results).0, (1..100).collect::<Vec<_>>());
}

#[test]
fn nothing_is_decoded_before_the_first_call() {
    let file = Arc::new(FakeFile::new(vec![2; 4]));
    drop(threads(&file, 2, 1));
    assert_eq!(file.begun.load(SeqCst), 0);
}

#[test]
fn panic_of_the_map_becomes_an_error() {
    let file = Arc::new(FakeFile::new(vec![1; 3]));
    let ahead = ReadAhead { threads: 2, bytes: WAITING_BYTES };
    let results = UnitThreads::new(file, ahead, |batch: RecordBatch| match row(&batch) {
        1 => panic!("snap"),
        row => Ok((row, 1)),
    });
    let (rows, error) = rows(results);
    assert_eq!(rows, [0]);
    assert_eq!(error.unwrap(), "internal error: the decoder panicked: snap");
}

#[test]
fn results_of_one_unit_wait_for_the_caller() {
    // Each result has half of the bytes that may wait.
    let decoded = Arc::new(AtomicUsize::new(0));
    let (count, file) = (decoded.clone(), Arc::new(FakeFile::new(vec![50])));
    let ahead = ReadAhead { threads: 1, bytes: WAITING_BYTES };
    let mut results = UnitThreads::new(file, ahead, move |batch: RecordBatch| {
        count.fetch_add(1, SeqCst);
        Ok((row(&batch), WAITING_BYTES / 2))
    });
    for taken in 1..=50 {
        results.next().unwrap().unwrap();
        // Two that wait, and one that has no room yet.
        assert!(decoded.load(SeqCst) <= taken + 2 + 1, "{taken}");
    }
    assert!(results.next().is_none());
}

#[test]
fn dropped_results_end_the_threads() {
    let file = Arc::new(FakeFile::new(vec![5; 50]));
    let mut results = threads(&file, 4, WAITING_BYTES);
    results.next().unwrap().unwrap();
    let shared = results.shared.clone();
    drop(results);
    // Each thread has a reference. They wait for nothing any more.
    let ended = iter::repeat_with(|| Arc::strong_count(&shared) == 1);
    let yielding = ended.inspect(|_| std::thread::yield_now());
    assert!(yielding.take(1_000_000).any(|ended| ended));
}
