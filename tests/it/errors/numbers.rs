//! Extreme counts and limits. They cause no overflow and no endless work.

use overmind_export::demo::{Fault, FaultAttempt::Always, FaultPage, Faults, Options};

use crate::support::World;

/// The largest accepted count. A file of ids has 16 bytes per row and at most `i64::MAX` bytes.
const HUGE: u64 = i64::MAX as u64 / 16;

/// The count in every page, the arguments, the exit code, and a part of the output.
const TABLE: [(u64, &str, i32, &str); 13] = [
    // The requested pages begin after the last row.
    (230, "--dry-run --pages 5-", 0, "would export 0 of 230 rows in 1 request"),
    (230, "--dry-run --pages 5-6", 0, "would export 0 of 230 rows in 1 request"),
    (1000, "--dry-run --pages 5-", 0, "would export 600 of 1,000 rows in 6 requests"),
    (1000, "--dry-run --pages 5-7 --limit 250", 0, "would export 250 of 1,000 rows in 3 requests"),
    (1000, "--dry-run --limit 18446744073709551615 --page-size 1", 0, "in 1,000 requests"),
    (HUGE / 2, "--dry-run", 0, "in 2,882,303,761,517,118 requests"),
    (HUGE, "--dry-run", 0, "would export 576,460,752,303,423,487 of"),
    (HUGE, "--dry-run --pages 2-18446744073709551615", 0, "576,460,752,303,423,387 of"),
    (HUGE, "--page-size 1 --pages 1-2", 0, "2 rows in 1 file"),
    (HUGE + 1, "--dry-run", 65, "more rows than a dataset can have"),
    (HUGE, "", 65, "the dataset changed"),
    (230, "--pages 5-", 65, "the dataset changed"),
    (1000, "--limit 18446744073709551615 --page-size 1", 0, "1,000 rows in 1 file"),
];

#[test]
fn extreme_counts_and_limits_never_overflow() {
    for (count, arguments, code, said) in TABLE {
        let faults = Faults::none().on(FaultPage::Any, Always, Fault::Count(count));
        let world = World::generated(Options { faults, ..Options::default() }, 1000);
        let mut all = vec!["-o", "rows.jsonl"];
        all.extend(arguments.split_whitespace());
        let ran = world.export(&all);
        assert_eq!(ran.code, Some(code), "{count} {arguments}: {ran:?}");
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(text.contains(said), "{count} {arguments}: {text}");
    }
}
