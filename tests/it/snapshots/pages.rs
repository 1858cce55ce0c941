//! `report` of a root of snapshots: thirty nights, with their charts and failures.

use overmind_export::{JobNights, Location, Report, demo::Dataset, job_history};

use super::Nightly;
use crate::support::{ID, Ran};

/// The `data-value`s of the chart below a caption.
fn points(page: &str, caption: &str) -> Vec<f64> {
    let chart = page.split(&format!("<figcaption>{caption}, highest ")).nth(1).unwrap();
    let chart = chart.split("</svg>").next().unwrap();
    let points = chart.split("data-value=\"").skip(1);
    points.map(|it| it.split('"').next().unwrap().parse().unwrap()).collect()
}

fn thirty_nights() -> Nightly {
    let nightly = Nightly::one(50, "schedule = \"0 2 * * *\"\nkeep = { last = 3, weekly = 2 }");
    for night in 1..=30_u64 {
        // The dataset grows in every third night, and is gone in two nights.
        let rows = 50 + night / 3 * 10;
        let dataset = Dataset::generated(rows, 7).with_id(ID).with_version(1 + night as i64 / 3);
        let is_gone = [11, 12].contains(&night);
        nightly.world.server.replace(if is_gone { Vec::new() } else { vec![dataset] });
        nightly.at(&format!("2026-09-{night:02}T02:00:00Z"));
    }
    nightly
}

fn page(nightly: &Nightly, arguments: &[&str]) -> String {
    nightly.run(&[&["report", "-q", "-o", "-"], arguments].concat()).ok().stdout
}

#[test]
fn charts_show_the_history_of_thirty_nights() {
    let nightly = thirty_nights();
    let page = page(&nightly, &["snaps"]);
    let config = nightly.config();
    let runs = job_history(&config.jobs[0], &Default::default()).unwrap();
    assert_eq!(runs.len(), 30);
    let values = |value: &dyn Fn(&overmind_export::JobResult) -> f64| {
        runs.iter().map(value).collect::<Vec<_>>()
    };
    let rows = values(&|run| run.snapshots.iter().map(|it| it.rows).sum::<u64>() as f64);
    assert_eq!((rows[0], rows[10], rows[29]), (50.0, 0.0, 150.0));
    // A failed run is a gap, and not a bar of 0 rows.
    let shown: Vec<f64> = rows.iter().copied().filter(|it| *it > 0.0).collect();
    assert_eq!((shown.len(), points(&page, "Rows of the data")), (28, shown.clone()));
    assert_eq!(points(&page, "Bytes stored"), values(&|run| run.bytes as f64));
    assert_eq!(points(&page, "Requests"), values(&|run| run.requests as f64));
    assert_eq!(points(&page, "Duration"), values(&|run| run.seconds));
    // Both failures, with their message. They are equal.
    let failures =
        page.split("Failures, the newest first").nth(1).unwrap().split("</ul>").next().unwrap();
    assert_eq!(failures.matches("<li>").count(), 1);
    assert!(
        failures.contains("2 times, from <time datetime=\"2026-09-11T02:00:00Z\">")
            && failures.contains(&ID.to_string()),
        "{failures}"
    );
    // The calendar has a cell for each night, in the color of its result.
    let calendar =
        page.split("<svg class=\"days\"").nth(1).unwrap().split("</svg>").next().unwrap();
    for (class, status) in [("stored", "stored"), ("unchanged", "unchanged"), ("failed", "failed")]
    {
        let nights =
            runs.iter().filter(|run| serde_json::to_value(run.status).unwrap() == status).count();
        assert_eq!(calendar.matches(&format!("class=\"{class}\"")).count(), nights, "{class}");
    }
    assert!(calendar.contains("<title>2026-09-11: failed</title>"), "{calendar}");
    // Retention says why it keeps what it keeps, and the schedule when the next run is.
    let kept = nightly.run(&["snapshots", "--json"]).ok().stdout.lines().count();
    assert!(page.contains(&format!("{kept} snapshots kept")), "{kept}");
    assert!(
        page.contains("<th scope=\"col\">Retention</th>") && page.contains("<dt>Next runs</dt>")
    );
    // Runs of September are overdue by now.
    assert!(
        page.contains("<strong>Stale</strong>: nightly.")
            && page.contains("runs were due, the first one on")
    );
    // The calendar goes on to the day on which the page is made, with the runs that were missed.
    assert!(calendar.contains("<title>2026-10-01: 1 run missed</title>"), "{calendar}");
    // The data of the snapshots that are kept: each has 10 rows more than the one before, or a multiple.
    let stored =
        overmind_export::stored_snapshots(&Location::from(nightly.world.path("snaps")), "nightly")
            .unwrap();
    let grown = stored.windows(2).map(|pair| (pair[1].rows - pair[0].rows) as f64);
    assert_eq!(points(&page, "Rows added"), [0.0].into_iter().chain(grown).collect::<Vec<_>>());
    assert!(points(&page, "Rows removed").iter().all(|rows| *rows == 0.0));
    assert!(
        page.contains(
            "No type of JSON value moved much in additional_properties, input, and in 10 keys"
        ),
        "{page}"
    );
    assert!(page.contains("Personas"));
    let unread = self::page(&nightly, &["snaps", "--snapshots", "0"]);
    assert!(!unread.contains("Rows added") && !unread.contains("Personas"));
    let private = self::page(&nightly, &["snaps", "--no-rows"]);
    assert!(private.contains("No type of JSON value moved much") && !private.contains("Personas"));
    // Without the configuration, and of the job's folder.
    let world = &nightly.world;
    let plain =
        Ran::of(world.command().args(["report", "snaps/nightly", "-q", "-o", "-"])).ok().stdout;
    assert_eq!(points(&plain, "Rows of the data"), shown);
    assert!(!plain.contains("<dt>Next runs</dt>"));
}

#[test]
fn report_of_a_snapshot_is_that_of_an_export() {
    let nightly = Nightly::one(40, "");
    nightly.at("2026-09-01T02:00:00Z");
    let stdout = nightly.run(&["latest", "nightly"]).ok().stdout;
    let page = page(&nightly, &[stdout.trim()]);
    assert!(
        page.contains("<strong>Complete</strong>: 40 of 40 rows, proven.")
            && page.contains("job nightly")
    );
    let ran = nightly.run(&["report", "snaps", "--record", "x", "-o", "-"]);
    insta::assert_snapshot!(ran.told(&nightly.world), @r"
    exit 2
    error: --record is for an export: leave it out for the runs of jobs
    ");
}

#[test]
fn mask_of_nights_that_matches_nothing_is_refused() {
    let nightly = Nightly::one(40, "");
    nightly.at("2026-09-01T02:00:00Z");
    nightly.at("2026-09-02T02:00:00Z");
    let ran = nightly.run(&["report", "snaps", "-q", "-o", "-", "--mask", ".persna"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(65), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains(".persna") && ran.stderr.contains(".persona"), "{}", ran.stderr);
    assert!(!page(&nightly, &["snaps", "--mask", ".persona"]).contains("frustrated_customer"));
    assert!(page(&nightly, &["snaps"]).contains("frustrated_customer"));
}

/// The rows fall by 90 % in a run that succeeds.
#[test]
fn page_says_first_what_is_odd() {
    let nightly = Nightly::one(500, "");
    nightly.at("2026-09-01T02:00:00Z");
    nightly.at("2026-09-01T14:00:00Z");
    let dataset = Dataset::generated(50, 7).with_id(ID).with_version(2);
    nightly.world.server.replace(vec![dataset]);
    nightly.at("2026-09-02T02:00:00Z");
    let root = Location::from(nightly.world.path("snaps"));
    let nights = JobNights::read(&root, "nightly").unwrap();
    let at = |time: &str| {
        let report =
            Report::of_nights("snaps", std::slice::from_ref(&nights), time.parse().unwrap());
        report.as_html().to_owned()
    };
    let page = at("2026-09-02T03:00:00Z");
    let fell = "The rows fell by 90 % of 500 rows</strong> to 50 on <time datetime=\"2026-09-02T02:00:00Z\">";
    assert!(
        page.contains("<strong>Worth a look</strong>: nightly.") && page.contains(fell),
        "{page}"
    );
    assert!(
        page.contains(
            "As of <time datetime=\"2026-09-02T03:00:00Z\">2026-09-02 03:00:00 UTC</time>."
        )
    );
    assert!(page.find(fell) < page.find("<dt>Last run</dt>"));
    // Two runs of a day can be told apart.
    assert!(page.contains("<span>2026-09-01 02:00</span> <span>2026-09-02 02:00</span>"), "{page}");
    // No schedule is known, so the runs themselves say how far apart they are.
    let page = at("2026-09-20T03:00:00Z");
    assert!(
        page.contains("<strong>Stale</strong>: nightly.") && page.contains("which is 18 days ago"),
        "{page}"
    );
    assert!(page.contains("From 2026-09-01 to 2026-09-20"), "{page}");
    assert!(!page.contains("All well"));
}

#[test]
fn text_of_failures_is_only_text() {
    let nightly = Nightly::one(10, "");
    nightly.at("2026-09-01T02:00:00Z");
    let root = Location::from(nightly.world.path("snaps"));
    let mut nights = JobNights::read(&root, "nightly").unwrap();
    let hostile = "</style><script>window.ran=1</script>\u{202E}";
    nights.job = hostile.to_owned();
    let mut line = serde_json::to_value(&nights.runs[0]).unwrap();
    line["status"] = "failed".into();
    line["started_at"] = hostile.into();
    line["error"] = serde_json::json!({
        "message": hostile, "excerpt": [hostile], "causes": [hostile], "hint": hostile, "exit_code": 2,
    });
    nights.runs.push(serde_json::from_value(line).unwrap());
    let page = Report::of_nights(hostile, &[nights], "2026-09-01T03:00:00Z".parse().unwrap());
    let page = page.as_html();
    for (part, count) in [("<script", 1), ("</style", 1), ("\u{202E}", 0)] {
        assert_eq!(page.matches(part).count(), count, "{part}");
    }
    assert!(page.contains("<strong>Failing</strong>"));
}

#[test]
fn shares_that_jump_are_named() {
    let nightly = Nightly::one(1, "unchanged = \"content\"");
    let rows = |night: u64| -> Vec<String> {
        let row = |number: u64| {
            let persona = if number % 10 < night { "angry <b>" } else { "calm" };
            serde_json::json!({"id": crate::rows::id(number), "input": number, "persona": persona})
                .to_string()
        };
        (0..100).map(row).collect()
    };
    for (night, share) in [(1, 1), (2, 1), (3, 4)] {
        // A new version each night, of which one row differs.
        let mut rows = rows(share);
        rows[99] = rows[99].replace("99,", &format!("{},", 99 + night));
        let dataset = Dataset::from_rows("rows", rows).with_id(ID);
        nightly.world.server.replace(vec![dataset]);
        nightly.at(&format!("2026-09-0{night}T02:00:00Z"));
    }
    let page = page(&nightly, &["snaps"]);
    let remarks =
        page.split("<ul class=\"remarks\">").nth(1).unwrap().split("</ul>").next().unwrap();
    for (value, moved) in [
        ("angry &lt;b&gt;", "rose by 30.0 points to 40.0 %"),
        ("calm", "fell by 30.0 points to 60.0 %"),
    ] {
        let text = format!(
            "Personas: the share of <strong dir=\"auto\">{value}</strong> of all rows {moved} on 2026-09-03."
        );
        assert!(remarks.contains(&text), "{text}: {remarks}");
    }
    // The page is made long after the last run, which comes first. The last night changed many rows.
    let changed =
        "<strong>31 of 100 rows changed</strong> (31.0 %) on 2026-09-03: persona 30, input 1.";
    assert!(remarks.contains(changed), "{remarks}");
    assert_eq!(remarks.matches("<li>").count(), 4, "{remarks}");
    assert_eq!(points(&page, "Rows changed"), [0.0, 1.0, 31.0]);
    // The last change is on the page, with the words that differ, and the numbers of the charts are text.
    let change = page.split("The last change: 2026-09-02 to 2026-09-03</h3>").nth(1).unwrap();
    assert!(
        change.contains(
            "<dt>Changed</dt><dd>31 <span class=\"soft\">(31.0 % of 100 rows before)</span>"
        ),
        "{change}"
    );
    assert!(change.contains("<del>calm</del><ins>angry &lt;b&gt;</ins>"), "{change}");
    assert!(page.contains("<a href=\"#change-0\">2026-09-03</a></th><td class=\"number\">100</td><td class=\"number\">0</td>\
                           <td class=\"number\">0</td><td class=\"number\">31</td><td>persona 30, input 1</td>"), "{page}");
}
