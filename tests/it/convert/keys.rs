//! Keys of samples and splits: which rows they choose must not depend on the source.

use std::fs;

use overmind_export::demo::Options;

use super::{convert, export, run};
use crate::support::World;

#[test]
fn keys_that_nested_columns_respell_are_refused() {
    let world = World::generated(Options::default(), 1);
    let row = |n: u32| {
        format!(
            r#"{{"id":"00000000-0000-4000-8000-{n:012}","order":{n},"input":{{"a":{n}e2,"t":"x{n}","n":{n}}}}}"#
        )
    };
    let rows: String = (1..=40).map(|n| row(n) + "\n").collect();
    fs::write(world.path("text.jsonl"), rows).unwrap();
    convert(&world, &["text.jsonl", "-o", "nested.parquet", "--json-columns", "nested"]);
    let half = |key| ["-o", "-", "-q", "--columns", "id", "--sample", "0.5", "--split-by", key];
    for key in [".input.t", ".input.n", "[.input.n, .order]", ".id"] {
        let lines = |source| run(&world, &[&[source], &half(key)[..]].concat()).ok().stdout;
        assert_eq!(lines("text.jsonl"), lines("nested.parquet"), "{key}");
    }
    let mut told = String::new();
    for key in [".input.a", "{i: .input}", ".input | tostring"] {
        told += &run(&world, &[&["nested.parquet"], &half(key)[..]].concat()).told(&world);
    }
    insta::assert_snapshot!(told, @"
    exit 2
    error: --split-by reads .input.a, which has objects or decimal numbers, and nested columns do not keep how JSON was spelled (1e5 or 100000.0) or which members were null, so other rows would be chosen than from the text: give an expression of texts, such as .id
    exit 2
    error: --split-by reads .input, which has objects or decimal numbers, and nested columns do not keep how JSON was spelled (1e5 or 100000.0) or which members were null, so other rows would be chosen than from the text: give an expression of texts, such as .id
    exit 2
    error: --split-by reads .input, which has objects or decimal numbers, and nested columns do not keep how JSON was spelled (1e5 or 100000.0) or which members were null, so other rows would be chosen than from the text: give an expression of texts, such as .id
    ");
}

#[test]
fn sample_of_a_sample_needs_another_seed() {
    let world = World::generated(Options::default(), 100);
    export(&world, &["-o", "source.parquet"]);
    let sample = ["--sample", "0.5", "--split-by"];
    convert(&world, &[&["source.parquet", "-o", "half.parquet"], &sample[..], &[".id"]].concat());
    let again = [&["half.parquet", "-o", "-", "-q"], &sample[..]].concat();
    let told = run(&world, &[&again[..], &[" .id "]].concat()).told(&world);
    insta::assert_snapshot!(told, @"
    exit 2
    error: the source is a sample of 0.5, which --seed 0 chose: with this seed, --sample would keep other rows than a new sample of them: give another --seed
    ");
    run(&world, &[&again[..], &[".id", "--seed", "2"]].concat()).ok();
    // A sample does not have all rows.
    for (source, claim) in [
        ("source.parquet", "made of all rows of the dataset\n"),
        ("half.parquet", "made of all rows of its source, which is proven\n"),
    ] {
        let ran = run(
            &world,
            &[source, "-o", "out.jsonl", "--overwrite", "--drop", "tags", "--mask", ".persona"],
        );
        assert!(ran.ok().stderr.contains(claim), "{source}");
    }
}
