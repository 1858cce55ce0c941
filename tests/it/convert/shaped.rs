//! Transformations of a source: the rows and bytes of an export with the same options.

use super::{FILES, convert, export, record, run, verified, world};
use crate::transform;

#[test]
fn shaped_file_has_the_bytes_of_an_export() {
    let world = world(transform::rows(2000));
    for file in FILES {
        export(&world, &["-o", file, "--manifest"]);
    }
    let options: [&[&str]; 6] = [
        &["--dedupe", ".tags.score", "--where", ".order > 3", "--mask", ".persona"],
        &[
            "--mask",
            ".persona, .input.messages[].content, .source_trace_id",
            "--where",
            ".order > 10",
        ],
        &["--where", r#".tags.topic == "billing""#, "--where", ".persona != null"],
        &["--sample", "0.3", "--seed", "7"],
        &[
            "--column",
            "topic=.tags.topic",
            "--column",
            "n:int=.order * 2",
            "--column",
            "persona=.tags.topic",
        ],
        &[
            "--where",
            "if .order % 3 == 0 then error else true end",
            "--on-error",
            "skip",
            "--columns",
            "t,id",
            "--column",
            "t:json=.tags",
        ],
    ];
    for (number, options) in options.into_iter().enumerate() {
        for (source, file) in FILES.into_iter().zip(FILES.into_iter().cycle().skip(number + 1)) {
            let (direct, out) = (format!("direct-{number}-{file}"), format!("out-{number}-{file}"));
            let exported = export(&world, &[&["-o", &direct, "--manifest"], options].concat());
            let converted =
                convert(&world, &[&[source, "-o", &out, "--manifest"], options].concat());
            for field in [
                "digest",
                "rows",
                "failed_rows",
                "duplicate_rows",
                "replaced_rows",
                "transform",
                "completeness",
            ] {
                assert_eq!(exported[field], converted[field], "{field} {source} {file}");
            }
            assert!(world.read(&direct) == world.read(&out), "{source} to {file} with {options:?}");
            verified(&world, &out);
        }
    }
}

#[test]
fn rows_of_parts_count_what_was_read() {
    let world = world(transform::rows(2000));
    export(&world, &["-o", "source/"]);
    let mut first = None;
    for threads in ["1", "16"] {
        let out = format!("out-{threads}");
        let how = ["--rows-per-file", "100", "--encode-threads", threads];
        let what =
            ["--where", ".tags.passed and (.order < 1500)", "--column", "c:bool=.tags.passed"];
        let summary =
            convert(&world, &[&["source/", "-o", &format!("{out}/")], &how[..], &what].concat());
        assert_eq!((&summary["rows"], &summary["rows_read"]), (&750.into(), &2000.into()));
        let record = record(&world, &out);
        let parts = record["parts"].as_array().unwrap();
        let of =
            |field: &str| parts.iter().map(|it| it[field].as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!(of("rows"), [100, 100, 100, 100, 100, 100, 100, 50]);
        // Every other row is kept. The rows after the last one that is kept count for its part.
        assert_eq!(of("rows_read"), [200, 200, 200, 200, 200, 200, 200, 600]);
        assert!(verified(&world, &out).contains("750 rows of 2,000 read"));
        let digests: Vec<_> = parts.iter().map(|it| it["sha256"].clone()).collect();
        assert_eq!(*first.get_or_insert_with(|| digests.clone()), digests);
    }
}

#[test]
fn computed_columns_of_the_source_keep_their_types() {
    let world = world(transform::rows(300));
    let columns = [
        "--column",
        "topic=.tags.topic",
        "--column",
        "n:int=.order",
        "--column",
        "f:float=.order / 8",
        "--column",
        "b:bool=.tags.passed",
        "--column",
        "j:json=.tags",
        "--column",
        "t:timestamp=\"2026-01-31T12:00:00Z\"",
    ];
    let digest = export(&world, &[&["-o", "a.parquet"], &columns[..]].concat())["digest"].clone();
    let mut source = "a.parquet".to_owned();
    for file in FILES.into_iter().cycle().skip(1).take(FILES.len()) {
        let out = format!("b-{file}");
        let summary = convert(&world, &[&source, "-o", &out, "--manifest"]);
        assert_eq!(
            (&summary["digest"], &summary["completeness"]),
            (&digest, &"proven".into()),
            "{out}"
        );
        verified(&world, &out);
        source = out;
    }
    let recorded = record(&world, &source);
    assert_eq!(recorded["columns"][9]["type"], "float", "{recorded}");
    // An option can drop one, replace one and add one.
    let how = ["--drop", "n", "--column", "topic:json=.tags", "--column", "more=.persona"];
    convert(&world, &[&[&source, "-o", "c.parquet", "--manifest"], &how[..]].concat());
    verified(&world, "c.parquet");
    let columns = record(&world, "c.parquet")["columns"].to_string();
    let expected = r#"{"name":"topic","type":"json"},{"name":"f","type":"float"}"#;
    assert!(
        columns.contains(expected) && columns.ends_with(r#"{"name":"more","type":"string"}]"#),
        "{columns}"
    );
}

#[test]
fn earlier_transformations_stay_in_the_record() {
    let world = world(transform::rows(900));
    let first = ["--where", ".tags.topic == \"billing\"", "--column", "topic=.tags.topic"];
    let exported = export(&world, &[&["-o", "a.parquet"], &first[..]].concat());
    convert(&world, &["a.parquet", "-o", "b/", "--where", ".tags.passed", "--format", "jsonl"]);
    let summary = convert(&world, &["b/", "-o", "c/", "--rows-per-file", "50"]);
    assert_eq!(summary["completeness"], "proven");
    let record = record(&world, "c");
    assert_eq!(record["transform"], serde_json::Value::Null);
    assert_eq!((&record["rows_read"], &record["rows"]), (&150.into(), &150.into()));
    let earlier = record["earlier"].as_array().unwrap();
    let numbers =
        |index: usize| ["rows_read", "rows"].map(|it| earlier[index][it].as_u64().unwrap());
    assert_eq!((earlier.len(), numbers(0), numbers(1)), (2, [900, 300], [300, 150]));
    assert_eq!(earlier[0]["transform"], exported["transform"]);
    assert_eq!(earlier[1]["transform"]["where"][0], ".tags.passed");
    assert!(verified(&world, "c/").contains("ok, 150 rows"));
    // A part alone says it, too, and is a part only.
    convert(&world, &["c/part-00001.parquet", "-o", "d.csv", "--manifest"]);
    let part = super::record(&world, "d.csv");
    assert_eq!((&part["completeness"], &part["rows"]), (&"partial".into(), &50.into()));
    assert_eq!(part["earlier"], record["earlier"]);
    assert!(verified(&world, "d.csv").contains("ok, 50 rows"));
}

#[test]
fn failed_row_is_named_without_a_page() {
    let world = world(transform::rows(1200));
    export(&world, &["-o", "a.parquet"]);
    let how = ["--where", "if .order == 1101 then .persona | tonumber else true end"];
    let ran = run(&world, &[&["a.parquet", "-o", "b.parquet"], &how[..]].concat());
    insta::assert_snapshot!(ran.told(&world), @r#"
    exit 65
    error: row 1102 (id 00000000-0000-4000-8000-000000001101): --where "if .order == 1101 then .persona | tonumber else true end" failed: cannot parse "angry 1101" as a number
      hint: change the expression: (.persona // "") for a value that can be null, .tags.topic? where .tags is not always an object; or give --on-error skip to leave such rows out
    "#);
    assert_eq!(world.entries(), ["a.parquet"]);
}

#[test]
fn lines_of_a_map_are_those_of_an_export() {
    let world = world(transform::rows(900));
    export(&world, &["-o", "a.parquet"]);
    let map = ["--map", ".input.messages[] | select(.role == \"user\") | {role, order: 1}"];
    let direct = export(&world, &[&["-o", "direct.jsonl", "--manifest"], &map[..]].concat());
    let lines =
        convert(&world, &[&["a.parquet", "-o", "out.jsonl", "--manifest"], &map[..]].concat());
    assert_eq!((&direct["digest"], &direct["rows"]), (&lines["digest"], &lines["rows"]));
    assert!(world.read("direct.jsonl") == world.read("out.jsonl"));
    verified(&world, "out.jsonl");
    // Lines have no fields, so they stay JSON Lines.
    convert(&world, &["out.jsonl", "-o", "parts/", "--format", "jsonl", "--rows-per-file", "100"]);
    verified(&world, "parts/");
    let mut told = run(&world, &["out.jsonl", "-o", "out.parquet"]).told(&world);
    told += &run(&world, &["out.jsonl", "-o", "b.jsonl", "--where", ".role"]).told(&world);
    told += &run(&world, &["a.parquet", "-o", "b.jsonl", "--mask", ".inputs"]).told(&world);
    insta::assert_snapshot!(told, @r#"
    exit 2
    error: --map writes JSON Lines, not Parquet: name the output .jsonl, or give --format jsonl
    exit 2
    error: the rows of out.jsonl are lines that --map wrote, without fields of the API
    exit 65
    error: --mask ".inputs" matches no value in 900 rows: did you mean .input?
      hint: nothing was published: check the spelling of the path, or leave it out if no row has such a value
    "#);
    assert!(!world.path("b.jsonl").exists());
}
