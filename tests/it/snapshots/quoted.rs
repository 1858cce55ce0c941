//! Messages of failures that quote values of rows, on pages without rows.

use overmind_export::{JobNights, Location, Report, demo::Dataset};

use super::Nightly;
use crate::support::ID;

/// A job whose expression fails on a row, with a value of the row in the message.
fn failed() -> Nightly {
    let nightly = Nightly::one(1, "where = 'error(.persona)'");
    let row = serde_json::json!({"id": crate::rows::id(7), "input": 1, "persona": "SECRET"});
    let dataset = Dataset::from_rows("rows", vec![row.to_string()]).with_id(ID);
    nightly.world.server.replace(vec![dataset]);
    let results = nightly.at("2026-11-23T02:00:00Z");
    let error = results[0].failure().unwrap();
    assert!(error.message.contains("SECRET") && error.message.contains("row 1"), "{error:?}");
    nightly
}

#[test]
fn pages_without_rows_do_not_quote_rows() {
    let nightly = failed();
    let page = |arguments: &[&str]| {
        nightly.run(&[&["report", "snaps", "-q", "-o", "-"], arguments].concat()).ok().stdout
    };
    assert!(page(&[]).contains("SECRET"));
    let nights = JobNights::read(&Location::from(nightly.world.path("snaps")), "nightly").unwrap();
    let live = Report::of_nights("Schedule", &[nights], "2026-11-23T03:00:00Z".parse().unwrap());
    for page in [
        page(&["--no-rows"]),
        page(&["--mask", ".persona"]),
        page(&["--drop", "persona"]),
        live.as_html().to_owned(),
    ] {
        assert!(!page.contains("SECRET") && !page.contains("000000007"), "{page}");
        assert!(
            page.contains("<strong>Failed: the data is wrong or damaged (exit code 65)</strong>")
        );
        assert!(page.contains("<code>overmind-export history nightly</code> shows it."));
    }
    // What it is about decides, and not its exit code alone.
    nightly.world.server.replace(Vec::new());
    nightly.at("2026-11-24T02:00:00Z");
    assert!(page(&["--no-rows"]).contains(&ID.to_string()));
}

/// Earlier versions did not write whether a message quotes values.
#[test]
fn unknown_messages_are_not_shown() {
    let nightly = failed();
    let path = nightly.hidden("nightly").join("history.jsonl");
    let text = std::fs::read_to_string(&path).unwrap().replace(",\"quotes_values\":true", "");
    assert!(!text.contains("quotes_values"), "{text}");
    std::fs::write(&path, text).unwrap();
    let page = nightly.run(&["report", "snaps", "-q", "-o", "-", "--no-rows"]).ok().stdout;
    assert!(!page.contains("SECRET") && page.contains("exit code 65"), "{page}");
}
