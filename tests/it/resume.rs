//! Resumed runs after a kill or an interruption. They give the same bytes and fetch only the missing pages.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};

use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults, Options};

use crate::{
    support::{ID, Ran, World, entries, resealed, side_by_side, wait_until},
    tree::{Tree, content},
};

/// Number of rows: 80 pages of 25 rows, in ten parts of eight pages.
const ROWS: u64 = 2000;
const PAGES: u64 = 80;
const PAGES_OF_PART: u64 = 8;
/// The prefetch is small compared with the export. This is also true for an export that takes hours.
const ARGUMENTS: [&str; 10] = [
    "-o",
    "rows",
    "--page-size",
    "25",
    "--rows-per-file",
    "200",
    "--prefetch-bytes",
    "64KiB",
    "--concurrency",
    "2",
];
const SOON: Duration = Duration::from_secs(30);

/// The content of the output after a run without interruption.
static TRUTH: LazyLock<Tree> = LazyLock::new(|| {
    let world = World::generated(Options::default(), ROWS);
    world.export(&ARGUMENTS).ok();
    content(&world.path("rows"))
});

fn slow() -> World {
    let options = Options { latency: Duration::from_millis(2), ..Options::default() };
    World::generated(options, ROWS)
}

/// A world in which a run failed at page 30 and left three finished parts.
fn interrupted() -> World {
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world = World::generated(Options { faults, ..Options::default() }, ROWS);
    let ran =
        world.export(&[&ARGUMENTS[..8], &["--concurrency", "1", "--max-retries", "0"]].concat());
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert_eq!(world.entries(), [".rows.partial"]);
    assert_eq!(journaled(&world), 3);
    world.server.set_faults(Faults::none());
    world
}

fn staging(world: &World) -> PathBuf {
    world.path(".rows.partial")
}

/// Number of finished parts in the journal of an interrupted run. A torn last line does not count.
fn journaled(world: &World) -> u64 {
    let journal = fs::read_to_string(staging(world).join("journal.jsonl")).unwrap_or_default();
    (journal.matches('\n').count() as u64).saturating_sub(1)
}

/// Runs the export again and asserts that it resumes with `parts` kept parts. It must fetch only page 1, the last
/// kept page and the pages of the other parts. Its output must equal [`TRUTH`].
#[track_caller]
fn continues_with(world: &World, parts: u64) -> Ran {
    let before = world.server.stats().requests;
    let ran = world.export(&ARGUMENTS).ok();
    let noun = if parts == 1 { "part" } else { "parts" };
    let (rows, page) = (200 * parts, PAGES_OF_PART * parts);
    let line = format!(
        "resuming: {parts} finished {noun} kept ({rows} of 2,000 rows, up to page {page})\n"
    );
    assert_eq!(ran.stderr.contains(&line), parts > 0, "{}", ran.stderr);
    let fetched = world.server.stats().requests - before;
    // A resumed run fetches the first and the last kept page again to compare their rows.
    assert_eq!(fetched, PAGES - page + if parts > 0 { 2 } else { 0 });
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
    assert!(content(&world.path("rows")) == *TRUTH, "differs from an uninterrupted run");
    ran
}

/// Starts a run and kills it with SIGKILL when the server has seen `requests` requests in total.
fn kill_after(world: &World, requests: u64) {
    let mut run = world.start(&ARGUMENTS);
    assert!(world.server.wait_until(SOON, |stats| stats.requests >= requests));
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn journal_in_another_order_keeps_no_part_too_many() {
    // The second part and the third one are exchanged: the pages of the kept parts must follow each other.
    let world = interrupted();
    let path = staging(&world).join("journal.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(2, 3);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    continues_with(&world, 1);
}

#[test]
fn exports_killed_once_resume_to_the_same_bytes() {
    // Thirty exports, each killed after a random number of requests.
    let fetched = Mutex::new(BTreeMap::new());
    side_by_side(0..30, |seed| {
        let world = slow();
        let moment = fastrand::Rng::with_seed(seed).u64(1..=PAGES);
        kill_after(&world, moment);
        let parts = journaled(&world);
        // The kill may have come after the publication, during the cleanup.
        if !world.path("rows").exists() {
            let ran = world.export(&ARGUMENTS).ok();
            let line = format!("resuming: {parts} finished part");
            assert_eq!(ran.stderr.contains(&line), parts > 0, "{moment}: {}", ran.stderr);
            assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
        }
        assert!(content(&world.path("rows")) == *TRUTH, "killed after {moment} requests: differs");
        let requests = world.server.stats().requests;
        assert!(requests <= PAGES * 12 / 10 + PAGES_OF_PART, "{moment}: {requests} requests");
        fetched.lock().unwrap().insert((moment, seed), (parts, requests));
    });
    let fetched = fetched.into_inner().unwrap();
    let (worst, sum) = fetched
        .values()
        .fold((0, 0), |(worst, sum), (_, requests)| (u64::max(worst, *requests), sum + requests));
    println!("{PAGES} pages needed; fetched {:.1} on average, {worst} at worst", sum as f64 / 30.0);
    for ((moment, _), (parts, requests)) in fetched {
        println!(
            "| killed at request {moment} | {parts} parts kept | {requests} requests in total |"
        );
    }
}

#[test]
fn export_killed_ten_times_resumes_to_the_same_bytes() {
    let world = slow();
    let mut random = fastrand::Rng::with_seed(10);
    for _ in 0..10 {
        let requests = world.server.stats().requests;
        kill_after(&world, requests + random.u64(9..=14));
    }
    let (kept, before) = (journaled(&world), world.server.stats().requests);
    assert!(kept > 0, "ten runs finished no part");
    world.export(&ARGUMENTS).ok();
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
    assert!(content(&world.path("rows")) == *TRUTH);
    let all = world.server.stats().requests;
    println!("ten kills: {kept} parts kept, {before} requests before the last run, {all} in total");
}

/// A run that waits for page 30, which takes 100 seconds. Three parts are finished or about to be.
fn waiting(arguments: &[&str]) -> (World, Child) {
    let faults =
        Faults::none().on(30, FaultAttempt::Always, Fault::Delay(Duration::from_secs(100)));
    let world = World::generated(Options { faults, ..Options::default() }, ROWS);
    let run = world.start(arguments);
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 30) == 1));
    (world, run)
}

/// Sends a signal and returns the ended run. Asserts that it ends within two seconds.
fn end_with(signal: &str, run: Child) -> Ran {
    let kill = format!("kill -{signal} {}", run.id());
    let sent = Instant::now();
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert!(sent.elapsed() < Duration::from_secs(2), "it took {:?}", sent.elapsed());
    ran
}

#[test]
fn sigint_and_sigterm_leave_a_resumable_export() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (world, run) = waiting(&ARGUMENTS);
        // When page 30 is requested, the earlier pages may not be written yet.
        wait_until(|| journaled(&world) >= 3);
        let ran = end_with(signal, run);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let told = format!(
            "error: interrupted by SIG{signal}\n  hint: run the same command again to resume \
             where it stopped\n"
        );
        assert_eq!(ran.stderr, told);
        assert_eq!(world.entries(), [".rows.partial"]);
        assert!(world.server.wait_until(SOON, |stats| stats.in_flight == 0));
        world.server.set_faults(Faults::none());
        continues_with(&world, 3);
    }
}

#[test]
fn sigint_before_the_first_part_leaves_nothing() {
    let faults = Faults::none().on(3, FaultAttempt::Always, Fault::Delay(Duration::from_secs(100)));
    for output in ["rows", "rows.parquet"] {
        let options = Options { faults: faults.clone(), ..Options::default() };
        let world = World::generated(options, ROWS);
        let run = world.start(&["-o", output, "--page-size", "25"]);
        assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 3) == 1));
        let ran = end_with("INT", run);
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert!(ran.stderr.contains("hint: no"), "{ran:?}");
        assert_eq!(world.entries(), Vec::<String>::new(), "{output}");
    }
}

#[test]
fn sigint_interrupts_the_check_of_kept_parts() {
    let world = interrupted();
    // Make the part one terabyte large, so that its check cannot finish during the test.
    let part = staging(&world).join("data/part-00000.parquet");
    let length = 1 << 40;
    let journal = staging(&world).join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let bytes = format!("\"bytes\":{}", fs::metadata(&part).unwrap().len());
    assert!(text.contains(&bytes));
    let changed = |line: &str| resealed(&line.replacen(&bytes, &format!("\"bytes\":{length}"), 1));
    let text: String = text.lines().map(|line| changed(line) + "\n").collect();
    fs::write(&journal, text).unwrap();
    if OpenOptions::new().write(true).open(&part).unwrap().set_len(length).is_err() {
        eprintln!("SKIPPED: the file system cannot store a sparse file of one terabyte");
        return;
    }
    let before = world.server.stats().answered(200);
    let run = world.start(&ARGUMENTS);
    assert!(world.server.wait_until(SOON, |stats| stats.answered(200) > before));
    let ran = end_with("INT", run);
    assert_eq!(ran.code, Some(130), "{ran:?}");
}

#[test]
fn interrupted_file_export_keeps_the_old_target() {
    let arguments =
        ["-o", "rows.parquet", "--page-size", "25", "--overwrite", "--concurrency", "2"];
    let faults =
        Faults::none().on(30, FaultAttempt::Always, Fault::Delay(Duration::from_secs(100)));
    let world = World::generated(Options { faults, ..Options::default() }, ROWS);
    fs::write(world.path("rows.parquet"), "the old content").unwrap();
    let run = world.start(&arguments);
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 30) == 1));
    assert_eq!(world.entries(), [".rows.parquet.partial", "rows.parquet"]);
    assert_eq!(end_with("TERM", run).code, Some(143));
    assert_eq!(world.entries(), ["rows.parquet"]);
    assert_eq!(world.read("rows.parquet"), b"the old content");

    // A killed run cannot clean up: one hidden file stays, and the next run replaces it.
    let mut run = world.start(&arguments);
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 30) == 2));
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(world.entries(), [".rows.parquet.partial", "rows.parquet"]);
    assert_eq!(world.read("rows.parquet"), b"the old content");
    world.server.set_faults(Faults::none());
    world.export(&arguments).ok();
    assert_eq!(world.entries(), ["rows.parquet"]);
    let calm = World::generated(Options::default(), ROWS);
    calm.export(&arguments).ok();
    assert!(world.read("rows.parquet") == calm.read("rows.parquet"));
}

#[test]
fn interrupted_export_resumes_with_all_parts() {
    continues_with(&interrupted(), 3);
}

#[test]
fn dry_run_knows_an_interrupted_export() {
    let world = interrupted();
    let dry = |more: &[&str]| world.export(&[&ARGUMENTS[..], &["--dry-run"], more].concat());
    let said = dry(&[]).ok().stdout;
    let (_, requests) = said.split_once(" in ").unwrap();
    let requests: u64 = requests.split_once(' ').unwrap().0.parse().unwrap();
    assert!(said.ends_with("; 600 rows of an interrupted run would be kept\n"), "{said}");
    assert_eq!(requests, PAGES - 3 * PAGES_OF_PART + 2);
    assert!(!dry(&["--restart"]).ok().stdout.contains("interrupted"));
    let other = dry(&["--columns", "id,input"]);
    assert_eq!((other.code, other.stdout.as_str()), (Some(73), ""));
    assert!(other.stderr.contains("cannot be resumed: --columns was "), "{}", other.stderr);
    continues_with(&world, 3);
}

#[test]
fn slow_first_page_does_not_refetch_kept_pages() {
    let world = interrupted();
    let slow = Fault::Delay(Duration::from_millis(80));
    world.server.set_faults(Faults::none().on(1, FaultAttempt::Always, slow));
    continues_with(&world, 3);
}

#[test]
fn damage_in_the_staging_is_fetched_again() {
    let flip = |path: PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let truncate = |path: PathBuf, by: u64| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - by).unwrap();
    };
    type Damage<'a> = (&'a str, u64, &'a dyn Fn(&Path));
    let rewrite = |root: &Path, change: &dyn Fn(&str) -> String| {
        let path = root.join("journal.jsonl");
        let text = change(&fs::read_to_string(&path).unwrap());
        fs::write(path, text).unwrap();
    };
    let table: [Damage<'_>; 15] = [
        ("half a line appended to the journal", 3, &|root| {
            let mut file =
                OpenOptions::new().append(true).open(root.join("journal.jsonl")).unwrap();
            file.write_all(b"{\"part\":{\"path\":\"part-0").unwrap();
        }),
        ("torn last line in the journal", 2, &|root| truncate(root.join("journal.jsonl"), 9)),
        ("no newline after the journal", 2, &|root| truncate(root.join("journal.jsonl"), 1)),
        ("binary bytes after the journal's last line", 3, &|root| {
            let mut file =
                OpenOptions::new().append(true).open(root.join("journal.jsonl")).unwrap();
            file.write_all(&[0, 0xff, 0xfe]).unwrap();
        }),
        ("an invalid checksum in the journal", 2, &|root| {
            let path = root.join("journal.jsonl");
            let text = fs::read_to_string(&path).unwrap();
            let at = text.rfind("xxh3").unwrap();
            fs::write(path, format!("{}xxh4{}", &text[..at], &text[at + 4..])).unwrap();
        }),
        ("another number of rows in the journal", 0, &|root| {
            rewrite(root, &|text| text.replacen("\"rows\":", "\"rows\":1", 1));
        }),
        ("another digest in the journal", 0, &|root| {
            rewrite(root, &|text| {
                let at = text.find("xxh3-128-poly:").unwrap() + "xxh3-128-poly:".len();
                format!("{}{}{}", &text[..at], "0".repeat(32), &text[at + 32..])
            });
        }),
        ("another time of its start in the journal", 0, &|root| {
            rewrite(root, &|text| text.replacen("\"started_at\":\"2", "\"started_at\":\"1", 1));
        }),
        ("an empty journal", 0, &|root| fs::write(root.join("journal.jsonl"), "").unwrap()),
        ("a truncated part", 1, &|root| truncate(root.join("data/part-00001.parquet"), 100)),
        ("a flipped bit in a part", 2, &|root| flip(root.join("data/part-00002.parquet"))),
        ("a missing part", 0, &|root| {
            fs::remove_file(root.join("data/part-00000.parquet")).unwrap();
        }),
        ("a missing file of ids", 1, &|root| fs::remove_file(root.join("ids/1")).unwrap()),
        ("a truncated file of ids", 2, &|root| truncate(root.join("ids/2"), 16)),
        ("a flipped bit in a file of ids", 1, &|root| flip(root.join("ids/1"))),
    ];
    for (damage, parts, apply) in table {
        println!("{damage}");
        let world = interrupted();
        apply(&staging(&world));
        continues_with(&world, parts);
    }
}

#[test]
fn another_plan_is_refused_until_restart() {
    let world = interrupted();
    let before = staging(&world).join("journal.jsonl");
    let journal = fs::read(&before).unwrap();
    let ran = world.export(&[&ARGUMENTS[..], &["--columns", "id,input"]].concat());
    insta::assert_snapshot!(ran.told(&world), @r#"
    exit 73
    error: rows: an interrupted export to it cannot be resumed: --columns was "id, order, input, expected_output, persona, tags, additional_properties", now it is "id, input"
      hint: give --restart to delete its parts and start over
    "#);
    assert_eq!(fs::read(&before).unwrap(), journal, "the journal has changed");
    assert_eq!(entries(&staging(&world).join("data")).len(), 4);

    world.export(&[&ARGUMENTS[..], &["--columns", "id,input", "--restart"]].concat()).ok();
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
}

#[test]
fn another_row_count_is_refused_until_restart() {
    let world = interrupted();
    world.server.replace(vec![Dataset::generated(ROWS + 25, 7).with_id(ID)]);
    let ran = world.export(&ARGUMENTS);
    insta::assert_snapshot!(ran.told(&world), @r"
    exit 73
    error: rows: an interrupted export to it cannot be resumed: the dataset had 2,000 rows then, now it has 2,025
      hint: give --restart to delete its parts and start over
    ");
    world.export(&[&ARGUMENTS[..], &["--restart"]].concat()).ok();
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
}

#[test]
fn changed_rows_with_the_same_count_start_over() {
    let world = interrupted();
    // The kept rows appear on later pages, as in a new version with another sort order.
    let rows = Dataset::generated(ROWS, 7);
    let text = |number| String::from_utf8(rows.row((number + 400) % ROWS)).unwrap();
    let moved: Vec<String> = (0..ROWS).map(text).collect();
    world.server.replace(vec![Dataset::from_rows("moved", moved.clone()).with_id(ID)]);
    let ran = world.export(&ARGUMENTS).ok();
    assert!(ran.stderr.contains("resuming: 3 finished parts kept"), "{}", ran.stderr);
    let told = "changed during the export: page 1 no longer has the rows that were there before";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    assert!(ran.stderr.contains("starting again from page 1"), "{}", ran.stderr);
    let calm = World::with_rows(Options::default(), moved);
    calm.export(&ARGUMENTS).ok();
    assert!(content(&world.path("rows")) == content(&calm.path("rows")));
}

#[test]
fn row_removed_from_the_kept_pages_starts_over() {
    // The rows are on page 1, on a page in between and on the last kept page. A new row at the end keeps
    // the count, and no id occurs twice.
    for (removed, page) in [(3, 1), (310, 24), (599, 24)] {
        let moved = |number: u64| {
            let rows = Dataset::generated(ROWS + 1, 7);
            let rows = (0..=ROWS).filter(|row| *row != number).map(|row| rows.row(row));
            rows.map(|row| String::from_utf8(row).unwrap()).collect::<Vec<_>>()
        };
        let calm = World::with_rows(Options::default(), moved(removed));
        calm.export(&ARGUMENTS).ok();

        let world = interrupted();
        world.server.replace(vec![Dataset::from_rows("moved", moved(removed)).with_id(ID)]);
        let ran = world.export(&ARGUMENTS).ok();
        assert!(ran.stderr.contains("resuming: 3 finished parts kept"), "{}", ran.stderr);
        let told = format!("page {page} no longer has the rows that were there before");
        assert!(ran.stderr.contains(&told), "{removed}: {}", ran.stderr);
        assert!(content(&world.path("rows")) == content(&calm.path("rows")), "{removed}");

        // With --max-passes 1 it is an error, and no part is kept.
        let world = interrupted();
        world.server.replace(vec![Dataset::from_rows("moved", moved(removed)).with_id(ID)]);
        let ran = world.export(&[&ARGUMENTS[..], &["--max-passes", "1"]].concat());
        assert_eq!(ran.code, Some(65), "{ran:?}");
        assert!(ran.stderr.contains(&told), "{removed}: {}", ran.stderr);
        assert_eq!(world.entries(), Vec::<String>::new());
    }
}

#[test]
fn ordering_is_checked_across_the_resume_point() {
    // The rows are in order before and after the end of the kept parts, but not across it.
    let row = |number: u64, order: u64| {
        format!(r#"{{"id":"00000000-0000-4000-8000-{number:012}","order":{order}}}"#)
    };
    let sorted: Vec<String> = (0..ROWS).map(|number| row(number, number + 1000)).collect();
    let broken = (0..ROWS).map(|number| row(number, number + 1000 * u64::from(number < 600)));
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let options = Options { ignore_ordering: true, faults, ..Options::default() };
    let world = World::with_rows(options, sorted);
    let arguments = [&ARGUMENTS[..8], &["--ordering", "order", "--concurrency", "1"]].concat();
    let ran = world.export(&[&arguments[..], &["--max-retries", "0"]].concat());
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert_eq!(journaled(&world), 3);

    world.server.set_faults(Faults::none());
    world.server.replace(vec![Dataset::from_rows("broken", broken.collect()).with_id(ID)]);
    let ran = world.export(&arguments);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(
        ran.stderr.contains("page 25, results[0] is out of order: 600 after 1599"),
        "{}",
        ran.stderr
    );
    assert_eq!(world.entries(), Vec::<String>::new());
}

#[test]
fn failed_publication_is_completed_by_the_next_run() {
    // A directory that appears at the target makes the publication fail. In the second case, a limit cuts
    // the last page.
    for (limit, last) in [(None, 20), (Some("--limit=130"), 6)] {
        let late = Fault::Delay(Duration::from_secs(1));
        let faults = Faults::none().on(last, FaultAttempt::First(1), late);
        let world = World::generated(Options { faults, ..Options::default() }, 500);
        let arguments = ["-o", "rows", "--page-size", "25", "--rows-per-file", "50"];
        let arguments = [&arguments, limit.as_slice()].concat();
        let run = world.start(&arguments);
        assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, last) == 1));
        fs::create_dir(world.path("rows")).unwrap();
        fs::write(world.path("rows/mine"), "mine").unwrap();
        let ran = Ran::from(run.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert_eq!(world.entries(), [".rows.partial", "rows"]);
        assert_eq!(entries(&world.path("rows")), ["mine"]);

        fs::remove_dir_all(world.path("rows")).unwrap();
        let ran = world.export(&arguments).ok();
        assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
        assert!(!ran.stderr.contains("starting again"), "{}", ran.stderr);
        let calm = World::generated(Options::default(), 500);
        calm.export(&arguments).ok();
        assert!(content(&world.path("rows")) == content(&calm.path("rows")), "{limit:?}");
    }
}
