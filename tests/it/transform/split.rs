//! `--split`: which rows are in which split, what the record says of them, and how they are read back.

use std::{collections::BTreeMap, fs, time::Duration};

use overmind_export::{
    Batches, Digest, Location,
    arrow_array::{RecordBatch, cast::AsArray},
    demo::{Dataset, Fault, FaultAttempt, Faults, Options},
};
use serde_json::Value;

use super::{record, rows, world};
use crate::{
    support::{ID, Ran, World, entries},
    tree::{content, tree},
};

const SPLIT: [&str; 4] = ["--split", "train=0.8,test=0.2", "--rows-per-file", "100"];

fn export(world: &World, output: &str, arguments: &[&str]) -> Ran {
    world.export(&[&["-o", output, "--page-size", "25"], arguments].concat())
}

fn lines(world: &World, folder: &str) -> Vec<String> {
    let mut parts: Vec<_> = entries(&world.path(folder));
    parts.sort();
    let read = |name: String| String::from_utf8(world.read(&format!("{folder}/{name}"))).unwrap();
    parts.into_iter().map(read).collect::<String>().lines().map(str::to_owned).collect()
}

/// The orders of the rows of each split.
fn orders(world: &World, output: &str, splits: &[&str]) -> Vec<Vec<i64>> {
    let order = |line: &String| {
        let (_, rest) = line.split_once("\"order\":").unwrap();
        rest.split_once(',').unwrap().0.parse().unwrap()
    };
    let of = |split: &&str| lines(world, &format!("{output}/{split}")).iter().map(order).collect();
    splits.iter().map(of).collect()
}

#[test]
fn splits_have_every_row_token_for_token() {
    let world = world(1000);
    world.export(&["-o", "all.jsonl"]).ok();
    let all = String::from_utf8(world.read("all.jsonl")).unwrap();
    let ran = export(&world, "out/", &[&SPLIT[..], &["--format", "jsonl"]].concat()).ok();
    assert_eq!(entries(&world.path("out")), ["test", "train"]);
    assert!(entries(&world.path("out/test")).len() > 5);
    let (train, test) = (lines(&world, "out/train"), lines(&world, "out/test"));
    assert!((100..300).contains(&test.len()), "{}", test.len());
    let told = format!("rows of the splits: train {}, test {}", train.len(), test.len());
    assert!(ran.stderr.contains(&told), "{}", ran.stderr);
    // Each split has its rows in the API's order.
    let (mut train, mut test) = (train.iter().peekable(), test.iter().peekable());
    for line in all.lines() {
        let next = train.next_if(|it| *it == line).or_else(|| test.next_if(|it| *it == line));
        assert!(next.is_some(), "{line}");
    }
    assert_eq!((train.next(), test.next()), (None, None));
}

#[test]
fn digest_does_not_depend_on_parts_and_formats() {
    let world = world(600);
    let mut digests = BTreeMap::new();
    for (name, format, more) in [
        ("a", "jsonl", &["--rows-per-file", "50"][..]),
        ("b", "parquet", &["--encode-threads", "1"]),
        ("c", "csv", &["--encode-threads", "16", "--rows-per-file", "77"]),
        ("d", "arrow", &[]),
    ] {
        let split = ["--split", "train=0.8,test=0.2", "--format", format];
        export(&world, name, &[&split, more].concat()).ok();
        let whole = record(&world, name);
        digests.insert(whole["digest"].to_string() + &whole["splits"].to_string(), name);
        let verified = Ran::of(world.command().args(["verify", name])).ok();
        assert!(verified.stdout.contains("ok, 600 rows"), "{}", verified.stdout);
        let parts = whole["parts"].as_array().unwrap();
        assert_eq!(whole["ranges"][0]["rows_read"], 600);
        assert_eq!(whole["pages"], 24, "{}", parts.len());
        let read = |split: &str| -> u64 {
            let of = parts.iter().filter(|part| part["split"] == split);
            of.map(|part| part["rows_read"].as_u64().unwrap()).sum()
        };
        assert_eq!((read("train"), read("test")), (600, 600));
    }
    assert_eq!(digests.len(), 1, "{digests:?}");
    let threads = |threads| {
        let more = ["--overwrite", "--encode-threads", threads];
        export(&world, "threads", &[&SPLIT[..], &more].concat()).ok();
        tree(&world.path("threads"))
    };
    assert!(threads("1") == threads("16"));
}

#[test]
fn equal_keys_are_in_one_split_of_every_version() {
    let mut data = rows(900);
    // Every input occurs twice, once with other keys in another order.
    for index in 0..450 {
        let (_, input) = data[index].split_once("\"input\":{ ").unwrap();
        let (input, _) = input.split_once(", \"n\": 1e400 }").unwrap();
        let again = format!("\"input\":{{\"n\":1e400,{} }}", input.replace('\n', " "));
        let (before, rest) = data[index + 450].split_once("\"input\":").unwrap();
        let (_, after) = rest.split_once("\"n\": 1e400 }").unwrap();
        data[index + 450] = format!("{before}{again}{after}");
    }
    let world = World::with_rows(Options::default(), data.clone());
    let run = |name: &str, splits: &str| {
        export(&world, name, &["--split", splits, "--format", "jsonl"]).ok();
    };
    run("two", "train=0.7,test=0.3");
    let two = orders(&world, "two", &["train", "test"]);
    for rows in &two {
        assert!(rows.iter().all(|order| rows.contains(&((order + 450) % 900))));
    }
    // More splits leave the first one as it is.
    run("three", "train=0.7,val=0.15,test=0.15");
    let three = orders(&world, "three", &["train", "val", "test"]);
    assert_eq!(three[0], two[0]);
    assert!(!three[1].is_empty() && !three[2].is_empty());
    // In another version of the dataset, a row stays where it is.
    data.retain(|row| !row.contains("00,\"input\""));
    data.reverse();
    world.server.replace(vec![Dataset::from_rows("rows", data).with_id(ID)]);
    run("later", "train=0.7,test=0.3");
    let later = orders(&world, "later", &["train", "test"]);
    for (now, then) in later.iter().zip(&two) {
        assert!(now.len() > 100 && now.iter().all(|order| then.contains(order)));
    }
}

#[test]
fn key_expression_decides_the_split() {
    let world = world(600);
    let by_topic = ["--split", "a=0.5,b=0.5", "--format", "jsonl", "--split-by", ".tags.topic"];
    export(&world, "topic", &by_topic).ok();
    let topics = orders(&world, "topic", &["a", "b"]);
    // There are three topics, each of which is in one split.
    for topic in 0..3 {
        let has = |rows: &Vec<i64>| rows.iter().filter(|order| **order % 3 == topic).count();
        let counts: Vec<_> = topics.iter().map(has).collect();
        assert!(counts == [200, 0] || counts == [0, 200], "{counts:?}");
    }
    assert_eq!(record(&world, "topic")["transform"]["split_by"], ".tags.topic");
    // The default and its text are the same.
    let default = ["--split", "a=0.5,b=0.5", "--seed", "3"];
    export(&world, "default", &default).ok();
    export(&world, "named", &[&default[..], &["--split-by", " .input "]].concat()).ok();
    assert_eq!(content(&world.path("default")), content(&world.path("named")));
    let other = export(&world, "other", &["--split", "a=0.5,b=0.5"]).ok();
    assert_ne!(content(&world.path("default")), content(&world.path("other")), "{other:?}");
    // Null is a key like any other.
    export(&world, "null", &["--split", "a=0.5,b=0.5", "--split-by", "empty"]).ok();
    let splits = record(&world, "null")["splits"].clone();
    let rows = [&splits[0]["rows"], &splits[1]["rows"]];
    assert!(rows == [600, 0] || rows == [0, 600], "{splits}");
}

#[test]
fn rows_without_a_key_follow_on_error() {
    let world = world(100);
    let split = |more: &[&str]| {
        let arguments = ["--split", "a=0.5,b=0.5", "--overwrite", "--split-by"];
        export(&world, "out", &[&arguments[..], more].concat())
    };
    let failed = split(&[".persona | if . == null then error(\"no\") else . end"]);
    assert_eq!(failed.code, Some(65));
    assert!(failed.stderr.contains("--split-by"), "{}", failed.stderr);
    let several = split(&[".id, .order"]);
    assert!(several.stderr.contains("it has several outputs"), "{}", several.stderr);
    for (action, rows, hint) in
        [("skip", 80, "left out"), ("null", 100, "kept, although an expression failed: 20 rows")]
    {
        let ran = split(&[".persona | if . == null then error else . end", "--on-error", action]);
        assert!(ran.stderr.contains(hint), "{}", ran.stderr);
        assert_eq!(record(&world, "out")["rows"], rows, "{action}: {}", ran.stderr);
        Ran::of(world.command().args(["verify", "out", "out/a"])).ok();
    }
}

#[test]
fn sample_and_split_choose_independently() {
    let world = world(3000);
    // With the same hash, all rows of the sample would be in the first split.
    let arguments =
        ["--sample", "0.2", "--split", "a=0.2,b=0.8", "--where", ".tags.passed", "--seed", "9"];
    export(&world, "out", &arguments).ok();
    let whole = record(&world, "out");
    let rows = |split: usize| whole["splits"][split]["rows"].as_u64().unwrap();
    assert!((30..90).contains(&rows(0)) && rows(1) > 180, "{}", whole["splits"]);
    assert_eq!(whole["rows"], rows(0) + rows(1));
    assert_eq!(whole["rows_read"], 3000);
    Ran::of(world.command().args(["verify", "out"])).ok();
}

#[test]
fn masks_and_lines_follow_the_split() {
    let world = world(600);
    let by_topic = ["--split", "a=0.5,b=0.5", "--split-by", ".tags.topic", "--rows-per-file", "90"];
    let mask = ["--mask", ".persona, .tags.topic", "--where", ".tags.topic != \"login\""];
    export(&world, "masked", &[&by_topic[..], &mask, &["--format", "jsonl"]].concat()).ok();
    let whole = record(&world, "masked");
    let mut replaced = [0, 0];
    for part in whole["parts"].as_array().unwrap() {
        let number = |name: usize| part["replaced"][name].as_u64().unwrap();
        // Every topic is masked, and the personas of four rows of five.
        assert_eq!(part["rows"], number(1));
        replaced = [replaced[0] + number(0), replaced[1] + number(1)];
    }
    assert_eq!(replaced, [320, 400]);
    Ran::of(world.command().args(["verify", "masked", "masked/a"])).ok();
    assert!(!lines(&world, "masked/a").concat().contains("billing"));
    // The key is that of the real row.
    let orders = orders(&world, "masked", &["a", "b"]);
    let topic = |topic| orders.iter().filter(|rows| rows.iter().any(|it| it % 3 == topic)).count();
    assert_eq!([topic(0), topic(1)], [1, 1]);

    // Of equal rows, only the first one is written, and counted.
    let first = ["--dedupe", ".tags.topic", "--mask", ".tags.topic", "--format", "jsonl"];
    export(&world, "first", &[&by_topic[..], &first].concat()).ok();
    let whole = record(&world, "first");
    let parts = whole["parts"].as_array().unwrap();
    let masked = parts.iter().map(|part| part["replaced"][0].as_u64().unwrap()).sum::<u64>();
    assert_eq!((&whole["rows"], masked), (&3.into(), 3));
    Ran::of(world.command().args(["verify", "first", "first/a", "first/b"])).ok();

    let map = ["--map", "range(.order % 3) | tostring", "--format", "jsonl"];
    export(&world, "lines", &[&by_topic[..], &map].concat()).ok();
    let (a, b) = (lines(&world, "lines/a"), lines(&world, "lines/b"));
    assert_eq!(a.len() + b.len(), 600);
    assert_eq!((a.len() % 200, b.len() % 200), (0, 0));
    Ran::of(world.command().args(["verify", "lines", "lines/b"])).ok();
}

#[test]
fn split_without_rows_has_a_file_with_the_schema() {
    let world = world(40);
    for format in ["parquet", "arrow", "jsonl", "csv"] {
        let one = ["--where", ".order == 7", "--format", format, "--overwrite"];
        export(&world, "out", &[&SPLIT[..], &one].concat()).ok();
        let splits = record(&world, "out")["splits"].clone();
        let empty = if splits[0]["rows"] == 0 { "train" } else { "test" };
        assert_eq!(entries(&world.path(&format!("out/{empty}"))), [format!("part-00000.{format}")]);
        let batches = Batches::open(&Location::from(world.path("out").join(empty))).unwrap();
        assert_eq!((batches.rows(), batches.columns().unwrap().len()), (Some(0), 7));
        export(&world, "none", &[&SPLIT[..], &["--where", "false", "--overwrite"]].concat()).ok();
        Ran::of(world.command().args(["verify", "out", "none", "none/test"])).ok();
    }
}

#[test]
fn interrupted_run_keeps_whole_groups_of_parts() {
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let latency = Duration::from_millis(30);
    let world = World::with_rows(Options { faults, latency, ..Options::default() }, rows(2000));
    let more = ["--concurrency", "1", "--max-retries", "0", "--where", ".order % 3 != 0"];
    let run = || export(&world, "rows", &[&SPLIT[..], &more].concat());
    assert_eq!(run().code, Some(69));
    let kept = entries(&world.path(".rows.partial/data/train"));
    assert!(!kept.is_empty());
    // The part of one split is gone: its pages and the later ones are read again.
    fs::remove_file(world.path(".rows.partial/data/test/part-00003.parquet")).unwrap();
    fs::write(world.path(".rows.partial/data/test/stray"), "stray").unwrap();
    world.server.set_faults(Faults::none());
    let before = world.server.stats().requests;
    let resumed = run().ok();
    assert!(resumed.stderr.contains("resuming: 6 finished parts kept"), "{}", resumed.stderr);
    assert!(world.server.stats().requests - before < 70);
    let truth = World::with_rows(Options::default(), rows(2000));
    export(&truth, "rows", &[&SPLIT[..], &more].concat()).ok();
    assert!(content(&world.path("rows")) == content(&truth.path("rows")));
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);

    world.server.set_faults(Faults::none().on(30, FaultAttempt::Always, Fault::status(503)));
    let overwrite = |splits: &str| {
        export(&world, "rows", &[&["--split", splits, "--overwrite"], &SPLIT[2..], &more].concat())
    };
    assert_eq!(overwrite("a=0.5,b=0.5").code, Some(69));
    world.server.set_faults(Faults::none());
    let other = overwrite("a=0.5,c=0.5");
    assert!(
        other.stderr.contains(r#"--split was "a=0.5, b=0.5", now it is "a=0.5, c=0.5""#),
        "{}",
        other.stderr
    );
    overwrite("a=0.5,b=0.5").ok();
    assert_eq!(entries(&world.path("rows")), ["a", "b"]);
}

#[test]
fn exports_with_and_without_splits_replace_each_other() {
    let world = world(200);
    for arguments in [&SPLIT[..], &[], &["--split", "a=0.5,b=0.5"], &SPLIT[..]] {
        export(&world, "out", &[arguments, &["--overwrite"]].concat()).ok();
        Ran::of(world.command().args(["verify", "out"])).ok();
    }
    assert_eq!(entries(&world.path("out")), ["test", "train"]);
    assert_eq!(world.entries(), ["out", "out.manifest.json"]);
    // A file of the user in the folder of a split is never replaced.
    fs::write(world.path("out/train/notes.txt"), "mine").unwrap();
    let refused = export(&world, "out", &["--overwrite"]);
    assert_eq!(refused.code, Some(73));
    assert!(refused.stderr.contains("holds \"train/notes.txt\""), "{}", refused.stderr);
    fs::remove_file(world.path("out/train/notes.txt")).unwrap();
    fs::create_dir(world.path("out/train/mine")).unwrap();
    let refused = export(&world, "out", &["--overwrite"]);
    assert!(refused.stderr.contains("holds \"train/mine\""), "{}", refused.stderr);
    #[cfg(unix)]
    {
        fs::remove_dir(world.path("out/train/mine")).unwrap();
        fs::rename(world.path("out/train"), world.path("elsewhere")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", world.path("out/train")).unwrap();
        let refused = export(&world, "out", &["--overwrite"]);
        assert!(refused.stderr.contains("holds \"train\""), "{}", refused.stderr);
        assert!(!entries(&world.path("elsewhere")).is_empty());
    }
}

#[test]
fn verify_checks_folders_of_splits() {
    let world = world(300);
    export(&world, "out", &SPLIT).ok();
    let verify = |name: &str| Ran::of(world.command().args(["verify", name]));
    let problem = |change: &dyn Fn(), name: &str, expected: &str| {
        change();
        let ran = verify(name);
        assert_eq!(ran.code, Some(65), "{expected}: {ran:?}");
        assert!(ran.stdout.contains(expected), "{expected}: {}", ran.stdout);
    };
    let path = |name: &str| world.path(name);
    let rename = |from: &str, to: &str| fs::rename(path(from), path(to)).unwrap();
    for name in ["out/train", "out/test/"] {
        let ran = verify(name).ok();
        let rows =
            record(&world, "out")["splits"][usize::from(name != "out/train")]["rows"].clone();
        assert!(ran.stdout.contains(&format!("ok, {rows} rows of 300 read")), "{}", ran.stdout);
    }
    fs::write(path("out/train/_SUCCESS"), "").unwrap();
    problem(&|| (), "out", "train/_SUCCESS is not in the manifest");
    fs::remove_file(path("out/train/_SUCCESS")).unwrap();
    problem(
        &|| rename("out/test/part-00001.parquet", "aside"),
        "out",
        "test/part-00001.parquet is missing",
    );
    assert_eq!(verify("out/train").code, Some(0));
    problem(&|| (), "out/test", "part-00001.parquet is missing");
    // A part in the folder of another split has another digest.
    fs::copy(path("out/train/part-00001.parquet"), path("out/test/part-00001.parquet")).unwrap();
    problem(&|| (), "out", "test/part-00001.parquet: bytes ");
    rename("aside", "out/test/part-00001.parquet");
    verify("out").ok();
    // A record that says something else of the splits.
    let text = fs::read_to_string(path("out.manifest.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json["splits"][0]["rows"] = 1.into();
    fs::write(path("out.manifest.json"), json.to_string()).unwrap();
    problem(&|| (), "out", "rows of train with the digest");
    // A record without one of the splits, and with the sums of the other one.
    json = serde_json::from_str(&text).unwrap();
    let is_train = |it: &Value| it["split"] == "train" || it["name"] == "train";
    let (mut digest, mut rows) = (Digest::default(), 0);
    for part in json["parts"].as_array().unwrap().iter().filter(|part| is_train(part)) {
        let of_part = part["rows"].as_u64().unwrap();
        digest.join(part["digest"].as_str().unwrap().parse().unwrap(), of_part);
        rows += of_part;
    }
    json["parts"].as_array_mut().unwrap().retain(is_train);
    json["splits"].as_array_mut().unwrap().retain(is_train);
    (json["rows"], json["digest"]) = (rows.into(), digest.to_string().into());
    fs::write(path("out.manifest.json"), json.to_string()).unwrap();
    rename("out/test", "gone");
    let why = r#"its parts are of the splits "train", and its transformation made "train, test""#;
    problem(&|| (), "out", why);
    assert!(Batches::open(&Location::from(path("out"))).is_err());
    verify("out/train").ok();
    assert!(Batches::open(&Location::from(path("out"))).is_err());
}

#[test]
fn readers_open_the_whole_export_or_one_split() {
    let world = world(300);
    export(&world, "out", &[&SPLIT[..], &["--format", "jsonl"]].concat()).ok();
    let ids = |path: &str| -> Vec<String> {
        let batches = Batches::open(&Location::from(world.path(path))).unwrap();
        let rows = batches.rows().unwrap();
        let text = |batch: overmind_export::Result<_>| -> Vec<String> {
            let batch: RecordBatch = batch.unwrap();
            let ids = batch.column(0).as_string::<i32>();
            ids.iter().map(|id| id.unwrap().to_owned()).collect()
        };
        let ids: Vec<_> = batches.flat_map(text).collect();
        assert_eq!(ids.len() as u64, rows, "{path}");
        ids
    };
    let (train, test) = (ids("out/train"), ids("out/test"));
    assert_eq!(ids("out"), [train, test].concat());
    world.export(&["-o", "all.parquet"]).ok();
    let diff = |one: &str, other: &str| Ran::of(world.command().args(["diff", one, other]));
    diff("out", "all.parquet").ok();
    assert_eq!(diff("out/train", "out/test").code, Some(1));
    diff("out/train", "out/train").ok();
    let preview = Ran::of(world.command().args(["preview", "out/test", "--json"])).ok();
    assert!(preview.stdout.lines().count() > 0, "{}", preview.stdout);
    // From inside the directory, too, and through a link.
    let mut command = world.command();
    Ran::of(command.current_dir(world.path("out")).args(["verify", "train"])).ok();
    // Another directory next to a record is not part of its export.
    fs::create_dir_all(world.path("out/other")).unwrap();
    fs::copy(world.path("out/test/part-00000.jsonl"), world.path("out/other/part-00000.jsonl"))
        .unwrap();
    let other = Ran::of(world.command().args(["verify", "out/other"]));
    assert!(other.stdout.contains("other.manifest.json is missing"), "{}", other.stdout);
}

#[test]
fn wrong_splits_send_no_request() {
    let world = world(10);
    for (arguments, code, why) in [
        (&["-o", "a.parquet", "--split", "a=0.5,b=0.5"][..], 2, "--split needs a directory"),
        (&["-o", "-", "--split", "a=0.5,b=0.5"], 2, "--split needs a directory"),
        (&["-o", "a/", "--split", "a=0.5,b=0.6"], 2, "the fractions sum to 1.1, not to 1"),
        (&["-o", "a/", "--split", "a=1"], 2, "give from 2 to 16 splits"),
        (&["-o", "a/", "--split", "a=0.5,A=0.5"], 2, "another split has this name"),
        (
            &["-o", "a/", "--split-by", ".id"],
            2,
            "--split-by has no effect without --split or --sample",
        ),
        (&["-o", "a/", "--seed", "1"], 2, "--seed has no effect without --sample or --split"),
        (
            &["-o", "a/", "--split", "a=0.5,b=0.5", "--split-by", ".["],
            2,
            "is not a valid expression",
        ),
    ] {
        let ran = world.export(arguments);
        assert_eq!(ran.code, Some(code), "{why}: {ran:?}");
        assert!(ran.stderr.contains(why), "{why}: {}", ran.stderr);
    }
    assert_eq!(world.server.stats().requests, 0);
}
