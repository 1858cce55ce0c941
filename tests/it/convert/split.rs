//! `convert --split`: the splits of an export, and what the record says of them.

use std::fs;

use overmind_export::{
    Convert, ConvertOptions, ConvertPlan, Location, ReadOptions, Transform, TransformedBatches,
};
use serde_json::{Value, json};

use super::{FILES, convert, export, record, run, verified, world};
use crate::{
    support::{Ran, World, entries},
    transform,
    tree::{content, tree},
};

const SPLIT: [&str; 2] = ["--split", "train=0.8,test=0.2"];

/// The rows of a split, as a record has them.
fn rows_of(world: &World, name: &str, split: usize) -> u64 {
    record(world, name)["splits"][split]["rows"].as_u64().unwrap()
}

fn diff(world: &World, one: &str, other: &str) -> Ran {
    Ran::of(world.command().args(["diff", one, other]))
}

#[test]
fn splits_have_the_bytes_of_an_export() {
    let world = world(transform::rows(2000));
    for file in FILES {
        export(&world, &["-o", file, "--manifest"]);
    }
    export(&world, &["-o", "parts/", "--rows-per-file", "300"]);
    let sources = FILES.into_iter().chain(["parts/"]);
    let options: [&[&str]; 6] = [
        &[],
        &["--seed", "7"],
        &["--split-by", "[.tags.topic, .persona]"],
        &["--mask", ".persona", "--where", ".order > 10", "--sample", "0.7", "--seed", "3"],
        &["--dedupe", ".tags.score", "--column", "topic=.tags.topic", "--split-by", ".id"],
        &["--split-by", "if .order % 3 == 0 then error else .id end", "--on-error", "skip"],
    ];
    for (number, format) in
        ["parquet", "arrow", "jsonl", "csv"].into_iter().cycle().take(6).enumerate()
    {
        let how = [&SPLIT[..], &["--format", format], options[number]].concat();
        let direct = format!("direct-{number}");
        let exported = export(&world, &[&["-o", &direct], &how[..]].concat());
        for source in sources.clone().skip(number % 3).step_by(3) {
            let converted =
                convert(&world, &[&[source, "-o", "out/", "--overwrite"], &how[..]].concat());
            for field in [
                "splits",
                "digest",
                "rows",
                "rows_read",
                "failed_rows",
                "duplicate_rows",
                "replaced_rows",
                "transform",
                "completeness",
            ] {
                assert_eq!(exported[field], converted[field], "{field} {source} {number}");
            }
            assert!(tree(&world.path("out")) == tree(&world.path(&direct)), "{source} {number}");
            assert_eq!(record(&world, "out")["splits"], exported["splits"]);
            assert!(verified(&world, "out").contains("ok, "), "{source}");
        }
    }
}

#[test]
fn parts_of_all_splits_end_together() {
    let world = world(transform::rows(2000));
    export(&world, &["-o", "source.parquet"]);
    let how = |threads| {
        let how = ["--rows-per-file", "300", "--encode-threads", threads, "--overwrite"];
        [&["source.parquet", "-o", "out/"], &how[..], &SPLIT].concat()
    };
    let ran = run(&world, &how("1")).ok();
    let (train, test) = (rows_of(&world, "out", 0), rows_of(&world, "out", 1));
    let told = format!("rows of the splits: train {train} test {test}");
    assert!(ran.stderr.replace(',', "").contains(&told), "{}", ran.stderr);
    assert_eq!(train + test, 2000);
    let whole = record(&world, "out");
    let parts = |split: &str, field: &str| -> Vec<u64> {
        let parts = whole["parts"].as_array().unwrap().iter();
        let of = parts.filter(|part| part["split"] == split);
        of.map(|part| part[field].as_u64().unwrap()).collect()
    };
    let (of_train, read) = (parts("train", "rows"), parts("train", "rows_read"));
    assert_eq!(of_train[..5], [300; 5], "{of_train:?}");
    assert_eq!((of_train.len(), parts("test", "rows").len()), (6, 6));
    assert_eq!((read.iter().sum::<u64>(), &read), (2000, &parts("test", "rows_read")));
    assert_eq!(entries(&world.path("out")), ["test", "train"]);
    let one = tree(&world.path("out"));
    convert(&world, &how("16"));
    assert!(tree(&world.path("out")) == one);
    // Other sizes give other files with the same rows.
    let before = (whole["digest"].clone(), whole["splits"].clone());
    convert(&world, &[&["out/", "-o", "again/", "--rows-per-file", "77"], &SPLIT[..]].concat());
    let again = record(&world, "again");
    assert_eq!((again["digest"].clone(), again["splits"].clone()), before);
    assert!(again["parts"].as_array().unwrap().len() > 30);
    diff(&world, "out", "source.parquet").ok();
}

#[test]
fn splits_are_read_back_and_split_again() {
    let world = world(transform::rows(600));
    export(&world, &["-o", "source.jsonl", "--manifest"]);
    convert(&world, &[&["source.jsonl", "-o", "out/"], &SPLIT[..]].concat());
    let train = rows_of(&world, "out", 0);
    for name in ["out", "out/train", "out/test"] {
        verified(&world, name);
        Ran::of(world.command().args(["preview", name])).ok();
    }
    // One split has its rows, and the record of its conversion names it.
    let summary = convert(&world, &["out/train/", "-o", "train.csv", "--manifest"]);
    assert_eq!((&summary["rows"], &summary["completeness"]), (&train.into(), &"proven".into()));
    let earlier = record(&world, "train.csv")["earlier"].clone();
    assert_eq!((&earlier[0]["split"], &earlier[0]["rows_read"]), (&"train".into(), &600.into()));
    diff(&world, "out/train", "train.csv").ok();
    // Of a directory with splits, the rows of all splits are split again.
    let halves = ["--split", "a=0.5,b=0.5", "--seed", "1"];
    let summary = convert(&world, &[&["out/", "-o", "halves/"], &halves[..]].concat());
    let direct = convert(&world, &[&["source.jsonl", "-o", "direct/"], &halves[..]].concat());
    for split in 0..2 {
        let rows = |summary: &Value| summary["splits"][split]["rows"].clone();
        assert_eq!(rows(&summary), rows(&direct));
    }
    assert_eq!((&summary["rows"], &summary["completeness"]), (&600.into(), &"proven".into()));
    let earlier = record(&world, "halves")["earlier"].clone();
    assert_eq!((&earlier[0]["split"], &earlier[0]["rows"]), (&Value::Null, &600.into()));
    assert!(verified(&world, "halves").contains("ok, 600 rows"));
    // The hashes that chose a split choose no other one of its rows.
    let same = [&["out/train", "-o", "dev/"], &SPLIT[..]].concat();
    insta::assert_snapshot!(run(&world, &same).told(&world), @"
    exit 2
    error: the source has the rows of the split train, which --seed 0 chose: with this seed, --split would put almost all of them into one folder: give another --seed
    ");
    let file = [&["train.csv", "-o", "dev/"], &SPLIT[..]].concat();
    assert_eq!(run(&world, &file).code, Some(2));
    convert(&world, &[&file[..], &["--split-by", ".id", "--dry-run"]].concat());
    convert(&world, &[&["out/train", "-o", "dev/"], &halves[..]].concat());
    assert_eq!(record(&world, "dev")["rows"], train);
    assert_eq!(record(&world, "dev")["earlier"][0]["split"], "train");
    verified(&world, "dev/a");
}

#[test]
fn export_of_the_source_stays_as_it_is() {
    let world = world(transform::rows(200));
    export(&world, &[&["-o", "data/", "--dataset-card"], &SPLIT[..]].concat());
    export(&world, &["-o", "plain/"]);
    let before = (content(&world.path("data")), world.entries());
    let mut told = String::new();
    for arguments in [
        &["data/data/train", "-o", "data/data/dev/"][..],
        &["data/data/train/", "-o", "data/train.csv"],
        &["data/data", "-o", "data/other/"],
        &["data/data/train", "-o", "new/", "--record", "data.manifest.json"],
        &["data/data/test/", "-o", "data"],
        &["data/data/train/part-00000.parquet", "-o", "data/data/dev/"],
        &["data/data/train/part-00000.parquet", "-o", "data/data/train/dev.csv"],
        &["plain/part-00000.parquet", "-o", "plain/dev/"],
    ] {
        told += &run(&world, &[arguments, &["--overwrite"]].concat()).told(&world);
    }
    insta::assert_snapshot!(told, @"
    exit 2
    error: the output data/data/dev/ lies inside the export FOLDER/data, of which the source data/data/train is a part: give another place
    exit 2
    error: the output data/train.csv lies inside the export FOLDER/data, of which the source data/data/train/ is a part: give another place
    exit 2
    error: the output data/other/ lies inside the export FOLDER/data, of which the source data/data is a part: give another place
    exit 2
    error: the output would replace data.manifest.json, the record of the export FOLDER/data, of which the source data/data/train is a part: give another place
    exit 2
    error: the output data would replace the source data/data/test/: give another output, and remove the source afterwards
    exit 2
    error: the output data/data/dev/ lies inside the export FOLDER/data, of which the source data/data/train/part-00000.parquet is a part: give another place
    exit 2
    error: the output data/data/train/dev.csv lies inside the export FOLDER/data, of which the source data/data/train/part-00000.parquet is a part: give another place
    exit 2
    error: the output plain/dev/ lies inside the export FOLDER/plain, of which the source plain/part-00000.parquet is a part: give another place
    ");
    convert(&world, &["plain/part-00000.parquet", "-o", "dev/"]);
    verified(&world, "plain");
    fs::remove_dir_all(world.path("dev")).unwrap();
    fs::remove_file(world.path("dev.manifest.json")).unwrap();
    assert!((content(&world.path("data")), world.entries()) == before);
}

#[test]
fn record_elsewhere_is_that_of_a_split_too() {
    let world = world(transform::rows(200));
    export(
        &world,
        &[&["-o", "data/", "--dataset-card", "--record", "rec.json"], &SPLIT[..]].concat(),
    );
    export(
        &world,
        &[&["-o", "lines/", "--format", "jsonl", "--record", "lines.json"], &SPLIT[..]].concat(),
    );
    let verify = |arguments: &[&str]| Ran::of(world.command().arg("verify").args(arguments));
    let without = verify(&["data/data/train", "lines/test"]);
    assert_eq!(without.code, Some(65));
    insta::assert_snapshot!(without.stdout, @"
    data/data/train: these are the parts of the split train, and the record of the whole export is missing; if the record is elsewhere, name it with --record
    lines/test: test.manifest.json is missing, and there are parts of an export; if their record is elsewhere, name it with --record
    ");
    for (place, record) in [
        ("data/data/train", "rec.json"),
        ("data", "rec.json"),
        ("lines/test/", "lines.json"),
        ("lines", "lines.json"),
    ] {
        verify(&[place, "--record", record]).ok();
    }
    let train = [&["lines/train", "--source-record", "lines.json"][..], &["--overwrite"]].concat();
    let summary = convert(&world, &[&train[..], &["-o", "train.csv"]].concat());
    assert_eq!(
        summary["rows"],
        serde_json::from_slice::<Value>(&world.read("lines.json")).unwrap()["splits"][0]["rows"]
    );
    Ran::of(world.command().args(["diff", "lines/train", "train.csv", "--record-a", "lines.json"]))
        .ok();
    let inside = run(&world, &[&train[..], &["-o", "lines/dev/"]].concat());
    insta::assert_snapshot!(inside.told(&world), @"
    exit 2
    error: the output lines/dev/ lies inside the export FOLDER/lines, of which the source lines/train is a part: give another place
    ");
    // A directory with the name of one of its splits is the whole export.
    fs::rename(world.path("lines"), world.path("train")).unwrap();
    let whole = verify(&["train", "--record", "lines.json"]).ok();
    assert!(whole.stdout.contains("ok, 200 rows"), "{}", whole.stdout);
}

#[test]
fn lines_of_a_row_are_in_its_split() {
    let world = world(transform::rows(600));
    export(&world, &["-o", "source.parquet"]);
    let how = [
        &SPLIT[..],
        &["--map", "range(.order % 3) | tostring", "--format", "jsonl", "--rows-per-file", "100"],
    ];
    let exported = export(&world, &[&["-o", "direct/"], &how.concat()[..]].concat());
    let converted =
        convert(&world, &[&["source.parquet", "-o", "out/"], &how.concat()[..]].concat());
    for field in ["splits", "digest", "rows"] {
        assert_eq!(exported[field], converted[field], "{field}");
    }
    assert_eq!(converted["rows"], 600);
    verified(&world, "out");
    verified(&world, "out/test");
}

#[test]
fn splits_without_rows_have_files() {
    let world = world(transform::rows(40));
    export(&world, &["-o", "source.parquet"]);
    for format in ["parquet", "arrow", "jsonl", "csv"] {
        for condition in ["false", ".order == 7"] {
            let how = ["--where", condition, "--format", format, "--overwrite"];
            convert(&world, &[&["source.parquet", "-o", "out/"], &how[..], &SPLIT].concat());
            for split in ["train", "test"] {
                let files = entries(&world.path(&format!("out/{split}")));
                assert_eq!(files, [format!("part-00000.{format}")]);
                verified(&world, &format!("out/{split}"));
            }
        }
    }
}

#[test]
fn split_that_no_row_is_in_is_noted() {
    let world = world(transform::rows(40));
    export(&world, &["-o", "source.parquet"]);
    let told = |how: &[&str]| {
        let how = [&["source.parquet", "-o", "out/", "--overwrite"], how, &SPLIT].concat();
        let told = run(&world, &how).ok().stderr;
        told.lines().find(|line| line.contains("note:")).unwrap_or_default().to_owned()
    };
    let noted = told(&["--split-by", ".tags | type"]);
    let why = "few keys differ, or the same hashes chose the rows before; try another --seed or --split-by";
    assert!(
        ["train", "test"]
            .map(|name| format!("  note: no row is in the split {name}: {why}"))
            .contains(&noted),
        "{noted}"
    );
    assert_eq!(told(&["--split-by", ".id"]), "");
    assert_eq!(told(&["--where", "false"]), "");
}

#[test]
fn outputs_that_cannot_have_splits_are_refused() {
    let world = world(transform::rows(50));
    export(&world, &["-o", "source.parquet"]);
    export(&world, &["-o", "few.parquet", "--columns", "id,tags"]);
    export(&world, &["-o", "nested.parquet", "--json-columns", "nested"]);
    let half = ["--split", "a=0.5,b=0.5"];
    let mut told = String::new();
    for arguments in [
        &["source.parquet", "-o", "out.parquet"][..],
        &["source.parquet", "-o", "-"],
        &["few.parquet", "-o", "out/"],
        &["few.parquet", "-o", "out/", "--split-by", ".persona"],
        &["few.parquet", "-o", "out/", "--column", "k=.id", "--split-by", ".k"],
        &["nested.parquet", "-o", "out/", "--where", ".order > 1"],
        &["source.parquet", "-o", "out/", "--split-by", ".id, .order"],
    ] {
        told += &run(&world, &[arguments, &half].concat()).told(&world);
    }
    for arguments in
        [&["--split", "a=0.5,b=0.6"][..], &["--split-by", ".id"], &["--split", "a=0.5,A=0.5"]]
    {
        told += &run(&world, &[&["source.parquet", "-o", "out/"], arguments].concat()).told(&world);
    }
    insta::assert_snapshot!(told, @r#"
    exit 2
    error: --split needs a directory with a folder for each split, but out.parquet is not one: give a path that ends in a slash
    exit 2
    error: --split needs a directory with a folder for each split, but standard output is not one: give a path that ends in a slash
    exit 2
    error: --split chooses rows by their inputs, and the source has no column input: give --split-by another key, such as .id
    exit 2
    error: --split-by ".persona" cannot be evaluated: the source has no column persona
    exit 2
    error: --split-by ".k" cannot be evaluated: expressions do not see computed columns such as k: write what computes it instead
    exit 2
    error: --split chooses rows by their inputs, and nested columns do not keep how JSON was spelled (1e5 or 100000.0) or which members were null, so other rows would be chosen than from the text: give --split-by an expression of texts, such as .id
    exit 65
    error: row 1 (id 00000000-0000-4000-8000-000000000000): --split-by ".id, .order" failed: it has several outputs: collect them with [...]
      hint: change the expression: (.persona // "") for a value that can be null, .tags.topic? where .tags is not always an object; or give --on-error skip to leave such rows out, --on-error null to give all of them the same key
    exit 2
    error: invalid value 'a=0.5,b=0.6' for '--split <NAME=FRACTION,...>': the fractions sum to 1.1, not to 1

    For more information, try '--help'.
    exit 2
    error: --split-by has no effect without --split or --sample
    exit 2
    error: invalid value 'a=0.5,A=0.5' for '--split <NAME=FRACTION,...>': another split has this name: it is a, and upper and lower case are the same

    For more information, try '--help'.
    "#);
    assert_eq!(world.entries(), ["few.parquet", "nested.parquet", "source.parquet"]);
    convert(&world, &[&["nested.parquet", "-o", "out/", "--split-by", ".id"], &half[..]].concat());
    assert!(verified(&world, "out").contains("ok, 50 rows"));
}

#[test]
fn dry_run_and_explanation_name_the_splits() {
    let world = world(transform::rows(100));
    export(&world, &["-o", "source.parquet"]);
    let plan = [&["source.parquet", "-o", "out/", "--dry-run"], &SPLIT[..]].concat();
    insta::assert_snapshot!(run(&world, &plan).ok().told(&world), @"
    exit 0
    would read 100 rows of source.parquet to out/
      splits: train 0.8, test 0.2
    ");
    assert_eq!(world.entries(), ["source.parquet"]);
    let explain = |more: &[&str]| {
        let explain = ["preview", "source.parquet", "--explain"];
        Ran::of(world.command().args([&explain, &SPLIT[..], more].concat()))
    };
    let some = ["--where", ".order != 1", "--dedupe", ".order % 6", "-n", "8", "--seed", "4"];
    insta::assert_snapshot!(explain(&some).ok().stdout, @r#"
     ROW  ID        KEPT  SPLIT  WHY
       1  00000000  yes   train
       2  00000000  no           --where ".order != 1" does not hold
       3  00000000  yes   test
       4  00000000  yes   test
       5  00000000  yes   test
       6  00000000  yes   train
       7  00000000  no           --dedupe ".order % 6" is that of an earlier row
       8  00000000  yes   train
    6 kept of the first 8 rows
    "#);
    // The explanation is what the conversion does.
    convert(&world, &[&["source.parquet", "-o", "out/", "--format", "jsonl"], &SPLIT[..]].concat());
    let test = String::from_utf8(world.read("out/test/part-00000.jsonl")).unwrap();
    for line in explain(&["-n", "100", "--json"]).ok().stdout.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let is_test = test.contains(row["id"].as_str().unwrap());
        assert_eq!(row["split"], if is_test { "test" } else { "train" });
    }
    let without =
        Ran::of(world.command().args([&["preview", "source.parquet"], &SPLIT[..]].concat()));
    assert_eq!(without.code, Some(2));
    assert!(without.stderr.contains("give --explain to see it"), "{}", without.stderr);
}

#[test]
fn library_splits_only_into_folders() {
    let world = world(transform::rows(300));
    export(&world, &["-o", "source.parquet"]);
    let transform = Transform::new().split([("train", 0.8), ("test", 0.2)]).seed(5);
    let mut options = ConvertOptions::new(world.path("source.parquet"), world.path("out/"));
    options.transform = transform.clone();
    options.record = Some(world.path("elsewhere.json"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let summary = runtime.block_on(Convert::new(ConvertPlan::new(options).unwrap()).run()).unwrap();
    let names: Vec<_> = summary.splits.iter().map(|split| split.name.as_str()).collect();
    assert_eq!((names, summary.rows), (vec!["train", "test"], 300));
    assert_eq!(world.entries(), ["elsewhere.json", "out", "source.parquet"]);
    let place = Location::from(world.path("source.parquet"));
    let batches = TransformedBatches::open(&place, &ReadOptions::default(), &transform, &[]);
    let refused = batches.unwrap_err().to_string();
    assert!(refused.contains("needs an output with a folder for each split"), "{refused}");
}

#[test]
fn outputs_with_and_without_splits_replace_each_other() {
    let world = world(transform::rows(200));
    export(&world, &["-o", "source.parquet"]);
    for split in [&SPLIT[..], &[], &["--split", "a=0.5,b=0.5"], &SPLIT] {
        convert(&world, &[&["source.parquet", "-o", "out/", "--overwrite"], split].concat());
        assert!(verified(&world, "out").contains("ok, 200 rows"));
    }
    assert_eq!(entries(&world.path("out")), ["test", "train"]);
    assert_eq!(world.entries(), ["out", "out.manifest.json", "source.parquet"]);
    fs::write(world.path("out/train/notes.txt"), "mine").unwrap();
    let refused = run(&world, &["source.parquet", "-o", "out/", "--overwrite"]);
    assert_eq!(refused.code, Some(73));
    assert!(refused.stderr.contains("holds \"train/notes.txt\""), "{}", refused.stderr);
}

#[test]
fn nested_splits_have_the_same_types() {
    let mut rows = transform::rows(1500);
    let last = rows.last_mut().unwrap();
    *last = last.replace("\"topic\":", "\"late\":[1.5],\"topic\":");
    let world = world(rows);
    export(&world, &["-o", "source.jsonl", "--manifest"]);
    let nested = ["--json-columns", "nested", "--rows-per-file", "400"];
    for format in ["parquet", "arrow"] {
        let how = [&SPLIT[..], &nested, &["--format", format, "--overwrite"]].concat();
        let exported = export(&world, &[&["-o", "direct/"], &how[..]].concat());
        for threads in ["1", "16"] {
            let more = ["source.jsonl", "-o", "out/", "--encode-threads", threads];
            let converted = convert(&world, &[&more, &how[..]].concat());
            for field in ["splits", "digest", "rows"] {
                assert_eq!(exported[field], converted[field], "{field} {format} {threads}");
            }
            let (one, other) = (record(&world, "direct"), record(&world, "out"));
            assert_eq!(one["nested"], other["nested"]);
            verified(&world, "out");
            verified(&world, "out/test");
        }
    }
    // A row has no number in an output with splits.
    fs::write(
        world.path("schema.json"),
        json!({"columns": [{"name": "tags", "type": "struct", "fields": [{"name": "topic", "type": "int"}]}]})
            .to_string(),
    )
    .unwrap();
    let given = ["--json-columns", "nested", "--schema", "schema.json", "--overwrite"];
    let misfit = run(&world, &[&["source.jsonl", "-o", "out/"], &SPLIT[..], &given].concat());
    insta::assert_snapshot!(misfit.told(&world), @r#"
    exit 65
    error: row with id 00000000-0000-4000-8000-000000000000: .tags.topic is "billing", but the --schema has int there
      hint: nothing was published: leave out --schema to find types that hold every value, change the type to json, or give --rescue to keep such values in a column of their own
    "#);
    let rescued = [&["source.jsonl", "-o", "out/", "--rescue"], &SPLIT[..], &given].concat();
    assert_eq!(convert(&world, &rescued)["rescued_rows"], 1500);
    verified(&world, "out");
}
