//! One export by many workers: the same bytes as a single machine's, and nothing partial, repeated or lost.

mod changed;
mod interrupted;
mod killed;
mod pages;
mod recovered;
mod refused;
mod replaced;
#[cfg(feature = "clouds")]
mod stores;

use std::{fs, process::Child, process::Stdio};

use overmind_export::demo::{Dataset, Options};
use serde_json::Value;

use crate::{
    support::{ID, Ran, World, resealed},
    tree::{Tree, content},
};

/// 1,000 rows: 40 pages of 25 rows, in ten parts of four pages.
const ROWS: u64 = 1000;
const PLAN: [&str; 4] = ["--page-size", "25", "--rows-per-file", "100"];

fn world() -> World {
    World::generated(Options::default(), ROWS)
}

fn step(world: &World, arguments: &[&str]) -> Ran {
    Ran::of(world.command().args(arguments))
}

fn begin(world: &World, output: &str, ranges: u32, more: &[&str]) -> Ran {
    let (id, ranges) = (ID.to_string(), ranges.to_string());
    step(world, &[&["begin", &id, "-o", output, "--ranges", &ranges], &PLAN[..], more].concat())
}

fn part(world: &World, output: &str, range: &str) -> Ran {
    step(world, &["part", "-o", output, "--range", range])
}

fn start_part(world: &World, output: &str, range: &str) -> Child {
    let mut command = world.command();
    command.args(["part", "-o", output, "--range", range, "--concurrency", "1"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn commit(world: &World, output: &str) -> Ran {
    step(world, &["commit", "-o", output])
}

/// Writes all ranges of the plan of `many`.
fn write_parts(world: &World, ranges: u32) {
    for range in 1..=ranges {
        part(world, "many", &format!("{range}/{ranges}")).ok();
    }
}

/// A world with two finished ranges.
fn finished() -> World {
    let world = world();
    begin(&world, "many", 2, &[]).ok();
    write_parts(&world, 2);
    world
}

/// The content of an export, with the digest of its record. The ranges and the plan of the record are those of the workers.
fn comparable(world: &World, output: &str) -> (Tree, Vec<Value>) {
    let mut found = content(&world.path(output));
    let record = found.get_mut("the record").unwrap().as_mut().unwrap();
    let mut json: Value = serde_json::from_slice(record).unwrap();
    let ranges = json.as_object_mut().unwrap().remove("ranges").unwrap();
    json.as_object_mut().unwrap().remove("plan");
    *record = json.to_string().into_bytes();
    (found, ranges.as_array().unwrap().clone())
}

/// Exports alone, with these further options. Checks that the workers' export in `many` has the same content.
fn assert_is_of_one_machine(world: &World, more: &[&str]) {
    world.export(&[&["-o", "alone"], &PLAN[..], more].concat()).ok();
    assert!(comparable(world, "many").0 == comparable(world, "alone").0);
}

/// Commits `many`, and checks that it has the content that one machine writes with these further options.
fn assert_commits(world: &World, more: &[&str]) {
    commit(world, "many").ok();
    assert_is_of_one_machine(world, more);
}

/// Writes all ranges of `many`, and then does the same.
fn assert_completes(world: &World, ranges: u32, more: &[&str]) {
    write_parts(world, ranges);
    assert_commits(world, more);
}

#[test]
fn workers_write_the_bytes_of_one_machine() {
    let world = world();
    let key = world.path("key");
    fs::write(&key, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap();
    let key = key.to_str().unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let table: [&[&str]; 9] = [
        &[],
        &["--format", "jsonl", "--compression", "zstd"],
        &["--format", "csv", "--csv-bom", "--columns", "id,order,input"],
        &["--where", ".order % 3 != 0"],
        &["--format", "jsonl", "--map", "{id}, {order}"],
        &["--split", "train=0.8,test=0.2", "--sample", "0.5", "--seed", "3"],
        &["--mask", ".tags", "--column", "n:int=.order", "--ordering", "order"],
        &["--pseudonymise", ".persona", "--pseudonym-key-file", key],
        &["--dataset-card", "--success-file", "--record", "the-record.json"],
    ];
    for (number, more) in table.iter().enumerate() {
        let (alone, many) = (format!("alone{number}"), format!("many{number}"));
        let has_record = more.contains(&"--record");
        let more: Vec<&str> =
            more.iter().map(|it| if *it == "the-record.json" { "r.json" } else { it }).collect();
        world.export(&[&["-o", &alone], &PLAN[..], &more].concat()).ok();
        let single = has_record.then(|| world.read("r.json"));
        if has_record {
            fs::rename(world.path("r.json"), world.path(&format!("{alone}.manifest.json")))
                .unwrap();
        }
        begin(&world, &many, 3, &more).ok();
        // In any order, one of them twice.
        for range in ["3/3", "1/3", "3/3", "2/3"] {
            part(&world, &many, range).ok();
        }
        let ran = commit(&world, &many).ok();
        assert!(ran.stderr.contains("complete: every row"), "{}", ran.stderr);
        if has_record {
            fs::rename(world.path("r.json"), world.path(&format!("{many}.manifest.json"))).unwrap();
        }
        let ((alone, _), (many_files, ranges)) =
            (comparable(&world, &alone), comparable(&world, &many));
        assert_eq!(alone.keys().collect::<Vec<_>>(), many_files.keys().collect::<Vec<_>>());
        assert!(alone == many_files, "{more:?}: the files differ");
        assert_eq!(ranges.len(), 3);
        assert_eq!(single.is_some(), has_record);
        let names = world.entries();
        assert!(!names.iter().any(|name| name.ends_with(".partial")), "{names:?}");
        Ran::of(world.command().args(["verify", &many])).ok();
    }
}

#[test]
fn size_of_parts_is_cut_within_a_range() {
    // The parts of 100 rows are cut by nothing else here: see `writer.rs` for the cut by bytes.
    let world = world();
    begin(&world, "many", 16, &[]).ok();
    let status = step(&world, &["status", "-o", "many", "--json"]).ok();
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let states = status["states"].as_array().unwrap();
    let empty = states.iter().filter(|state| state["state"] == "empty").count();
    assert_eq!((states.len(), empty), (16, 6));
    assert_eq!((&status["finished"], &status["with_pages"]), (&0.into(), &10.into()));
    let status = step(&world, &["status", "-o", "many"]).ok();
    let head = "0 of 10 ranges finished · 6 ranges without pages · 1,000 rows";
    assert!(status.stdout.starts_with(head), "{}", status.stdout);
    for range in 1..=16 {
        let ran = part(&world, "many", &format!("{range}/16")).ok();
        let is_empty = states[range - 1]["state"] == "empty";
        assert_eq!(ran.stderr.contains("it has no pages"), is_empty, "{}", ran.stderr);
    }
    assert_commits(&world, &[]);
}

#[test]
fn empty_dataset_has_one_range() {
    let world = World::generated(Options::default(), 0);
    begin(&world, "many", 2, &[]).ok();
    assert_completes(&world, 2, &[]);
}

#[test]
fn finished_range_sends_no_request_again() {
    let world = world();
    begin(&world, "many", 2, &[]).ok();
    let json = |index: &str| {
        let ran = step(&world, &["part", "-o", "many", "--range-index", index, "--json"]).ok();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    assert_eq!(json("1")["outcome"], "written");
    let before = world.server.stats().requests;
    let again = json("1");
    assert_eq!((&again["outcome"], &again["range"]), (&"already_done".into(), &2.into()));
    assert_eq!(world.server.stats().requests, before);
}

#[test]
fn missing_ranges_are_named_and_all_others_kept() {
    let world = world();
    begin(&world, "many", 4, &[]).ok();
    part(&world, "many", "2/4").ok();
    insta::assert_snapshot!(commit(&world, "many").told(&world), @"
    exit 65
    error: many: the export is not complete: range 1 of 4: pages 1 to 8 are missing; range 3 of 4: pages 21 to 28 are missing; range 4 of 4: pages 29 to 40 are missing
      hint: nothing was published, and all other ranges are kept: run `overmind-export part` again for 1/4, 3/4 to 4/4, then commit
    ");
    for range in ["1/4", "3/4", "4/4"] {
        part(&world, "many", range).ok();
    }
    // The first commit has sent no request.
    commit(&world, "many").ok();
    assert_eq!(world.server.stats().requests, 1 + 40 + 2);
}

#[test]
fn damaged_part_is_named_and_written_again() {
    let world = world();
    begin(&world, "many", 2, &[]).ok();
    write_parts(&world, 2);
    let ranges = world.path(".many.partial/ranges");
    let attempt = |name: &str| {
        let names = fs::read_dir(&ranges).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.is_dir()).find(|path| path.join(name).exists()).unwrap()
    };
    let damaged = attempt("part-00003.parquet").join("part-00003.parquet");
    let mut bytes = fs::read(&damaged).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let ran = commit(&world, "many");
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("its part part-00003.parquet was changed or removed"), "{ran:?}");
    // The worker notices it, too, although the size is the same, and writes the range again.
    let finished = || {
        ["1/2", "2/2"]
            .map(|range| part(&world, "many", range).ok().stderr.contains("finished before"))
    };
    assert_eq!(finished().iter().filter(|done| **done).count(), 1);
    assert_eq!(finished(), [true, true]);
    for folder in fs::read_dir(&ranges).unwrap().map(|entry| entry.unwrap().path()) {
        let ids = folder.join("ids-00000");
        let Ok(bytes) = fs::read(&ids) else { continue };
        fs::write(ids, vec![0; bytes.len()]).unwrap();
    }
    assert_eq!(finished(), [false, false]);
    assert_commits(&world, &[]);
}

/// A part that is valid and has the right size, but is another one.
#[test]
fn swapped_parts_are_named() {
    let world = world();
    begin(&world, "many", 2, &["--columns", "order", "--compression", "none"]).ok();
    write_parts(&world, 2);
    let ranges = world.path(".many.partial/ranges");
    let own = fs::read_dir(&ranges).unwrap().map(|entry| entry.unwrap().path());
    let own = own.filter(|path| path.is_dir()).max().unwrap();
    let [one, two] = ["part-00001.parquet", "part-00002.parquet"].map(|name| own.join(name));
    let sizes = [&one, &two].map(|path| fs::metadata(path).unwrap().len());
    assert_eq!(sizes[0], sizes[1]);
    fs::copy(&two, &one).unwrap();
    let ran = commit(&world, "many");
    assert_eq!(ran.code, Some(65), "{ran:?}");
    let words =
        "range 2 of 2: pages 21 to 40 cannot be used: its part part-00001.parquet was changed";
    assert!(ran.stderr.contains(words), "{ran:?}");
    assert!(ran.stderr.contains(" part` again for 2/2, then commit"), "{ran:?}");
}

#[test]
fn invalid_record_does_not_count_as_finished() {
    let world = world();
    begin(&world, "many", 2, &[]).ok();
    part(&world, "many", "1/2").ok();
    let ranges = world.path(".many.partial/ranges");
    let valid = fs::read_to_string(ranges.join("range-00001-0.json")).unwrap();
    let of_range = valid.replace("\"range\":1", "\"range\":2");
    let of_another = of_range.replace("\"plan\":\"", "\"plan\":\"0");
    assert!(of_another != of_range && of_range != valid);
    let [of_range, of_another] = [of_range, of_another].map(|json| resealed(&json));
    let invalid = [String::new(), of_range[..90].to_owned(), of_another, of_range];
    for (attempt, json) in invalid.iter().enumerate() {
        fs::write(ranges.join(format!("range-00002-{attempt}.json")), json).unwrap();
    }
    assert_eq!(commit(&world, "many").code, Some(65));
    let json = step(&world, &["part", "-o", "many", "--range", "2/2", "--json"]).ok();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["outcome"], "written");
    assert!(part(&world, "many", "2/2").ok().stderr.contains("finished before"));
    assert_commits(&world, &[]);
}

#[test]
fn repeated_abort_removes_what_a_killed_one_left() {
    let world = world();
    begin(&world, "many", 2, &[]).ok();
    part(&world, "many", "1/2").ok();
    // A killed abort has removed the plan, and not yet the ranges.
    fs::remove_file(world.path(".many.partial/plan.json")).unwrap();
    step(&world, &["abort", "-o", "many"]).ok();
    assert!(world.entries().is_empty(), "{:?}", world.entries());
    assert_eq!(step(&world, &["abort", "-o", "many"]).code, Some(66));
}

#[test]
fn row_in_two_ranges_fails_the_proof_and_keeps_all() {
    let world = world();
    begin(&world, "many", 2, &[]).ok();
    part(&world, "many", "1/2").ok();
    // A row of the first range moves to the second one, and another one disappears.
    let dataset = Dataset::generated(ROWS, 7).with_id(ID);
    let mut rows: Vec<String> =
        (0..ROWS).map(|row| String::from_utf8(dataset.row(row)).unwrap()).collect();
    rows[700] = rows[130].clone();
    world.server.replace(vec![Dataset::from_rows("rows", rows).with_id(ID)]);
    part(&world, "many", "2/2").ok();
    let ran = commit(&world, "many");
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stderr.contains("1 id came twice"), "{}", ran.stderr);
    assert!(ran.stderr.contains("run `overmind-export begin` again with --restart"), "{ran:?}");
    let status = step(&world, &["status", "-o", "many"]).ok();
    assert!(status.stdout.starts_with("2 of 2 ranges finished"), "{}", status.stdout);
    assert_eq!(world.entries(), [".many.partial"]);
    // The hint leads out of it.
    begin(&world, "many", 2, &["--restart"]).ok();
    for range in ["1/2", "2/2"] {
        assert!(!part(&world, "many", range).ok().stderr.contains("finished before"));
    }
}

#[test]
fn commit_replaces_an_export_only_on_request() {
    let world = world();
    world.export(&["-o", "many", "--limit", "10"]).ok();
    assert_eq!(begin(&world, "many", 2, &[]).code, Some(73));
    begin(&world, "many", 2, &["--overwrite"]).ok();
    write_parts(&world, 2);
    let before = world.read("many.manifest.json");
    // Nothing has changed until the commit.
    assert!(String::from_utf8(before).unwrap().contains("\"rows\": 10,"));
    assert_commits(&world, &[]);
}
