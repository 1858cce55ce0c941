//! The rows that are written, and how.

use std::{fs, process::Command};

use overmind_export::demo::{Dataset, Options};
use serde_json::Value;

use super::{BILLING, is_failed_billing, lines_where, record, world};
use crate::support::{ID, Ran, World};

#[test]
fn kept_rows_are_written_token_for_token() {
    let world = world(1000);
    let expected = lines_where(&world, is_failed_billing);
    let ran = world.export(&[&["-o", "some.jsonl", "--manifest"], &BILLING[..]].concat()).ok();
    assert!(ran.stderr.contains("167 rows of 1,000 read, in 1 file"), "{}", ran.stderr);
    assert!(ran.stderr.contains("complete: every row read once"), "{}", ran.stderr);
    assert!(world.read("some.jsonl") == expected.as_bytes());
    let stdout = world.export(&[&["-o", "-"], &BILLING[..]].concat()).ok().stdout;
    assert!(stdout == expected);
    let whole = record(&world, "some.jsonl");
    assert_eq!(whole["transform"]["where"][1], ".tags.passed == false");
    let counts = ["count", "rows_read", "rows"].map(|name| whole[name].as_u64().unwrap());
    assert_eq!((counts, &whole["completeness"]), ([1000, 1000, 167], &"proven".into()));
    // The content is the same in every format, and in a directory of parts.
    for output in ["p.parquet", "a.arrow", "z.jsonl.zst", "parts/"] {
        let name = output.trim_end_matches('/');
        let part_rows: &[&str] =
            if name == output { &["--manifest"] } else { &["--rows-per-file", "40"] };
        world.export(&[&["-o", output], part_rows, &BILLING[..]].concat()).ok();
        assert_eq!(record(&world, name)["digest"], whole["digest"], "{output}");
    }
    let paths = ["some.jsonl", "p.parquet", "a.arrow", "z.jsonl.zst", "parts"];
    let verified = Ran::of(world.command().arg("verify").args(paths)).ok();
    let ok = ": ok, 167 rows of 1,000 read; every byte was checked";
    assert_eq!(verified.stdout.matches(ok).count(), 5, "{}", verified.stdout);
    let parts = record(&world, "parts");
    assert!(parts["parts"].as_array().unwrap().len() > 3);
    assert_eq!(parts["ranges"][0]["rows_read"], 1000);
    assert_eq!(parts["ranges"][0]["rows"], 167);
    let diff = world.command().args(["diff", "parts", "p.parquet"]).output().unwrap();
    assert_eq!(diff.status.code(), Some(0), "{diff:?}");
    // Without its record, a file still says what it is.
    fs::remove_file(world.path("p.parquet.manifest.json")).unwrap();
    let alone = Ran::of(world.command().args(["verify", "p.parquet", "--json"])).ok();
    assert!(alone.stdout.contains("proven"), "{}", alone.stdout);
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let world = world(2000);
    for output in ["rows.parquet", "rows.arrow", "rows.jsonl.gz"] {
        let export = |threads| {
            let more =
                ["-o", output, "--overwrite", "--sample", "0.5", "--encode-threads", threads];
            world.export(&[&more, &BILLING[..2]].concat()).ok();
            world.read(output)
        };
        assert!(export("1") == export("16"), "{output}");
    }
}

#[test]
fn no_kept_row_gives_an_empty_export() {
    let world = world(100);
    let ran = world.export(&["-o", "none.parquet", "--where", "false", "--json"]).ok();
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&summary["rows"], &summary["rows_read"]), (&0.into(), &100.into()));
    Ran::of(world.command().args(["verify", "none.parquet"])).ok();
}

#[test]
fn sample_depends_only_on_inputs_and_seed() {
    let world = world(3000);
    let ids = |arguments: &[&str]| -> Vec<String> {
        let ran = world.export(&[&["-o", "-", "--columns", "id"], arguments].concat()).ok();
        ran.stdout.lines().map(str::to_owned).collect()
    };
    let tenth = ids(&["--sample", "0.1"]);
    assert!((200..400).contains(&tenth.len()), "{}", tenth.len());
    assert_eq!(ids(&["--sample", "0.1", "--page-size", "7"]), tenth);
    let larger = ids(&["--sample", "0.3"]);
    assert!(tenth.iter().all(|id| larger.contains(id)));
    assert_ne!(ids(&["--sample", "0.1", "--seed", "1"]), tenth);
    assert_eq!(ids(&["--sample", "1"]).len(), 3000);
    // Rows with the same input stay together, whatever they look like.
    let same = (0..200_u64).map(|index| {
        let input = if index.is_multiple_of(2) {
            r#"{"a":1,"b":"ü"}"#
        } else {
            r#"{ "b": "\u00fc", "a": 1 }"#
        };
        format!(r#"{{"id":"00000000-0000-4000-8000-{index:012}","input":{input}}}"#)
    });
    let world =
        World::with(Options::default(), Dataset::from_rows("same", same.collect()).with_id(ID));
    for seed in ["1", "2", "3", "4"] {
        let ran = world.export(&["-o", "-", "--sample", "0.5", "--seed", seed]).ok();
        assert!([0, 200].contains(&ran.stdout.lines().count()));
    }
}

#[test]
fn unnamed_fields_may_hold_anything() {
    // Every seventh row has a lone surrogate in an unknown field, and all have 1e400 in their input.
    let world = world(70);
    world.export(&["-o", "a.jsonl", "--where", ".source_trace_id == \"t\""]).ok();
    assert_eq!(world.read("a.jsonl").split(|byte| *byte == b'\n').count(), 11);
    let ran = world.export(&["-o", "b.jsonl", "--where", ".bad"]);
    assert!(ran.code == Some(65) && ran.stderr.contains("in the field bad: "), "{ran:?}");
}

/// Runs a line of the guide as a shell does.
fn recipe_ran(world: &World, recipe: &str) -> Ran {
    let program = env!("CARGO_BIN_EXE_overmind-export");
    let script = recipe.replace("overmind-export", program).replace(" ID ", &format!(" {ID} "));
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env_clear().current_dir(world.folder.path());
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("OVERMIND_LAB_BASE_URL", world.server.url());
    Ran::of(command.env("OVERMIND_LAB_API_KEY", crate::support::KEY))
}

#[test]
fn recipes_of_the_guide_work() {
    let page = include_str!("../../../src/guide/shaping.md");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    // `snapshots::pinned` runs the recipe for jobs.
    let is_for_jobs = |line: &&str| line.starts_with("overmind-export schema --accept");
    let recipes: Vec<&str> =
        blocks.flat_map(str::lines).filter(|line| !is_for_jobs(line)).collect();
    assert!(recipes.len() >= 10);
    assert!(recipes.iter().filter(|it| it.contains(" export ")).count() >= 12);
    let world = world(1000);
    // In the dataset of the demo, tags are not always an object.
    let demo = World::generated(Options::default(), 1000);
    for (recipe, ran) in recipes.iter().map(|recipe| (recipe, recipe_ran(&demo, recipe))) {
        assert_eq!(ran.code, Some(0), "{recipe}: {}", ran.stderr);
    }
    for recipe in recipes {
        let ran = recipe_ran(&world, recipe).ok();
        if recipe.contains(" preview ") {
            let shown = ["the first 3 rows of those that are kept", "kept of the first 20 rows"];
            assert!(shown.iter().any(|it| ran.stdout.contains(it)), "{}", ran.stdout);
            continue;
        }
        let kept = ran.stderr.lines().find_map(|line| {
            line.split_once(" rows of 1,000 read")
                .or(line.split_once(" lines from 1,000 rows read"))
                .or(line.split_once(" rows in 1 file"))
        });
        let kept: u64 = kept.unwrap().0.trim().replace(',', "").parse().unwrap();
        if recipe.contains("--map") {
            assert!(kept > 0, "{recipe}: {}", ran.stderr);
            continue;
        }
        let chooses =
            ["--where", "--sample", "--dedupe"].iter().any(|option| recipe.contains(option));
        let expected = if chooses { 1..1000 } else { 1000..1001 };
        assert!(expected.contains(&kept), "{recipe}: {}", ran.stderr);
    }
}

#[test]
fn limit_and_pages_choose_the_rows_to_read() {
    let world = world(1000);
    let lines = |arguments: &[&str]| -> Vec<u64> {
        let ran = world
            .export(&[&["-o", "-", "--columns", "order", "--page-size", "50"], arguments].concat())
            .ok();
        let order = |line: &str| serde_json::from_str::<Value>(line).unwrap()["order"].as_u64();
        ran.stdout.lines().map(|line| order(line).unwrap()).collect()
    };
    let expected = |range: std::ops::Range<u64>| -> Vec<u64> {
        range.filter(|index| is_failed_billing(*index)).collect()
    };
    assert_eq!(lines(&[&["--limit", "130"], &BILLING[..]].concat()), expected(0..130));
    assert_eq!(lines(&[&["--pages", "3-4"], &BILLING[..]].concat()), expected(100..200));
    let both = ["--pages", "3-", "--limit", "130"];
    assert_eq!(lines(&[&both, &BILLING[..]].concat()), expected(100..230));
    let limited = ["-o", "rows.jsonl", "--manifest", "--limit", "130"];
    world.export(&[&limited, &BILLING[..]].concat()).ok();
    let record = record(&world, "rows.jsonl");
    let counts = ["count", "rows_read", "rows"].map(|name| record[name].as_u64().unwrap());
    let rows = expected(0..130).len() as u64;
    assert_eq!((counts, &record["completeness"]), ([1000, 130, rows], &"partial".into()));
    Ran::of(world.command().args(["verify", "rows.jsonl"])).ok();
    // A limit that leaves out no row of the dataset proves it.
    let all = ["-o", "rows.jsonl", "--manifest", "--overwrite", "--limit", "1000"];
    let ran = world.export(&[&all, &BILLING[..]].concat()).ok();
    assert!(ran.stderr.contains("complete: every row read once"), "{}", ran.stderr);
}
