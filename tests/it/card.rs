//! `--dataset-card`: the card, the layout of its directory, and what `verify`, a resumed run and a store make of it.

use std::{fs, time::Duration};

use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};
use serde_json::Value;

use crate::{
    support::{Ran, World, entries, sha256},
    tree::{content, tree},
};

pub(crate) const CARD: [&str; 6] =
    ["--dataset-card", "--page-size", "25", "--rows-per-file", "60", "-q"];
pub(crate) const SPLIT: [&str; 2] = ["--split", "train=0.8,test=0.2"];

fn export(world: &World, arguments: &[&str]) -> Ran {
    world.export(&[&["-o", "out/"], &CARD[..], arguments].concat())
}

fn record(world: &World) -> Value {
    serde_json::from_slice(&world.read("out.manifest.json")).unwrap()
}

fn card(world: &World) -> String {
    String::from_utf8(world.read("out/README.md")).unwrap()
}

#[test]
fn card_names_files_types_and_provenance() {
    let world = World::generated(Options::default(), 300);
    let where_ = ["--where", "\"``` | <b>\" != .id", "--columns", "id,input,at", "--column"];
    export(&world, &[&SPLIT[..], &where_, &["at:timestamp=null"]].concat()).ok();
    assert_eq!(entries(&world.path("out")), ["README.md", "data"]);
    assert_eq!(entries(&world.path("out/data")), ["test", "train"]);
    let (text, record) = (card(&world), record(&world));
    let front = "---\nconfigs:\n- config_name: default\n  data_files:\n\
                 \x20 - split: \"train\"\n    path: \"data/train/part-*\"\n\
                 \x20 - split: \"test\"\n    path: \"data/test/part-*\"\n\
                 dataset_info:\n  features:\n  - name: \"id\"\n    dtype: string\n\
                 \x20 - name: \"input\"\n    dtype: string\n\
                 \x20 - name: \"at\"\n    dtype: timestamp[us, tz=UTC]\nsize_categories:\n- n<1K\n---\n";
    assert!(text.starts_with(front), "{text}");
    assert!(text.contains("proven: every row of the dataset was read exactly once"), "{text}");
    assert!(text.contains(record["digest"].as_str().unwrap()), "{text}");
    assert!(text.contains(&format!("| train | {} |", record["splits"][0]["rows"])), "{text}");
    // An expression cannot end the block of code that it is in.
    assert!(text.contains("\n````json\n{") && text.contains("\n}\n````\n"), "{text}");
    assert_eq!(record["card"]["sha256"], sha256(text.as_bytes()));
    for path in ["out", "out/data", "out/data/train"] {
        Ran::of(world.command().args(["verify", path])).ok();
    }
    // Equal exports have equal cards.
    let first = content(&world.path("out"));
    export(&world, &[&SPLIT[..], &where_, &["at:timestamp=null", "--overwrite"]].concat()).ok();
    assert!(content(&world.path("out")) == first);
}

#[test]
fn card_without_a_split_has_all_rows_in_train() {
    let world = World::generated(Options::default(), 130);
    for format in ["jsonl", "csv"] {
        export(&world, &["--format", format, "--overwrite"]).ok();
        let text = card(&world);
        assert!(text.contains("  - split: \"train\"\n    path: \"data/part-*\"\n"), "{text}");
        assert!(text.contains("dataset_info"), "{text}");
        assert_eq!(record(&world)["json_columns"] == "text", format == "jsonl");
        assert_eq!(entries(&world.path("out/data")).len(), 2);
        Ran::of(world.command().args(["verify", "out", "out/data"])).ok();
    }
    // A split without rows is not loaded.
    export(&world, &[&SPLIT[..], &["--where", ".order == 7", "--overwrite"]].concat()).ok();
    assert_eq!(card(&world).matches("- split: ").count(), 1);
    assert!(card(&world).contains("| 0 | 1 |"), "{}", card(&world));
    // Without any row, the card names all of them, because its list cannot be empty.
    let none = ["--split", "train=0.8,test=0.2", "--where", "false", "--overwrite"];
    let ran = world.export(&[&["-o", "out/", "--dataset-card"], &none[..]].concat()).ok();
    assert!(
        ran.stderr.contains("load_dataset of Hugging Face reads the card of an export without"),
        "{ran:?}"
    );
    let text = card(&world);
    assert!(text.contains("only with `streaming=True`"), "{text}");
    assert_eq!(text.matches("- split: ").count(), 2, "{text}");
    assert!(text.contains("size_categories:\n- n<1K\n---\n"), "{text}");
    assert!(text.contains("130 of 130 rows read, 0 rows written"), "{text}");
    Ran::of(world.command().args(["verify", "out"])).ok();
}

#[test]
fn card_of_nested_columns_lists_their_paths() {
    let nested = ["--json-columns", "nested", "--format"];
    for format in ["parquet", "arrow"] {
        let truth = World::generated(Options::default(), 1000);
        export(&truth, &[&nested[..], &[format]].concat()).ok();
        let text = card(&truth);
        // The loader reads the types from the files.
        assert!(!text.contains("dataset_info"), "{text}");
        assert!(text.contains("| .input.messages\\[\\].content | "), "{text}");
        assert!(text.contains("| id | string |"), "{text}");
        assert_eq!(record(&truth)["json_columns"], "nested");
        for path in ["out", "out/data"] {
            Ran::of(truth.command().args(["verify", path])).ok();
        }
        let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
        let latency = Duration::from_millis(30);
        let world = World::generated(Options { faults, latency, ..Options::default() }, 1000);
        let more = ["--concurrency", "1", "--max-retries", "0"];
        assert_eq!(export(&world, &[&nested[..], &[format], &more].concat()).code, Some(69));
        world.server.set_faults(Faults::none());
        let ran = export(&world, &[&nested[..], &[format]].concat()).ok();
        assert_eq!(ran.stderr, "");
        assert!(tree(&world.path("out")) == tree(&truth.path("out")));
    }
}

#[test]
fn verify_and_overwrite_notice_a_changed_card() {
    let world = World::generated(Options::default(), 100);
    export(&world, &[]).ok();
    let text = card(&world);
    let verify = || Ran::of(world.command().args(["verify", "out"]));
    fs::write(world.path("out/README.md"), text.replace("proven", "well proven")).unwrap();
    assert!(verify().stdout.contains("README.md: bytes"), "{:?}", verify());
    fs::write(world.path("out/README.md"), text.replace("proven", "PROVEN")).unwrap();
    assert!(verify().stdout.contains("README.md: SHA-256"), "{:?}", verify());
    fs::write(world.path("out/README.md"), "mine").unwrap();
    let refused = export(&world, &["--overwrite"]);
    assert_eq!(refused.code, Some(73));
    assert!(refused.stderr.contains("holds \"README.md\""), "{}", refused.stderr);
    fs::remove_file(world.path("out/README.md")).unwrap();
    assert!(verify().stdout.contains("README.md is missing"), "{:?}", verify());
    // Without a card, a README is a file of somebody else.
    world.export(&["-o", "out/", "--overwrite"]).ok();
    assert_eq!(entries(&world.path("out")), ["part-00000.parquet"]);
    fs::write(world.path("out/README.md"), text).unwrap();
    assert!(verify().stdout.contains("README.md is not in the manifest"), "{:?}", verify());
    assert_eq!(export(&world, &["--overwrite"]).code, Some(73));
}

#[test]
fn interrupted_run_with_a_card_is_resumed() {
    let truth = World::generated(Options::default(), 1000);
    export(&truth, &SPLIT).ok();
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let latency = Duration::from_millis(30);
    let world = World::generated(Options { faults, latency, ..Options::default() }, 1000);
    let more = ["--concurrency", "1", "--max-retries", "0"];
    assert_eq!(export(&world, &[&SPLIT[..], &more].concat()).code, Some(69));
    world.server.set_faults(Faults::none());
    export(&world, &SPLIT).ok();
    assert!(tree(&world.path("out")) == tree(&truth.path("out")));
    assert_eq!(world.entries(), ["out", "out.manifest.json"]);
}

#[test]
fn wrong_cards_send_no_request() {
    let world = World::generated(Options::default(), 10);
    for (arguments, why) in [
        (
            &["-o", "a.parquet", "--dataset-card"][..],
            "--dataset-card describes a directory of parts",
        ),
        (&["-o", "-", "--dataset-card"], "--dataset-card describes a directory of parts"),
        (
            &["-o", "a/", "--dataset-card", "--split", "a-b=0.5,c=0.5"],
            "with --dataset-card, a name has",
        ),
        (&["-o", "a/", "--dataset-card", "--split", "all=0.5,c=0.5"], "is not all: Hugging Face"),
    ] {
        let ran = world.export(arguments);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    assert_eq!(world.server.stats().requests, 0);
}

#[test]
fn conversion_writes_a_card() {
    let world = World::generated(Options::default(), 300);
    let convert = |arguments: &[&str]| {
        let more = ["--dataset-card", "--overwrite", "-q"];
        Ran::of(world.command().arg("convert").args(arguments).args(more)).ok()
    };
    world.export(&["-o", "rows.parquet", "--where", ".order < 200"]).ok();
    convert(&[&["rows.parquet", "-o", "out/"], &SPLIT[..]].concat());
    assert_eq!(entries(&world.path("out")), ["README.md", "data"]);
    assert_eq!(entries(&world.path("out/data")), ["test", "train"]);
    let text = card(&world);
    for expected in [
        "  - split: \"test\"\n    path: \"data/test/part-*\"\n",
        "\nConverted from an export of the dataset `",
        "proven: every row of the dataset was read exactly once (300 of 300 rows read, 200 rows written)",
        "- Earlier transformation (200 rows of 300):\n\n```json\n",
        "- Transformation of the rows:\n\n```json\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(record(&world)["card"]["sha256"], sha256(text.as_bytes()));
    for path in ["out", "out/data", "out/data/test"] {
        Ran::of(world.command().args(["verify", path])).ok();
    }
    // The whole directory is a source again.
    convert(&["out/data/test", "-o", "test/", "--format", "jsonl"]);
    Ran::of(world.command().args(["verify", "test"])).ok();
    assert!(String::from_utf8(world.read("test/README.md")).unwrap().contains(", the split test)"));
    // JSON columns of JSON Lines are text, and a file without a record states no dataset.
    world.export(&["-o", "plain.jsonl"]).ok();
    convert(&["plain.jsonl", "-o", "out/", "--format", "jsonl"]);
    assert_eq!(record(&world)["json_columns"], "text");
    let text = card(&world);
    for expected in [
        "\n# Dataset\n",
        "\nConverted by overmind-export ",
        "from rows of an unknown dataset.",
        "- Completeness: unknown: the source does not say it (300 rows written)\n",
        "- Filters of the API: unknown\n",
        "  - split: \"train\"\n    path: \"data/part-*\"\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let told = |arguments: &[&str]| {
        let mut command = world.command();
        Ran::of(command.args(["convert", "rows.parquet", "--dataset-card"]).args(arguments))
            .told(&world)
    };
    let half = ["-o", "a/", "--split", "a-b=0.5,c=0.5"];
    insta::assert_snapshot!(told(&["-o", "a.csv"]) + &told(&half), @r#"
    exit 2
    error: --dataset-card describes a directory of parts, but a.csv is not one: give a path that ends in a slash
    exit 2
    error: "a-b" is not a valid split: with --dataset-card, a name has letters, digits and _, and is not all: Hugging Face allows no other
    "#);
}
