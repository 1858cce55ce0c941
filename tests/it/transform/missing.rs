//! Fields that expressions read and no row has, and hints about rows on which an expression fails.

use serde_json::Value;

use super::{record, world};
use crate::support::{Ran, World};

/// The lines below the first one, which has a duration, and the place of the output.
fn notes(ran: Ran) -> String {
    let ran = ran.ok();
    ran.stderr.lines().skip(2).map(|line| format!("{line}\n")).collect()
}

/// The exit code and the output of an export.
fn told(world: &World, arguments: &[&str]) -> String {
    world.export(&[&["-o", "x.jsonl"], arguments].concat()).told(world)
}

#[test]
fn misspelled_field_of_each_option_is_named() {
    let world = world(300);
    let export = |arguments: &[&str]| {
        notes(world.export(&[arguments, &["--overwrite", "--manifest"]].concat()))
    };
    let all = [
        export(&["-o", "a.parquet", "--where", ".persna == null"]),
        export(&["-o", "a.parquet", "--column", "topic=.tgs.topic", "--column", "ok=.persona"]),
        export(&["-o", "a.parquet", "--dedupe", ".inptu"]),
        export(&["-o", "a.parquet", "--sample", "0.9", "--split-by", ".zzz"]),
        export(&["-o", "a.jsonl", "--map", "{messages: .inptu, p: .persona}"]),
        export(&["-o", "a.parquet", "--column", "topic=.tags.topc"]),
        export(&["-o", "a.jsonl", "--where", ".inptu"]),
    ];
    insta::assert_snapshot!(all.join("--\n"), @r"
      no row has the field .persna, which --where reads: did you mean .persona?
    --
      no row has the field .tgs, which --column topic reads: did you mean .tags?
    --
      left out, because they equal an earlier row: 299 rows
      no row has the field .inptu, which --dedupe reads: did you mean .input?
    --
      nothing was kept: preview --explain shows why; a misspelled field is null in every row
      no row has the field .zzz, which --split-by reads
    --
      no row has the field .inptu, which --map reads: did you mean .input?
    --
      no row has the field .tags.topc, which --column topic reads: did you mean .tags.topic?
    --
      nothing was kept: preview --explain shows why; a misspelled field is null in every row
      no row has the field .inptu, which --where reads: did you mean .input?
    ");
    // Some rows have this field.
    let known = ["-o", "b.parquet", "--where", ".source_trace_id == null", "--dedupe", ".id"];
    assert_eq!(export(&known), "");
    assert_eq!(record(&world, "b.parquet")["parts"][0]["missing"], Value::Null);
}

#[test]
fn preview_names_misspelled_fields() {
    let world = world(300);
    world.export(&["-o", "all.jsonl"]).ok();
    let mut told = String::new();
    for source in ["all.jsonl", &crate::support::ID.to_string()] {
        for more in [
            &["--where", ".inptu"][..],
            &["--where", ".persna == null", "-n", "2", "--json"],
            &["--column", "topic=.tags.topc", "-n", "2"],
        ] {
            told += &Ran::of(world.command().args(["preview", source]).args(more)).ok().stderr;
        }
    }
    insta::assert_snapshot!(told, @r"
      no row has the field .inptu, which --where reads: did you mean .input?
      no row that was read has the field .persna, which --where reads: did you mean .persona?
      no row that was read has the field .tags.topc, which --column topic reads: did you mean .tags.topic?
      no row has the field .inptu, which --where reads: did you mean .input?
      no row that was read has the field .persna, which --where reads: did you mean .persona?
      no row that was read has the field .tags.topc, which --column topic reads: did you mean .tags.topic?
    ");
}

#[test]
fn misspelled_inner_name_is_named() {
    let world = world(300);
    let export = |arguments: &[&str]| {
        notes(world.export(&[arguments, &["--overwrite", "--manifest"]].concat()))
    };
    let all = [
        export(&["-o", "a.parquet", "--where", ".input.mesages | length > 1"]),
        export(&["-o", "a.parquet", "--where", "any(.input.messages[]; .rol == \"user\")"]),
        export(&["-o", "a.parquet", "--column", "topic=.tags.topc // .tags.other // \"none\""]),
        export(&["-o", "a.parquet", "--column", "id2=.sorce_trace_id", "--dedupe", ".tags.scor"]),
        export(&["-o", "a.parquet", "--where", ".inptu.messages | length > 1"]),
    ];
    insta::assert_snapshot!(all.join("--\n"), @r"
      nothing was kept: preview --explain shows why; a misspelled field is null in every row
      no row has the field .input.mesages, which --where reads: did you mean .input.messages?
    --
      nothing was kept: preview --explain shows why; a misspelled field is null in every row
      no row has the field .input.messages[].rol, which --where reads: did you mean .input.messages[].role?
    --
      no row has the field .tags.topc, which --column topic reads: did you mean .tags.topic?
      no row has the field .tags.other, which --column topic reads
    --
      left out, because they equal an earlier row: 299 rows
      no row has the field .tags.scor, which --dedupe reads: did you mean .tags.score?
      no row has the field .sorce_trace_id, which --column id2 reads: did you mean .source_trace_id?
    --
      nothing was kept: preview --explain shows why; a misspelled field is null in every row
      no row has the field .inptu, which --where reads: did you mean .input?
    ");
    // One of two fields is enough, and a field that some rows have is not misspelled.
    let either = ["--where", ".tags.topc // .tags.topic", "--column", "t=.source_trace_id"];
    assert_eq!(export(&[&["-o", "b.parquet"], &either[..]].concat()), "");
    let mask = ["--mask", ".input.mesages[].content"];
    insta::assert_snapshot!(told(&world, &mask), @r#"
    exit 65
    error: --mask ".input.mesages[].content" matches no value in 300 rows: did you mean .input.messages[].content?
      hint: nothing was published: check the spelling of the path, or leave it out if no row has such a value
    "#);
    // The threads and the pages do not matter.
    let texts = ["1", "7", "100"].map(|size| {
        let how = ["--page-size", size, "--where", ".input.mesages"];
        world.export(&[&["-o", "c.parquet", "--overwrite", "--manifest"], &how[..]].concat()).ok();
        record(&world, "c.parquet")["parts"][0]["missing"].to_string()
    });
    assert_eq!(texts, [r#"["where: .input.mesages (.input.messages)"]"#; 3]);
}

#[test]
fn explanation_names_misspelled_fields() {
    let world = world(300);
    world.export(&["-o", "all.jsonl"]).ok();
    let how = ["--explain", "-n", "1", "--where", ".input.mesages != null or .persna == 1"];
    let explained =
        |source: &str| Ran::of(world.command().args(["preview", source]).args(how)).ok().stderr;
    let notes = explained("all.jsonl");
    insta::assert_snapshot!(notes, @r"
      no row that was read has the field .persna, which --where reads: did you mean .persona?
      no row that was read has the field .input.mesages, which --where reads: did you mean .input.messages?
    ");
    assert_eq!(explained(&crate::support::ID.to_string()), notes);
}

#[test]
fn field_of_some_parts_is_not_missing() {
    let world = world(300);
    // Only the last part has a row with this value.
    let arguments =
        ["--rows-per-file", "100", "--column", "last=if .order == 299 then .id else null end"];
    let ran = world.export(&[&["-o", "out/", "--column", "no=.nothing"], &arguments[..]].concat());
    insta::assert_snapshot!(notes(ran), @"
      no row has the field .nothing, which --column no reads
    ");
    let manifest = record(&world, "out");
    let missing = |part: usize| manifest["parts"][part]["missing"].to_string();
    assert_eq!(missing(0), r#"["column no: .nothing","column no","column last"]"#);
    assert_eq!(missing(2), r#"["column no: .nothing","column no"]"#);
    let convert = ["convert", "out/", "-o", "c.csv", "--dedupe", ".nothing"];
    let ran = Ran::of(world.command().args(convert));
    insta::assert_snapshot!(notes(ran), @"
      left out, because they equal an earlier row: 299 rows
      no row has the field .nothing, which --dedupe reads
    ");
}

#[test]
fn hint_fits_the_option_that_failed() {
    let world = world(10);
    let all = [
        told(&world, &["--where", ".id.x"]),
        told(&world, &["--column", "a=.id.x"]),
        told(&world, &["--map", ".id.x"]),
        told(&world, &["--dedupe", ".id.x"]),
        told(&world, &["--sample", "0.5", "--split-by", ".id.x"]),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    exit 65
    error: page 1, row 1 (id 00000000-0000-4000-8000-000000000000): --where ".id.x" failed: cannot index "00000000-0000-4000-8000-000000000000" with "x"
      hint: change the expression: (.persona // "") for a value that can be null, .tags.topic? where .tags is not always an object; or give --on-error skip to leave such rows out
    exit 65
    error: page 1, row 1 (id 00000000-0000-4000-8000-000000000000): --column "a=.id.x" failed: cannot index "00000000-0000-4000-8000-000000000000" with "x"
      hint: change the expression: (.persona // "") for a value that can be null, .tags.topic? where .tags is not always an object; or give --on-error skip to leave such rows out, --on-error null to write null in this column
    exit 65
    error: page 1, row 1 (id 00000000-0000-4000-8000-000000000000): --map ".id.x" failed: cannot index "00000000-0000-4000-8000-000000000000" with "x"
      hint: change the expression: (.persona // "") for a value that can be null, .tags.topic? where .tags is not always an object; or give --on-error skip to leave such rows out
    exit 65
    error: page 1, row 1 (id 00000000-0000-4000-8000-000000000000): --dedupe ".id.x" failed: cannot index "00000000-0000-4000-8000-000000000000" with "x"
      hint: change the expression: (.persona // "") for a value that can be null, .tags.topic? where .tags is not always an object; or give --on-error skip to leave such rows out, --on-error null to keep them without a comparison
    exit 65
    error: page 1, row 1 (id 00000000-0000-4000-8000-000000000000): --split-by ".id.x" failed: cannot index "00000000-0000-4000-8000-000000000000" with "x"
      hint: change the expression: (.persona // "") for a value that can be null, .tags.topic? where .tags is not always an object; or give --on-error skip to leave such rows out, --on-error null to give all of them the same key
    "#);
}
