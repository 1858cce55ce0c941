//! Conversions from and to an object store.

use std::process::{Command, Stdio};

use overmind_export::demo::Options;
use serde_json::Value;

use crate::{
    stores::server::{Fate, Store},
    support::{ID, Ran, World},
    transform,
};

struct Place {
    world: World,
    store: Store,
}

impl Place {
    fn with_rows(count: u64) -> Self {
        let world = World::with_rows(Options::default(), transform::rows(count));
        Self { world, store: Store::start() }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.store.command(&self.world).args(arguments))
    }

    fn export(&self, arguments: &[&str]) {
        self.run(&[&["export", &ID.to_string(), "-q"], arguments].concat()).ok();
    }

    #[track_caller]
    fn convert(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[&["convert", "-q", "--json"], arguments].concat()).ok();
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

#[test]
fn store_is_a_source_and_an_output() {
    let place = Place::with_rows(1000);
    place.export(&["-o", "rows.parquet"]);
    let mut source = "rows.parquet".to_owned();
    let mut digest = None;
    for output in [
        "s3://bucket/a/",
        "s3://bucket/b/rows.jsonl.gz",
        "s3://bucket/c/d/",
        "local/",
        "s3://bucket/e.csv",
        "back.parquet",
    ] {
        let mut arguments = vec![&*source, "-o", output];
        if output.ends_with('/') {
            arguments.extend(["--rows-per-file", "300", "--format", "arrow"]);
        } else {
            arguments.push("--manifest");
        }
        let summary = place.convert(&arguments);
        assert_eq!(summary["completeness"], "proven", "{output}");
        assert_eq!(*digest.get_or_insert_with(|| summary["digest"].clone()), summary["digest"]);
        assert!(place.run(&["verify", output]).ok().stdout.contains("ok, 1,000 rows"), "{output}");
        source = output.to_owned();
    }
    assert!(place.world.read("rows.parquet") == place.world.read("back.parquet"));
    // Nothing but exports and their records is left.
    let keys = place.store.keys();
    assert!(keys.iter().all(|key| !key.contains("partial")), "{keys:?}");
}

#[test]
fn output_in_the_source_prefix_is_refused() {
    let place = Place::with_rows(300);
    place.export(&["-o", "s3://bucket/a/"]);
    let before = place.store.keys();
    let mut told = String::new();
    for output in ["s3://bucket/a/", "s3://bucket/a/b.csv", "s3://bucket/"] {
        let ran = place.run(&["convert", "s3://bucket/a/", "-o", output, "--overwrite"]);
        told += &ran.told(&place.world);
    }
    insta::assert_snapshot!(told, @"
    exit 2
    error: the output s3://bucket/a/ is the source s3://bucket/a/: give another output, and remove the source afterwards
    exit 2
    error: the output s3://bucket/a/b.csv lies inside the source s3://bucket/a/: give another output, and remove the source afterwards
    exit 2
    error: the output s3://bucket/ would replace the source s3://bucket/a/: give another output, and remove the source afterwards
    ");
    assert_eq!(place.store.keys(), before);
}

#[test]
fn store_has_the_splits_of_a_directory() {
    let place = Place::with_rows(1000);
    place.export(&["-o", "rows.parquet"]);
    let how = ["--split", "train=0.8,test=0.2", "--rows-per-file", "150", "--format", "jsonl"];
    let local = place.convert(&[&["rows.parquet", "-o", "local/"], &how[..]].concat());
    let remote = place.convert(&[&["rows.parquet", "-o", "s3://bucket/out/"], &how[..]].concat());
    for field in ["splits", "digest", "files", "bytes"] {
        assert_eq!(local[field], remote[field], "{field}");
    }
    assert!(place.run(&["verify", "s3://bucket/out/"]).ok().stdout.contains("ok, 1,000 rows"));
    place.run(&["verify", "s3://bucket/out/test/"]).ok();
    let keys = place.store.keys();
    let count = |folder: &str| keys.iter().filter(|key| key.contains(folder)).count() as u64;
    assert_eq!(Value::from(count("out/train/part-") + count("out/test/part-")), remote["files"]);
    // One split of the store is a source, and other splits replace it.
    let test = place.convert(&["s3://bucket/out/test/", "-o", "test.csv"]);
    assert_eq!(test["rows"], remote["splits"][1]["rows"]);
    let other = ["-o", "s3://bucket/out/", "--split", "a=0.5,b=0.5", "--overwrite"];
    place.convert(&[&["rows.parquet"], &other[..]].concat());
    assert!(place.run(&["verify", "s3://bucket/out/"]).ok().stdout.contains("ok, 1,000 rows"));
    let keys = place.store.keys();
    assert!(keys.iter().all(|key| !key.contains("train") && !key.contains("partial")), "{keys:?}");
}

#[test]
fn interrupted_upload_leaves_nothing() {
    let place = Place::with_rows(1000);
    place.export(&["-o", "rows.parquet"]);
    place.store.rule("PUT /bucket/out/part-00002-", Fate::HeldAt(1));
    let mut command = place.store.command(&place.world);
    let arguments = ["convert", "rows.parquet", "-o", "s3://bucket/out/", "--rows-per-file", "300"];
    let command = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    place.store.wait_until_held();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    insta::assert_snapshot!(ran.told(&place.world), @"
    exit 130
    error: interrupted by SIGINT
      hint: nothing was written: run the same command again
    ");
    place.store.no_rules();
    place.store.let_go();
    assert_eq!(place.store.keys(), [""; 0]);
    place.run(&arguments).ok();
    assert!(place.run(&["verify", "s3://bucket/out/"]).ok().stdout.contains("ok, 1,000 rows"));
}
