//! What the page of the nights says about weeks of changing data, missed runs and failures.

use std::fs;

use overmind_export::{JobNights, Location, Report, demo::Dataset};
use serde_json::{Value, json};

use super::Nightly;
use crate::{rows::id, support::ID};

/// A job that stores each night.
fn nightly() -> Nightly {
    Nightly::one(1, "unchanged = \"never\"\nschedule = \"0 2 * * *\"")
}

/// The rows of the next night.
fn serve(nightly: &Nightly, rows: impl Iterator<Item = Value>) {
    let rows = rows.map(|row| row.to_string()).collect();
    nightly.world.server.replace(vec![Dataset::from_rows("rows", rows).with_id(ID)]);
}

/// A night of September 2026.
fn night(nightly: &Nightly, day: u32) {
    nightly.at(&format!("2026-09-{day:02}T02:00:00Z"));
}

fn row(number: u64, difficulty: Value, answer: &str) -> Value {
    json!({"id": id(number), "input": number, "expected_output": answer, "tags": {"difficulty": difficulty}})
}

/// The page as of a morning of September 2026, as the command makes it: with the rows of the snapshots.
fn page(nightly: &Nightly, arguments: &[&str]) -> String {
    nightly.run(&[&["report", "snaps", "-q", "-o", "-"], arguments].concat()).ok().stdout
}

/// The page of these runs as of a time. Reads no rows.
fn page_of_runs(nightly: &Nightly, as_of: &str) -> String {
    let nights = JobNights::read(&Location::from(nightly.world.path("snaps")), "nightly").unwrap();
    Report::of_nights("snaps", &[nights], as_of.parse().unwrap()).as_html().to_owned()
}

/// Writes a history of runs with these days of September 2026, exit codes and messages.
fn write_history(nightly: &Nightly, runs: &[(u32, u8, &str)]) {
    let line = |(day, exit_code, message): &(u32, u8, &str)| {
        let at = format!("2026-09-{day:02}T02:00:00Z");
        let error = json!({"message": message, "causes": [], "hint": null, "exit_code": exit_code, "quotes_values": false});
        let run = json!({
            "job": "nightly", "status": if *exit_code == 0 { "unchanged" } else { "failed" }, "started_at": at,
            "finished_at": at, "seconds": 1.0, "rows": 0, "bytes": 0, "requests": 1, "retries": 0, "snapshots": [],
            "pruned": [], "error": if *exit_code == 0 { Value::Null } else { error }, "exit_code": exit_code,
        });
        format!("{run}\n")
    };
    fs::create_dir_all(nightly.hidden("nightly")).unwrap();
    fs::create_dir_all(nightly.job("nightly")).unwrap();
    let lines: String = runs.iter().map(line).collect();
    fs::write(nightly.hidden("nightly").join("history.jsonl"), lines).unwrap();
}

/// The text between two texts.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let rest = page.split_once(begin).unwrap_or_else(|| panic!("no {begin}: {page}")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("no {end}: {rest}")).0
}

#[test]
fn newest_snapshot_is_compared_with_a_week_ago() {
    let nightly = nightly();
    // In each night, the answer of another row changes. Night 8 is missing.
    let days = [1, 2, 3, 4, 5, 6, 7, 9];
    for day in days {
        let answer = |number| if number < u64::from(day) { "new" } else { "old" };
        serve(&nightly, (1..=200).map(|number| row(number, json!(1), answer(number))));
        night(&nightly, day);
    }
    let changed = |section: &str| {
        let count = between(section, "<dt>Changed</dt><dd>", " ").to_owned();
        count.parse::<u64>().unwrap()
    };
    let page = page(&nightly, &[]);
    let last = between(&page, "The last change: 2026-09-07 to 2026-09-09</h3>", "<h3");
    assert_eq!(changed(last), 2, "{last}");
    let week = between(&page, "Since a week ago: 2026-09-02 to 2026-09-09</h3>", "</section>");
    assert_eq!(changed(week), 7, "{week}");
    let (from, to) = ("20260902T020000Z", "20260909T020000Z");
    let command = format!(
        "<code class=\"copyable\">overmind-export report nightly/snapshot={from} nightly/snapshot={to} -o changes.html</code>"
    );
    assert!(week.contains(&command), "{week}");
    // The missing night is a gap of the charts.
    let added = between(&page, "<figcaption>Rows added", "</figure>");
    let places: Vec<f64> = added
        .split(" x=\"")
        .skip(1)
        .map(|it| it.split('"').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(places, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0], "{added}");
    assert!(added.contains("<span>2026-09-01</span> <span>2026-09-09</span>"), "{added}");
    // Counts stay without values.
    assert!(week.contains("<ins>new</ins>"), "{week}");
    for private in [&["--no-rows"][..], &["--mask", ".expected_output"]] {
        let page = self::page(&nightly, private);
        let week = between(&page, "Since a week ago: 2026-09-02 to 2026-09-09</h3>", "</section>");
        assert_eq!((changed(week), week.contains("<ins>")), (7, false), "{week}");
    }
    // The snapshots that are read do not go back a week.
    let page = self::page(&nightly, &["--snapshots", "3"]);
    let oldest = "Since the oldest snapshot that was read: 2026-09-06 to 2026-09-09</h3>";
    assert_eq!(changed(between(&page, oldest, "</section>")), 3);
    // With two, this is the last change.
    let page = self::page(&nightly, &["--snapshots", "2"]);
    assert!(page.contains("The last change") && !page.contains("Since the oldest"), "{page}");
}

#[test]
fn changed_type_of_a_key_is_named() {
    let nightly = nightly();
    for day in 1..=8 {
        let difficulty = |number: u64| match day {
            4.. if number.is_multiple_of(2) => json!(number.to_string()),
            _ => json!(number),
        };
        // One row changes in night 3, and all are spelled in another way in night 8.
        let answer = if day >= 3 { "new" } else { "old" };
        let rows = (1..=100).map(|number| {
            row(number, difficulty(number), if number == 1 { answer } else { "same" })
        });
        let rows: Vec<String> = rows
            .map(|row| match day {
                8 => row.to_string().replace("{\"difficulty\":", r#"{"d\u0069fficulty":"#),
                _ => row.to_string(),
            })
            .collect();
        nightly.world.server.replace(vec![Dataset::from_rows("rows", rows).with_id(ID)]);
        night(&nightly, day);
    }
    let page = page(&nightly, &[]);
    let remarks = between(&page, "<ul class=\"remarks\">", "</ul>");
    let changed = "<strong>50 of 100 rows changed</strong> (50.0 %) on 2026-09-04: tags 50.";
    assert!(remarks.contains(changed), "{remarks}");
    assert_eq!(remarks.matches(" rows changed").count(), 1, "{remarks}");
    let types = "Types of tags.difficulty: the share of <strong dir=\"auto\">string</strong> of all rows \
                 rose by 50.0 points to 50.0 % on 2026-09-04.";
    assert!(remarks.contains(types) && !remarks.contains("integer"), "{remarks}");
    let command = "report nightly/snapshot=20260903T020000Z nightly/snapshot=20260904T020000Z -o changes.html";
    assert!(remarks.contains(command), "{remarks}");
    // The table of the snapshots is open, and names the columns.
    let table = between(&page, "aria-label=\"Changes of each snapshot of nightly\"", "</table>");
    for (day, text) in
        [(3, "<td>expected_output 1</td>"), (4, "<td>tags 50</td>"), (5, "<td></td>")]
    {
        let line = between(table, &format!("2026-09-{day:02}"), "</tr>");
        assert!(line.contains(text), "{line}");
    }
    let respelled = "tags 100<span class=\"soft\">; in 100 rows only the spelling</span>";
    assert!(table.contains(respelled), "{table}");
    // Neither the type of a masked value nor the name of a dropped column is on the page.
    let masked = self::page(&nightly, &["--mask", ".tags.difficulty"]);
    assert!(!masked.contains("Types of tags.difficulty"), "{masked}");
    let dropped = self::page(&nightly, &["--drop", "tags"]);
    let table = between(&dropped, "aria-label=\"Changes of each snapshot of nightly\"", "</table>");
    assert!(!table.contains("tags") && table.contains("expected_output 1"), "{table}");
}

#[test]
fn many_changes_in_each_night_are_usual() {
    let nightly = nightly();
    for day in 1..=7 {
        let changed = if day == 5 { 90 } else { 20 };
        let answer = |number| if number <= changed { day.to_string() } else { "same".to_owned() };
        serve(&nightly, (1..=100).map(|number| row(number, json!(1), &answer(number))));
        night(&nightly, day);
    }
    let page = page(&nightly, &[]);
    let remarks = between(&page, "<ul class=\"remarks\">", "</ul>");
    // Night 6 changes the rows of night 5 back.
    let named: Vec<&str> = remarks.split(" rows changed</strong>").skip(1).collect();
    assert_eq!(named.len(), 2, "{remarks}");
    assert!(
        named[0].contains(" on 2026-09-06") && named[1].contains(" on 2026-09-05"),
        "{remarks}"
    );
}

#[test]
fn missed_night_is_named_and_later_days_are_left_out() {
    let nightly = nightly();
    write_history(&nightly, &[1, 2, 3, 5, 6].map(|day| (day, 0, "")));
    let page = page(&nightly, &[]);
    let missed = "<strong>1 run was due and did not start</strong>: 2026-09-04.";
    assert!(page.contains(missed), "{page}");
    let calendar = between(&page, "<svg class=\"days\"", "</svg>");
    assert!(calendar.contains("<title>2026-09-04: 1 run missed</title>"), "{calendar}");
    // The calendar begins with the first run and ends today.
    let calendar = page_of_runs(&nightly, "2026-09-07T12:00:00Z");
    let calendar = between(&calendar, "<svg class=\"days\"", "</svg>");
    let titles: Vec<&str> =
        calendar.split("<title>").skip(1).map(|it| it.split('<').next().unwrap()).collect();
    assert_eq!(titles.len(), 7, "{titles:?}");
    assert_eq!((titles[0], titles[6]), ("2026-09-01: unchanged", "2026-09-07: no run"));
    assert_eq!(titles[3], "2026-09-04: no run");
    for text in [">Sep</text>", ">Mon</text>"] {
        assert!(calendar.contains(text), "{calendar}");
    }
    // Runs that followed another schedule have not missed this one.
    write_history(&nightly, &[1, 8, 15, 22].map(|day| (day, 0, "")));
    assert!(!self::page(&nightly, &[]).contains("did not start"));
}

#[test]
fn job_that_never_succeeded_is_stale() {
    let nightly = nightly();
    write_history(&nightly, &[1, 2].map(|day| (day, 143, "interrupted by SIGTERM")));
    let page = page(&nightly, &[]);
    assert!(
        page.contains("<p class=\"verdict warn\"><strong>Stale</strong>: nightly.</p>"),
        "{page}"
    );
    assert!(
        page.contains("<strong>No run has succeeded yet</strong>: all 2 runs were interrupted."),
        "{page}"
    );
    let check = nightly.run(&["snapshots", "--check"]);
    assert!(check.stdout.contains("stale: no run has succeeded yet"), "{check:?}");
    // A run that was interrupted after a good one.
    write_history(&nightly, &[(1, 0, ""), (2, 143, "interrupted by SIGTERM")]);
    let page = self::page(&nightly, &[]);
    assert!(
        page.contains("<strong>No success since <time datetime=\"2026-09-01T02:00:00Z\">"),
        "{page}"
    );
    write_history(&nightly, &[(1, 69, "down")]);
    let page = self::page(&nightly, &[]);
    assert!(
        page.contains("<p class=\"verdict bad\"><strong>Failing</strong>: nightly.</p>"),
        "{page}"
    );
    assert!(page.contains("<strong>No run has ended since <time"), "{page}");
}

#[test]
fn rows_that_came_back_are_said_to_be_back() {
    let nightly = Nightly::one(100, "");
    for (day, rows) in [(1, 100), (2, 55), (3, 98)] {
        serve(&nightly, (1..=rows).map(|number| row(number, json!(day), "same")));
        night(&nightly, day);
    }
    let page = page_of_runs(&nightly, "2026-09-03T03:00:00Z");
    let back = "<strong>The rows fell by 45 % of 100 rows</strong> to 55 on <time datetime=\"2026-09-02T02:00:00Z\">\
                2026-09-02 02:00:00 UTC</time>, and rose to 98 on <time datetime=\"2026-09-03T02:00:00Z\">";
    assert!(page.contains(back), "{page}");
    // The rows are well, and the page has only the note.
    assert!(page.contains("<strong>All well</strong>"), "{page}");
}

#[test]
fn equal_failures_are_shown_once() {
    let nightly = nightly();
    let down = |day, seconds| {
        (day, 69, format!("the API stayed unavailable: {day} attempts in {seconds} s"))
    };
    let runs =
        [down(1, "1.5"), (2, 65, "rows are missing".to_owned()), down(3, "0.5"), down(4, "59.1")];
    let runs: Vec<_> = runs.iter().map(|(day, code, text)| (*day, *code, text.as_str())).collect();
    write_history(&nightly, &runs);
    let page = page_of_runs(&nightly, "2026-09-04T03:00:00Z");
    let failures = between(&page, "Failures, the newest first</h3>", "</ul>");
    assert_eq!(failures.matches("<li>").count(), 2, "{failures}");
    assert!(
        failures.contains("3 times, from <time datetime=\"2026-09-01T02:00:00Z\">"),
        "{failures}"
    );
    assert!(failures.contains("4 attempts in 59.1 s"), "{failures}");
}

#[test]
fn snapshots_of_a_renamed_folder_are_named() {
    let nightly = nightly();
    night(&nightly, 1);
    night(&nightly, 2);
    fs::rename(nightly.job("nightly"), nightly.job("other")).unwrap();
    fs::rename(nightly.hidden("nightly"), nightly.hidden("other")).unwrap();
    let page = page(&nightly, &[]);
    let text = "<strong>2 snapshots in this folder belong to job <code>nightly</code></strong>.";
    assert!(
        page.contains(text) && page.contains("<strong>Worth a look</strong>: other."),
        "{page}"
    );
}

#[test]
fn digests_that_differ_are_no_headline() {
    let nightly = nightly();
    night(&nightly, 1);
    night(&nightly, 2);
    let record = nightly.record("nightly", "20260901T020000Z");
    let text = fs::read_to_string(&record).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let digest = manifest["digest"].as_str().unwrap();
    let last = digest.chars().last().unwrap();
    let other = format!("{}{}", &digest[..digest.len() - 1], if last == '0' { '1' } else { '0' });
    fs::write(&record, text.replace(digest, &other)).unwrap();
    let ran = nightly.run(&["report", "snaps", "-q", "-o", "nights.html"]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    let page = String::from_utf8(nightly.world.read("nights.html")).unwrap();
    let headline = "<strong>The snapshot of <time datetime=\"2026-09-01T02:00:00Z\">2026-09-01 02:00:00 UTC</time> \
                    differs from its recorded digest</strong>.<details>";
    assert!(page.contains(headline), "{page}");
    assert!(page.contains("<p class=\"verdict bad\"><strong>Damaged</strong>"), "{page}");
}

#[test]
fn page_without_rows_says_how_to_see_changes() {
    let nightly = nightly();
    night(&nightly, 1);
    night(&nightly, 2);
    let told = "The rows of the snapshots were not read.";
    assert!(page(&nightly, &["--snapshots", "0"]).contains(told));
    assert!(!page(&nightly, &[]).contains(told));
}
