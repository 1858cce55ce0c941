//! Conversions that are refused before anything is read or written.

use std::fs;

use super::{export, run, world};
use crate::{support::ID, transform, tree::content};

#[test]
fn output_that_would_change_the_source_is_refused() {
    let world = world(transform::rows(50));
    export(&world, &["-o", "a/"]);
    export(&world, &["-o", "rows.parquet", "--manifest"]);
    export(&world, &["-o", "e/", "--record", "rec.jsonl"]);
    // Parts that a killed run has left.
    fs::create_dir_all(world.path(".out.partial/data")).unwrap();
    fs::copy(world.path("rows.parquet"), world.path(".out.partial/data/p.parquet")).unwrap();
    #[cfg(unix)]
    for (link, to) in [("link", "a"), ("link.parquet", "rows.parquet")] {
        std::os::unix::fs::symlink(to, world.path(link)).unwrap();
    }
    let files = || {
        let staged = content(&world.path(".out.partial"));
        (world.entries(), content(&world.path("a")), world.read("rec.jsonl"), staged)
    };
    let before = files();
    let mut told = String::new();
    for (source, arguments) in [
        ("rows.parquet", &["-o", "rows.parquet"][..]),
        ("rows.parquet", &["-o", "./a/../rows.parquet"]),
        ("link.parquet", &["-o", "rows.parquet"]),
        ("rows.parquet", &["-o", "link.parquet"]),
        ("a/", &["-o", "a/"]),
        ("a", &["-o", "link/"]),
        ("link/", &["-o", "a/b.jsonl"]),
        ("a/part-00000.parquet", &["-o", "a/"]),
        ("a/", &["-o", "b/", "--record", "a.manifest.json"]),
        ("a/", &["-o", "b/", "--record", "link/b.json"]),
        ("e/", &["--source-record", "rec.jsonl", "-o", "rec.jsonl"]),
        (".out.partial/data/p.parquet", &["-o", "out/", "--restart"]),
    ] {
        told += &run(&world, &[&[source, "--overwrite"], arguments].concat()).told(&world);
    }
    insta::assert_snapshot!(told, @"
    exit 2
    error: the output rows.parquet is the source rows.parquet: give another output, and remove the source afterwards
    exit 2
    error: the output ./a/../rows.parquet is the source rows.parquet: give another output, and remove the source afterwards
    exit 2
    error: the output rows.parquet is the source link.parquet: give another output, and remove the source afterwards
    exit 2
    error: the output link.parquet is the source rows.parquet: give another output, and remove the source afterwards
    exit 2
    error: the output a/ is the source a/: give another output, and remove the source afterwards
    exit 2
    error: the output link/ is the source a: give another output, and remove the source afterwards
    exit 2
    error: the output a/b.jsonl lies inside the source link/: give another output, and remove the source afterwards
    exit 2
    error: the output a/ would replace the source a/part-00000.parquet: give another output, and remove the source afterwards
    exit 2
    error: the record a.manifest.json of the output would replace the source a/ or its record: give another place
    exit 2
    error: the record link/b.json of the output would replace the source a/ or its record: give another place
    exit 2
    error: the output rec.jsonl would replace rec.jsonl, the record of the source e/: give another output
    exit 2
    error: the output out/ would delete the source .out.partial/data/p.parquet, which lies in its staging: give another output, and remove the source afterwards
    ");
    assert!(files() == before);
}

#[test]
fn columns_and_fields_that_do_not_exist_are_refused() {
    let world = world(transform::rows(50));
    export(
        &world,
        &["-o", "few.parquet", "--columns", "id,tags,topic", "--column", "topic=.tags.topic"],
    );
    let mut told = String::new();
    for arguments in [
        &["--columns", "id,input"][..],
        &["--drop", "input"],
        &["--where", ".input.x"],
        &["--where", ".topic == \"billing\""],
        &["--where", ".source_trace_id != null"],
        &["--column", "x=.persona"],
        &["--column", "Topic=.tags"],
        &["--sample", "0.5"],
        &["--seed", "1"],
        &["--where", ".tags |"],
        &["--manifest", "-o", "-"],
    ] {
        let output = if arguments.contains(&"-o") { &[][..] } else { &["-o", "out.csv"] };
        told += &run(&world, &[&["few.parquet"], arguments, output].concat()).told(&world);
    }
    insta::assert_snapshot!(told, @r#"
    exit 2
    error: "input" is not a valid column: the columns are id, tags, topic
    exit 2
    error: "input" is not a valid column: the columns are id, tags, topic
    exit 2
    error: --where ".input.x" cannot be evaluated: the source has no column input
    exit 2
    error: --where ".topic == \"billing\"" cannot be evaluated: topic is a computed column of the source, and expressions read only fields of the API
    exit 2
    error: --where ".source_trace_id != null" cannot be evaluated: source_trace_id is none of the usual fields, and the source has no column additional_properties
    exit 2
    error: --column ".persona" cannot be evaluated: the source has no column persona
    exit 2
    error: "Topic" is not a valid column: it differs from the column topic of the source only in case
    exit 2
    error: --sample chooses rows by their inputs, and the source has no column input: give --split-by another key, such as .id
    exit 2
    error: --seed has no effect without --sample or --split
    exit 2
    error: --where ".tags |" is not a valid expression: an expression is missing at the end
        .tags |
               ^
      hint: the page Shape your data of the guide lists the functions and has examples; quote the expression for the shell: 'EXPR'
    exit 2
    error: --manifest needs an output file: the manifest is written next to it
    "#);
    assert_eq!(world.entries(), ["few.parquet"]);
    // Without a name, the whole row is read, and missing fields are null.
    run(&world, &["few.parquet", "-o", "out.csv", "--where", "has(\"tags\")"]).ok();
}

#[test]
fn dry_run_writes_nothing() {
    let world = world(transform::rows(50));
    export(&world, &["-o", "a.parquet"]);
    export(&world, &["-o", "b.jsonl"]);
    let mut told = run(&world, &["a.parquet", "-o", "out/", "--dry-run"]).ok().told(&world);
    told +=
        &run(&world, &["b.jsonl", "-o", "-", "--dry-run", "--where", ".tags.passed"]).told(&world);
    told += &run(&world, &["a.parquet", "-o", "b.jsonl", "--dry-run"]).told(&world);
    insta::assert_snapshot!(told, @"
    exit 0
    would convert 50 rows of a.parquet to out/
    exit 0
    would read the rows of b.jsonl to standard output
    exit 73
    error: b.jsonl: exists already
      hint: give --overwrite to replace it, or another path
    ");
    assert_eq!(world.entries(), ["a.parquet", "b.jsonl"]);
}

#[test]
fn ids_and_streams_are_no_exports() {
    let world = world(transform::rows(1));
    fs::write(world.path("stream.arrow"), [&[0xff; 4][..], &[0; 40]].concat()).unwrap();
    let id = ID.to_string();
    let told = |source: &str| run(&world, &[source, "-o", "x.csv"]).told(&world);
    insta::assert_snapshot!(told(&id) + &told("stream.arrow"), @r"
    exit 74
    error: cannot read 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e
      cause: No such file or directory (os error 2)
      hint: this is the id of a dataset, but a path is needed: `overmind-export export` writes a dataset to one
    exit 65
    error: stream.arrow: it cannot be read: it is a stream of Arrow, as standard output gets it, and not an Arrow file: read it as a stream, or export to a path
    ");
}
