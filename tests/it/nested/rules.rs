//! Paths of `--nest` and `--text`: one that leads to no value ends the run.

use super::*;

/// Runs the command with a wrong path. Returns what it says.
#[track_caller]
fn refused(ran: &Ran, code: i32) -> String {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
    ran.stderr.clone()
}

#[test]
fn paths_that_match_nothing_end_an_export() {
    let world = world(conversations(300));
    let mut told = String::new();
    for (output, path) in [
        (&["-o", "rows.parquet"][..], ["--nest", ".input.mesages"]),
        (&["-o", "rows/", "--rows-per-file", "100"], ["--text", ".input.messages[].contnt"]),
        (&["-o", "-", "--format", "arrow"], ["--text", ".additional_properties.other"]),
        (&["-o", "rows.arrow", "--limit", "1"], ["--text", ".tags.topic"]),
    ] {
        let ran = world.export(&[&["-q"], output, &NESTED, &path].concat());
        told += &refused(&ran, 65);
    }
    insta::assert_snapshot!(told, @r#"
    error: --nest ".input.mesages" matches no value in 300 rows: did you mean .input.messages?
      hint: check the spelling of the path, or leave it out if no row has such a value
    error: --text ".input.messages[].contnt" matches no value in 300 rows: did you mean .input.messages[].content?
      hint: check the spelling of the path, or leave it out if no row has such a value
    error: --text ".additional_properties.other" matches no value in 300 rows
      hint: check the spelling of the path, or leave it out if no row has such a value
    error: --text ".tags.topic" matches no value in 1 row
      hint: check the spelling of the path, or leave it out if no row has such a value
    "#);
    assert!(world.entries().is_empty(), "{:?}", world.entries());
    // The path is put right, and no part of the wrong run is in the way.
    let right =
        ["--text", ".input.messages[].content", "--nest", ".tags", "--text", ".input.mixed"];
    export(&world, &[&["-o", "rows/", "--rows-per-file", "100"], &NESTED[..], &right].concat());
    run(&world, &["verify", "rows"]).ok();
    // Without a row, there is nothing to match.
    let empty = super::world(Vec::new());
    export(&empty, &[&["-o", "rows.parquet"], &NESTED[..], &right].concat());
}

#[test]
fn paths_that_cannot_be_structs_end_the_run() {
    let world = world(conversations(300));
    export(&world, &["-o", "all.jsonl"]);
    let (mut told, id) = (String::new(), ID.to_string());
    for path in [".expected_output", ".input.mixed", ".input.messages", ".input.messages[].role"] {
        let ran =
            world.export(&[&["-q", "-o", "rows.parquet"], &NESTED[..], &["--nest", path]].concat());
        let error = refused(&ran, 65);
        let convert = ["convert", "all.jsonl", "-q", "-o", "rows.parquet", "--nest", path];
        assert_eq!(refused(&run(&world, &[&convert[..], &NESTED].concat()), 65), error);
        for source in ["all.jsonl", &id] {
            let ran = Ran::of(world.command().args(["schema", source, "--nest", path]));
            assert_eq!(refused(&ran, 65), error);
        }
        told += &error;
    }
    insta::assert_snapshot!(told, @r#"
    error: --nest ".expected_output" matches no value in 300 rows
      hint: check the spelling of the path, or leave it out if no row has such a value
    error: --nest ".input.mixed" cannot be a struct: it stays JSON text (row 2: number and string)
      hint: leave the path out; `overmind-export schema` prints the type of each value, and its reason
    error: --nest ".input.messages" cannot be a struct: it is a list (row 1); its elements are .input.messages[]
      hint: leave the path out; `overmind-export schema` prints the type of each value, and its reason
    error: --nest ".input.messages[].role" cannot be a struct: its type is string (row 2)
      hint: leave the path out; `overmind-export schema` prints the type of each value, and its reason
    "#);
    let few = ["-q", "-o", "rows.parquet", "--nest", ".input.messages[]", "--max-columns", "9"];
    let few = refused(&world.export(&[&few[..], &NESTED].concat()), 65);
    let why = r#"--nest ".input.messages[]" cannot be a struct: it stays JSON text (more columns than --max-columns)"#;
    assert!(few.contains(why), "{few}");
    assert!(few.contains("hint: raise --max-columns"), "{few}");
    assert_eq!(world.entries(), ["all.jsonl"]);
}

#[test]
fn paths_that_match_nothing_end_a_conversion() {
    let world = world(conversations(60));
    export(&world, &["-o", "rows.jsonl"]);
    let convert = ["convert", "rows.jsonl", "-q", "--json-columns", "nested", "-o"];
    for output in [&["out.parquet"][..], &["out/"], &["-", "--format", "arrow"]] {
        let path = ["--nest", ".tags.topik"];
        let ran = run(&world, &[&convert[..], output, &path].concat());
        let why =
            r#"error: --nest ".tags.topik" matches no value in 60 rows: did you mean .tags.topic?"#;
        assert!(refused(&ran, 65).starts_with(why), "{ran:?}");
    }
    assert_eq!(world.entries(), ["rows.jsonl"]);
    // Only the rows of the output count.
    let rows = ["out.parquet", "--where", ".order == 4", "--text", ".tags.topic"];
    assert!(refused(&run(&world, &[&convert[..], &rows].concat()), 65).contains("in 1 row"));
    let none = ["out.parquet", "--where", "false", "--text", ".tags.topic"];
    run(&world, &[&convert[..], &none].concat()).ok();
}

#[test]
fn paths_of_schema_must_decide_something() {
    let world = world(conversations(60));
    export(&world, &["-o", "rows.jsonl"]);
    export(&world, &["-o", "few.jsonl", "--limit", "1"]);
    export(&world, &[&["-o", "nested.parquet"], &NESTED[..]].concat());
    let schema = |arguments: &[&str]| Ran::of(world.command().arg("schema").args(arguments));
    let id = ID.to_string();
    for source in ["rows.jsonl", &id] {
        let told = refused(&schema(&[source, "--text", ".inptu.mixed"]), 65);
        let why =
            r#"--text ".inptu.mixed" matches no value in 60 rows: did you mean .input.mixed?"#;
        assert!(told.contains(why), "{told}");
    }
    // A path can belong to one of two exports that are compared.
    let topic = ["--text", ".tags.topic"];
    refused(&schema(&[&["few.jsonl"], &topic[..]].concat()), 65);
    for (one, other) in [("few.jsonl", "rows.jsonl"), ("rows.jsonl", "few.jsonl")] {
        let ran = schema(&[&[one, "--against", other], &topic[..]].concat());
        assert_eq!(ran.code, Some(1), "{ran:?}");
    }
    schema(&[&["nested.parquet", "--against", "rows.jsonl"], &topic[..]].concat());
    for option in [&topic[..], &["--nest", ".tags"], &["--max-columns", "20"]] {
        let told = refused(&schema(&[&["nested.parquet"], option].concat()), 2);
        let why =
            "--nest, --text and --max-columns choose types, and the export has nested columns";
        assert!(told.contains(why), "{told}");
    }
}
