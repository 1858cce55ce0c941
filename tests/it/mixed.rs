//! Random faults of every kind, from a seed. The output is either whole or does not exist.

use std::{ops::Range, sync::Mutex, time::Duration};

use overmind_export::demo::{Fault, Faults, Options};

use crate::{
    faults::{OUTPUTS, ROWS, TRUTH},
    support::{World, side_by_side},
    tree::content,
};

/// Faults that a retry overcomes.
fn weather() -> Vec<Fault> {
    vec![
        Fault::status(408),
        Fault::status(429),
        Fault::status(500),
        Fault::status(502),
        Fault::status(503),
        Fault::ResetBeforeHeaders,
        Fault::CutBody { after: 300 },
        Fault::TruncatedJson,
        Fault::Html,
        Fault::field(0, "order", "[]"),
        Fault::Delay(Duration::from_millis(30)),
    ]
}

/// Faults that need another pass or end the run.
fn worse() -> Vec<Fault> {
    vec![
        Fault::Count(ROWS + 1),
        Fault::RepeatPage(3),
        Fault::ShortPage(2),
        Fault::ShiftRows(1),
        Fault::DropNext,
        Fault::invalid_page(),
        Fault::status(401),
        Fault::EndlessBody,
    ]
}

#[test]
fn retryable_faults_do_not_change_the_output() {
    let codes = run_seeds(0..10, |seed| Faults::random(seed, 0.15, weather()));
    assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
}

#[test]
fn mixed_faults_give_the_whole_output_or_nothing() {
    let kinds = [weather(), worse()].concat();
    let codes = run_seeds(10..20, |seed| Faults::random(seed, 0.15, kinds.clone()));
    let truths = codes.iter().filter(|code| **code == 0).count();
    println!("{truths} of {} runs gave the whole output; exit codes {codes:?}", codes.len());
    assert!((10..55).contains(&truths), "too few or too many faults: {truths} whole outputs");
}

/// Runs every seed to every output and returns the exit codes.
fn run_seeds(seeds: Range<u64>, faults: impl Fn(u64) -> Faults + Sync) -> Vec<i32> {
    let codes = Mutex::new(Vec::new());
    let cases = seeds.flat_map(|seed| (0..OUTPUTS.len()).map(move |output| (seed, output)));
    side_by_side(cases, |(seed, output)| {
        // Each output gets its own seed. Otherwise all outputs would see the same faults.
        let faults = faults(seed * OUTPUTS.len() as u64 + output as u64);
        codes.lock().unwrap().push(run_seed(seed, output, faults));
    });
    codes.into_inner().unwrap()
}

fn run_seed(seed: u64, output: usize, faults: Faults) -> i32 {
    let world = World::generated(Options { faults, ..Options::default() }, ROWS);
    let (name, more) = OUTPUTS[output];
    let arguments = ["-o", name, "--page-size", "25", "--max-page-bytes", "1MiB"];
    let ran = world.export(&[&arguments, more].concat());
    let what = format!("seed {seed}, {name}: {ran:?}");
    let last_words: &[&str] = match ran.code {
        Some(0) => {
            assert_eq!(world.entries(), world.exported(name), "{what}");
            assert!(content(&world.path(name)) == TRUTH[output], "the output differs: {what}");
            return 0;
        }
        Some(65) => &["the dataset changed during the export", "the body is larger than"],
        Some(66) => &["no such dataset"],
        Some(77) => &["the API refuses the key"],
        _ => panic!("no fault here gives this exit code: {what}"),
    };
    let message = ran.stderr.split("error: ").nth(1).unwrap_or_default();
    assert!(last_words.iter().any(|words| message.contains(words)), "{what}");
    let left = world.entries();
    let staging = format!(".{name}.partial");
    let resumable = left == [staging.as_str()] && world.path(&staging).join("data").is_dir();
    assert!(
        left.is_empty() || resumable && !message.contains("changed during the export"),
        "{left:?}: {what}"
    );
    ran.code.unwrap_or(-1)
}
