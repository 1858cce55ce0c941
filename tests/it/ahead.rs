//! A fixed concurrency prefetches pages together with a slow first page.

use std::time::Duration;

use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};
use serde_json::Value;

use crate::support::{ID, World};

/// Options with a latency of 80 ms. The client waits only 25 ms for the first page before it prefetches others.
fn far() -> Options {
    Options { latency: Duration::from_millis(80), ..Options::default() }
}

#[test]
fn prefetch_past_the_last_page_is_harmless() {
    // Pages 4 to 8 do not exist. On a busy machine the first page may come before all of them are requested.
    for (concurrency, requests) in [("auto", 3..=3), ("2", 3..=3), ("8", 4..=8)] {
        let world = World::generated(far(), 75);
        let arguments = ["-o", "rows.jsonl", "--page-size", "25", "--json", "-q"];
        let ran = world.export(&[&arguments[..], &["--concurrency", concurrency]].concat()).ok();
        assert_eq!(ran.stderr, "", "--concurrency {concurrency}");
        let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((summary["rows"].as_u64(), summary["pages"].as_u64()), (Some(75), Some(3)));
        assert_eq!(summary["retries"], 0);
        let stats = world.server.stats();
        assert!(requests.contains(&stats.requests), "{} at {concurrency}", stats.requests);
        assert!((1..=3).all(|page| stats.attempts(ID, page) == 1));
        assert_eq!(world.read("rows.jsonl").split(|byte| *byte == b'\n').count(), 76);
    }
}

#[test]
fn prefetch_does_not_change_http_errors() {
    for (status, code) in [(401, 77), (404, 66)] {
        let faults = Faults::none().on(1..=8, FaultAttempt::Always, Fault::status(status));
        let told = |concurrency| {
            let world = World::generated(Options { faults: faults.clone(), ..far() }, 200);
            let arguments = ["-o", "rows.parquet", "--page-size", "25", "--concurrency"];
            let ran = world.export(&[&arguments[..], &[concurrency]].concat());
            assert!(world.entries().is_empty());
            assert_eq!(ran.code, Some(code));
            ran.told(&world)
        };
        assert_eq!(told("8"), told("1"));
    }
}
