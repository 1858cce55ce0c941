//! Histories that are longer than the page reads.

use std::fs;

use super::Nightly;

#[test]
fn page_says_that_the_history_has_older_runs() {
    let nightly = Nightly::one(10, "");
    nightly.at("2026-11-23T02:00:00Z");
    let path = nightly.hidden("nightly").join("history.jsonl");
    let line = fs::read_to_string(&path).unwrap();
    let read = |runs: usize| {
        fs::write(&path, line.repeat(runs)).unwrap();
        let page = nightly.run(&["report", "snaps", "--snapshots", "0", "-q", "-o", "-"]).ok();
        let fact = page.stdout.split("<dt>Runs</dt><dd>").nth(1).unwrap();
        let shown: usize = fact.split(':').next().unwrap().replace(',', "").parse().unwrap();
        (shown, page.stdout.contains("The history has older runs, in "))
    };
    assert_eq!(read(1000), (1000, false));
    let most = (4 << 20) / line.len();
    assert_eq!(read(2 * most), (most, true));
}
