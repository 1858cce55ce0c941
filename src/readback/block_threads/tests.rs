use std::{io::Write as _, iter, sync::atomic::Ordering::SeqCst};

use arrow_array::{RecordBatch, cast::AsArray};
use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::{super::ReadOptions, *};
use crate::{
    error::Error,
    location::Location,
    readback::{FileBatches, RecordedLines, json_lines},
    sink::Compression,
};

/// A JSON Lines file.
struct Lines {
    file: NamedTempFile,
    sha256: Option<String>,
}

impl Lines {
    fn new(text: &str) -> Self {
        let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Self { file, sha256: None }
    }

    fn batches(&self) -> FileBatches {
        let recorded = RecordedLines { sha256: self.sha256.as_deref(), columns: None };
        let (path, options) = (Location::from(self.file.path()), ReadOptions::default());
        json_lines::open(&path, Compression::None, (&options, recorded)).unwrap().batches
    }

    /// The number of rows of each batch, and the error that ended them.
    fn read(&self, threads: usize) -> (Vec<usize>, Option<String>) {
        let options = ReadOptions { decode_threads: Some(threads), ..ReadOptions::default() };
        let (mut rows, mut error) = (Vec::new(), None);
        for batch in self.batches().ahead(&options) {
            assert_eq!(error, None, "a batch after an error");
            match batch {
                Ok(batch) => rows.push(batch.num_rows()),
                Err(Error::Damaged { why, .. }) => error = Some(why),
                Err(error) => panic!("{error}"),
            }
        }
        (rows, error)
    }
}

fn lines(count: usize) -> String {
    (0..count).map(|row| format!("{{\"input\":{row}}}\n")).collect()
}

const THREADS: [usize; 3] = [1, 2, 16];

#[test]
fn batches_come_in_the_order_of_the_lines() {
    let options = ReadOptions { decode_threads: Some(4), ..ReadOptions::default() };
    let file = Lines::new(&lines(40_007));
    let first = |batch: RecordBatch| {
        let inputs = batch.column(0).as_string::<i32>();
        Ok((inputs.value(0).to_owned(), 1))
    };
    let found: Vec<_> = file.batches().mapped(&options, first).map(Result::unwrap).collect();
    assert_eq!(found, (0..41).map(|batch| (batch * 1000).to_string()).collect::<Vec<_>>());
    for threads in THREADS {
        let rows = iter::repeat_n(1000, 40).chain([7]).collect();
        assert_eq!(file.read(threads), (rows, None));
        assert_eq!(Lines::new("").read(threads), (vec![], None));
    }
}

#[test]
fn first_error_in_the_order_of_lines_ends_them() {
    let wrong = format!("{}x\n{}y\n", lines(5_500), lines(3_000));
    let file = Lines::new(&wrong);
    for threads in THREADS {
        let (rows, error) = file.read(threads);
        assert_eq!(rows, [1000; 5]);
        let error = error.unwrap();
        assert!(error.starts_with("line 5,501: it is not JSON"), "{error}");
    }
}

#[test]
fn other_checksum_ends_the_last_batch() {
    let mut file = Lines::new(&lines(2_500));
    file.sha256 = Some("other".to_owned());
    for threads in THREADS {
        let (rows, error) = file.read(threads);
        assert_eq!(rows, [1000; 2]);
        assert!(error.unwrap().ends_with("recorded other"));
    }
    // The line itself says more.
    let mut file = Lines::new(&format!("{}x", lines(2_500)));
    file.sha256 = Some("other".to_owned());
    for threads in THREADS {
        assert!(file.read(threads).1.unwrap().starts_with("line 2,501: it is not JSON"));
    }
}

#[test]
fn panic_of_a_parser_is_an_error() {
    let options = ReadOptions { decode_threads: Some(2), ..ReadOptions::default() };
    let panics = |batch: RecordBatch| -> Result<(usize, usize)> {
        assert!(batch.num_rows() == 1000, "not a whole batch");
        Ok((batch.num_rows(), 1))
    };
    let mut found = Lines::new(&lines(1_500)).batches().mapped(&options, panics);
    assert_eq!(found.next().unwrap().unwrap(), 1000);
    let told = found.next().unwrap().unwrap_err().to_string();
    assert!(told.contains("the parser"), "{told}");
    assert!(found.next().is_none());
}

#[test]
fn blocks_wait_for_the_caller() {
    // Each result has half of the bytes that may wait.
    let parsed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (count, large) = (parsed.clone(), ReadAhead::default().bytes / 2);
    let options = ReadOptions { decode_threads: Some(4), ..ReadOptions::default() };
    let map = move |batch: RecordBatch| {
        count.fetch_add(1, SeqCst);
        Ok((batch.num_rows(), large))
    };
    let mut found = Lines::new(&lines(100_000)).batches().mapped(&options, map);
    for taken in 1..=100 {
        assert_eq!(found.next().unwrap().unwrap(), 1000);
        // Two that wait, and one of each thread that began before.
        assert!(parsed.load(SeqCst) <= taken + 2 + 4, "{taken}");
    }
    assert!(found.next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn threads_change_nothing(lengths in prop::collection::vec(1..30_000_usize, 0..200), wrong in any::<Option<u8>>()) {
        let mut text = String::new();
        for (row, length) in lengths.iter().enumerate() {
            let value = "x".repeat(*length);
            text += &match wrong {
                Some(wrong) if usize::from(wrong) == row => format!("{{\"input\":{value}}}\n"),
                _ => format!("{{\"input\":\"{value}\"}}\n"),
            };
        }
        let file = Lines::new(&text);
        let alone = file.read(1);
        prop_assert_eq!(file.read(2), alone.clone());
        prop_assert_eq!(file.read(5), alone);
    }
}
