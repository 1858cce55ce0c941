//! Complete exports are read in step. The result is that of exports whose completeness is not known.

use overmind_export::demo::{Dataset, Options};

use super::row;
use crate::support::{ID, Ran, World};

fn diff(world: &World, arguments: &[&str]) -> Ran {
    Ran::of(world.command().arg("diff").args(arguments))
}

fn first_version() -> Vec<String> {
    let input = |id: u32| format!(r#"{{"a":1,"text":"question {id}"}}"#);
    (0..3000).map(|id| row(id, &id.to_string(), &input(id), "null", "\"p\"")).collect()
}

/// Rows that are gone, new, changed, respelled, and far from their old place.
fn second_version() -> Vec<String> {
    let mut rows = first_version();
    for (place, row) in rows.iter_mut().enumerate() {
        *row = match place % 100 {
            3 => row.replace("\"a\":1", "\"a\":1.0"),
            53 => row.replace("question", "answer"),
            67 => row.replace("\"a\":1", "\"a\":2").replace("\"p\"", "null"),
            90 => row.replace("\"p\"", "\"q\""),
            _ => row.clone(),
        };
    }
    rows.drain(400..410);
    let moved: Vec<_> = rows.drain(500..503).collect();
    rows.splice(2500..2500, moved);
    let new = (5000..5010).map(|id| row(id, &id.to_string(), "1", "null", "null"));
    rows.splice(1200..1200, new);
    rows
}

#[test]
fn complete_exports_differ_as_unknown_ones() {
    let world = World::with_rows(Options::default(), first_version());
    for version in ["v1", "v2"] {
        for form in ["parquet", "arrow", "jsonl"] {
            world.export(&["-o", &format!("{version}.{form}"), "-q"]).ok();
        }
        let parts = format!("{version}/");
        world.export(&["-o", &parts, "-q", "--rows-per-file", "700"]).ok();
        world
            .export(&["-o", &format!("few-{version}.parquet"), "-q", "--columns", "id,persona"])
            .ok();
        world.server.replace(vec![Dataset::from_rows("rows", second_version()).with_id(ID)]);
    }
    let of = |before: &str, after: &str, arguments: &[&str]| {
        let all = [&[before, after], arguments].concat();
        let ran = diff(&world, &all);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.stdout.replace(before, "A").replace(after, "B")
    };
    for arguments in [&["--show", "9999"][..], &["--json"], &["--show", "0", "--ignore-spelling"]] {
        // A file of lines without a record says nothing about its completeness.
        let expected = of("v1.jsonl", "v2.jsonl", arguments);
        for (before, after) in
            [("v1.parquet", "v2.arrow"), ("v1.parquet", "v2.jsonl"), ("v1", "v2.parquet")]
        {
            let is_same = of(before, after, arguments) == expected;
            assert!(is_same, "{before} {after} {arguments:?}");
        }
    }
    let few = of("v1.parquet", "few-v2.parquet", &["--show", "0"]);
    assert_eq!(few, of("v1.jsonl", "few-v2.parquet", &["--show", "0"]));
    assert!(few.contains("changed: persona in 60\n"), "{few}");
    let told = of("v1.parquet", "v2.parquet", &["--show", "0"]);
    insta::assert_snapshot!(told, @r"
    A → B, by id
    10 added · 10 removed · 119 changed · 2,871 unchanged
    changed: input in 89, persona in 60
    note: 29 of 119 changed rows differ only in the spelling of their JSON: --ignore-spelling leaves them out
    ");
}
