//! `schema`, types that are given with `--schema`, and the values that do not fit them.

use super::*;

#[test]
fn schema_has_the_types_and_reasons() {
    let world = world(conversations(60));
    export(&world, &[&["-o", "nested.parquet"], &NESTED[..]].concat());
    export(&world, &["-o", "out/", "--rows-per-file", "25"]);
    export(&world, &["-o", "bare.jsonl"]);
    let schema = |arguments: &[&str]| {
        let ran = Ran::of(world.command().arg("schema").args(arguments)).ok();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    let found = schema(&["nested.parquet"]);
    assert_eq!(
        (&found["rows"], &found["columns"][0]),
        (&json!(60), &json!({"name": "id", "type": "string"}))
    );
    let mixed = json!({"name": "mixed", "type": "json", "why": "number and string", "row": 2});
    assert_eq!(found.pointer("/columns/2/fields/1"), Some(&mixed));
    // The types that a nested export would have.
    for other in ["out", "bare.jsonl", &ID.to_string()] {
        assert_eq!(schema(&[other]), found, "{other}");
    }
    assert_eq!(schema(&["out", "--text", ".input"])["columns"][2]["why"], "as asked for");
    assert_eq!(schema(&[&ID.to_string(), "--limit", "1"])["rows"], 1);
}

#[test]
fn schema_says_what_differs() {
    let world = world(conversations(60));
    export(&world, &[&["-o", "all.arrow"], &NESTED[..]].concat());
    export(&world, &[&["-o", "one.arrow", "--limit", "2"], &NESTED[..]].concat());
    let schema =
        |more: &[&str]| run(&world, &[&["schema", "all.arrow", "--against"], more].concat());
    let same = schema(&["all.arrow"]).ok();
    assert!(same.stdout.ends_with("\"differences\":[]}\n"), "{}", same.stdout);
    let differs = schema(&["one.arrow"]);
    assert_eq!(differs.code, Some(1), "{differs:?}");
    let found: Value = serde_json::from_str(&differs.stdout).unwrap();
    let expected = json!({"path": ".tags.topic", "before": null, "now": "string"});
    assert!(found["differences"].as_array().unwrap().contains(&expected), "{found}");
}

#[test]
fn given_schema_needs_one_pass() {
    let world = world(conversations(600));
    let arguments = ["-o", "found/", "--rows-per-file", "200"];
    let digest = export(&world, &[&arguments[..], &NESTED].concat())["digest"].clone();
    let schema = Ran::of(world.command().args(["schema", "found"])).ok().stdout;
    fs::write(world.path("schema.json"), schema).unwrap();
    let given = |name: &str, file: &str| {
        let output = ["-o", name, "--rows-per-file", "200", "--schema", file];
        world.export(&[&["--json", "-q"], &output[..]].concat())
    };
    let done: Value = serde_json::from_str(&given("given/", "schema.json").ok().stdout).unwrap();
    assert_eq!(done["digest"], digest);
    // A record has the types, too.
    given("recorded/", "found.manifest.json").ok();
    for name in ["given", "recorded"] {
        assert_eq!(manifest(&world, name)["nested"], manifest(&world, "found")["nested"]);
        run(&world, &["verify", name]).ok();
        run(&world, &["diff", name, "found"]).ok();
    }
    let schema = fs::read_to_string(world.path("schema.json")).unwrap();
    let narrow = schema.replacen(
        r#"{"name":"score","type":"float"}"#,
        r#"{"name":"score","type":"int"}"#,
        1,
    );
    assert_ne!(narrow, schema);
    fs::write(world.path("narrow.json"), narrow).unwrap();
    let refused = given("narrow/", "narrow.json");
    assert_eq!(refused.code, Some(65), "{refused:?}");
    let row = format!(
        "error: row 2 (id {}): .input.messages[0].score is 1.50, but the --schema has int there\n",
        rows::id(1)
    );
    assert!(refused.stderr.starts_with(&row), "{}", refused.stderr);
    assert!(!world.path("narrow").exists());
    for (options, why) in [
        (&["--schema", "found"][..], "cannot read found"),
        (
            &["--schema", "schema.json", "--nest", ".input"],
            "--schema gives the types of all JSON columns",
        ),
        (&["--schema", "found/part-00000.parquet"], "is not a valid schema: it is an export"),
    ] {
        let ran = world.export(&[&["-o", "x/"], options].concat());
        assert!(ran.stderr.contains(why), "{options:?} {ran:?}");
    }
}

#[test]
fn lines_of_a_map_have_a_schema_with_their_record() {
    let world = world(conversations(100));
    let map = ["--map", "{id, n: .order}"];
    world.export(&[&["-o", "m.jsonl", "--manifest"], &map[..]].concat()).ok();
    world.export(&[&["-o", "alone.jsonl"], &map[..]].concat()).ok();
    let schema = run(&world, &["schema", "m.jsonl"]).ok().stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let names = |fields: &Value| {
        let fields = fields.as_array().unwrap().iter();
        fields.map(|it| format!("{} {}", it["name"], it["type"])).collect::<Vec<_>>()
    };
    assert_eq!((&schema["rows"], schema["columns"].as_array().unwrap().len()), (&json!(100), 1));
    assert_eq!(names(&schema["columns"][0]["fields"]), [r#""id" "string""#, r#""n" "int""#]);
    insta::assert_snapshot!(run(&world, &["schema", "alone.jsonl"]).told(&world), @r#"
    exit 0
    {"rows":100,"columns":[{"name":"id","type":"string"},{"name":"n","type":"int"}]}
    "#);
}

#[test]
fn given_schema_is_resumed() {
    let truth = world(conversations(2000));
    let arguments =
        [&PARTS[..], &["--concurrency", "1", "--max-retries", "0"], &["--schema", "s.json"]]
            .concat();
    let types = r#"{"columns":[{"name":"input","type":"json","why":"x"},{"name":"additional_properties","type":"struct","fields":[{"name":"trace","type":"struct","fields":[{"name":"n","type":"int"}]}]}]}"#;
    fs::write(truth.path("s.json"), types).unwrap();
    truth.export(&arguments).ok();
    let faults = Faults::none().on(30, FaultAttempt::Always, Fault::status(503));
    let world = World::with_rows(Options { faults, ..Options::default() }, conversations(2000));
    fs::write(world.path("s.json"), types).unwrap();
    assert_eq!(world.export(&arguments).code, Some(69));
    world.server.set_faults(Faults::none());
    let ran = world.export(&arguments).ok();
    assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
    assert!(content(&world.path("rows")) == content(&truth.path("rows")));
    run(&world, &["verify", "rows"]).ok();
}

#[test]
fn values_that_do_not_fit_can_be_rescued() {
    let world = world(conversations(600));
    export(&world, &["-o", "text/", "--rows-per-file", "200"]);
    let types = r#"{"columns":[{"name":"input","type":"struct","fields":[{"name":"messages","type":"list","item":{"type":"struct","fields":[{"name":"role","type":"string"},{"name":"tokens","type":"int"},{"name":"score","type":"int"}]}},{"name":"mixed","type":"json","why":"x"}]},{"name":"tags","type":"struct","fields":[{"name":"topic","type":"string"}]}]}"#;
    fs::write(world.path("s.json"), types).unwrap();
    let given = ["--schema", "s.json", "--rescue"];
    for (name, more) in [
        ("rows/", &["--rows-per-file", "200"][..]),
        ("ipc/", &["--format", "arrow", "--encode-threads", "7"]),
        ("one.parquet", &["--manifest", "--limit", "90"]),
    ] {
        let done = export(&world, &[&["-o", name], &given[..], more].concat());
        let rescued = done["rescued_rows"].as_u64().unwrap();
        assert!(rescued > 60 && rescued < done["rows"].as_u64().unwrap(), "{done}");
        let paths = &done["rescued_paths"];
        assert_eq!(paths[0], ".input.messages[].score", "{paths}");
        let name = name.trim_end_matches('/');
        run(&world, &["verify", name]).ok();
        let shown = run(&world, &["preview", name, "-n", "2", "--columns", "_rescued"]).ok();
        assert!(shown.stdout.contains(r#"{".input.messages[0].score":1.50"#), "{}", shown.stdout);
        let schema = run(&world, &["schema", name]).ok();
        let columns = r#"{"name":"_rescued","type":"json","why":"values that do not fit"#;
        assert!(schema.stdout.contains(columns), "{}", schema.stdout);
        let typed = ["_rescued", "input", "id"].map(str::to_owned);
        let mut options = overmind_export::ReadOptions::default();
        options.columns = typed.to_vec();
        let batches = Batches::open_with(&Location::from(world.path(name)), &options).unwrap();
        let names: Vec<_> =
            batches.columns().unwrap().iter().map(|it| it.name().to_owned()).collect();
        assert_eq!(names, ["id", "input", "_rescued"]);
    }
    // The values are those of the text form, and the digest is that of every form.
    assert_eq!(manifest(&world, "rows")["digest"], manifest(&world, "text")["digest"]);
    let value = |text: &Option<String>| {
        let text = text.as_ref()?.replace("1e400", "\"1e400\"");
        Some(plain(&serde_json::from_str(&text).unwrap()))
    };
    for (row, expected) in read(&world, "rows").iter().zip(&read(&world, "text")) {
        assert_eq!(
            row.iter().map(value).collect::<Vec<_>>(),
            expected.iter().map(value).collect::<Vec<_>>()
        );
    }
    // A conversion has the values in their columns.
    let ran = run(&world, &["convert", "rows", "-o", "back.jsonl", "--json"]).ok();
    assert!(!String::from_utf8(world.read("back.jsonl")).unwrap().contains("_rescued"), "{ran:?}");
    // A conversion can rescue values, too: of the text form, and again of a nested one.
    for source in ["text", "rows"] {
        let output = format!("again_{source}/");
        let convert = ["convert", source, "-o", &output, "--rows-per-file", "200", "--json"];
        let ran = run(&world, &[&convert[..], &given].concat()).ok();
        let done: Value = serde_json::from_str(&ran.stdout).unwrap();
        let paths = done["rescued_paths"].as_array().unwrap();
        assert!(paths.contains(&".input.messages[].score".into()), "{done}");
        let output = output.trim_end_matches('/');
        run(&world, &["verify", output]).ok();
        run(&world, &["diff", output, "rows"]).ok();
    }
    let told = world.export(&[&["-o", "told/"], &given[..]].concat()).ok();
    let line = "  values that do not fit the schema are in the column _rescued: ";
    assert!(told.stderr.contains(line), "{}", told.stderr);
    for (options, why) in [
        (&["-o", "x.parquet", "--rescue"][..], "--rescue is for nested columns"),
        (
            &["-o", "x.parquet", "--json-columns", "nested", "--column", "_Rescued=.id"],
            "nested exports keep values that do not fit in it: give another name",
        ),
    ] {
        let ran = world.export(options);
        assert!(ran.code == Some(2) && ran.stderr.contains(why), "{options:?} {ran:?}");
    }
}

#[test]
fn damaged_rescued_values_are_found() {
    let world = world(conversations(40));
    let types = r#"{"columns":[{"name":"tags","type":"int"}]}"#;
    fs::write(world.path("s.json"), types).unwrap();
    let given = ["--schema", "s.json", "--rescue", "--compression", "none"];
    export(&world, &[&["-o", "rows.arrow"], &given[..]].concat());
    run(&world, &["preview", "rows.arrow"]).ok();
    let bytes = world.read("rows.arrow");
    let at = bytes.windows(8).position(|it| it == b"{\".tags\"").unwrap();
    // The values of another column, and something that is no object.
    for damage in [&b"{\".tigs\""[..], b"{\"_tags\"", b"[\".tags\""] {
        let mut damaged = bytes.clone();
        damaged[at..at + 8].copy_from_slice(damage);
        fs::write(world.path("damaged.arrow"), damaged).unwrap();
        let ran = run(&world, &["preview", "damaged.arrow", "-n", "40"]);
        let why = "its column _rescued has values of other rows";
        assert!(ran.code == Some(65) && ran.stderr.contains(why), "{ran:?}");
        let ran = run(&world, &["verify", "damaged.arrow"]);
        assert_ne!(ran.code, Some(0), "{ran:?}");
    }
}

#[test]
fn verify_counts_rows_with_rescued_values() {
    let world = world(conversations(40));
    let types =
        r#"{"columns":[{"name":"tags","type":"struct","fields":[{"name":"topic","type":"int"}]}]}"#;
    fs::write(world.path("s.json"), types).unwrap();
    let given = ["--schema", "s.json", "--rescue"];
    for (name, more) in [
        ("rows", &["--rows-per-file", "30"][..]),
        ("one.arrow", &["--manifest"]),
        ("one.parquet", &["--manifest", "--columns", "id,tags"]),
    ] {
        let output = if name == "rows" { "rows/" } else { name };
        let done = export(&world, &[&["-o", output], &given[..], more].concat());
        assert_eq!(done["rescued_rows"], 13, "{done}");
        run(&world, &["verify", name]).ok();
        let record = format!("{name}.manifest.json");
        let mut changed = manifest(&world, name);
        let rescued = changed["parts"][0]["rescued"].as_u64().unwrap();
        for (recorded, is_missing) in [(rescued + 1, false), (rescued - 1, false), (0, true)] {
            let part = changed["parts"][0].as_object_mut().unwrap();
            match is_missing {
                true => drop(part.remove("rescued")),
                false => drop(part.insert("rescued".to_owned(), recorded.into())),
            }
            fs::write(world.path(&record), changed.to_string()).unwrap();
            let ran = run(&world, &["verify", name]);
            let why = format!("rows with rescued values {rescued}, recorded {recorded}");
            assert!(ran.code == Some(65) && ran.stdout.contains(&why), "{why} {ran:?}");
        }
    }
    // Without the column, there are none.
    export(&world, &["-o", "text.parquet", "--manifest"]);
    let mut changed = manifest(&world, "text.parquet");
    changed["parts"][0]["rescued"] = 1.into();
    fs::write(world.path("text.parquet.manifest.json"), changed.to_string()).unwrap();
    let ran = run(&world, &["verify", "text.parquet"]);
    assert!(ran.stdout.contains("rows with rescued values 0, recorded 1"), "{ran:?}");
}

#[test]
fn mistakes_in_a_schema_are_refused() {
    let world = world(conversations(1));
    export(&world, &["-o", "rows.parquet"]);
    let mut told = String::new();
    for schema in [
        r#"{"columns":[{"name":"input","type":"struct","fields":[{"name":"n","type":"strng"}]}]}"#,
        r#"{"columns":[{"name":"input","kind":"int"}]}"#,
        r#"{"columns":[{"name":"inptu","type":"int"}]}"#,
        r#"{"columns":[{"name":"id","type":"int"},{"name":"tags","type":"json"}]}"#,
        r#"{"columns":[{"name":"order","type":"timestamp"},{"name":"tags","type":"json"}]}"#,
        "columns",
    ] {
        fs::write(world.path("s.json"), schema).unwrap();
        let ran = world.export(&["-o", "x.parquet", "--schema", "s.json"]);
        assert_eq!(ran.code, Some(2), "{schema} {ran:?}");
        told += &ran.stderr;
    }
    let ran = world.export(&["-o", "x.parquet", "--schema", "rows.parquet"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    told += &ran.stderr;
    insta::assert_snapshot!(told, @r#"
    error: "strng" is not a valid type in a schema: .input.n can have the type string, int, float, bool, json, list or struct (in s.json)
    error: "{\"kind\":\"int\",\"name\":\"input\"}" is not a valid part of a schema: .input needs a "type", a string (in s.json)
    error: "inptu" is not a valid column in a schema: the columns are id, order, input, expected_output, persona, tags, additional_properties
    error: "int" is not a valid type in a schema: the column id has the type string
    error: "timestamp" is not a valid type in a schema: the column order has the type int (in s.json)
    error: "s.json" is not a valid schema: it is not JSON (an error at byte 1): give the output of `overmind-export schema`
    error: "rows.parquet" is not a valid schema: it is an export: give the output of `overmind-export schema` for it
    "#);
    assert!(!world.path("x.parquet").exists());
}

#[test]
fn rows_that_readers_would_refuse_end_the_run() {
    let world = world(Vec::new());
    let text = |length: usize| format!("\"{}\"", "x".repeat(length));
    let row = |id: u64, input: &str, tags: &str| {
        format!(r#"{{"id":"{}","order":{id},"input":{input},"tags":{tags}}}"#, rows::id(id)) + "\n"
    };
    let half = text(33 << 20);
    // Each escape of two bytes is read back with six.
    let grown = format!("\"{}\"", "\\b".repeat(12 << 20));
    fs::write(world.path("half.jsonl"), row(1, "1", "1") + &row(2, &half, &half)).unwrap();
    fs::write(world.path("grown.jsonl"), row(1, &grown, "1")).unwrap();
    for (name, kind) in [("int", "int"), ("string", "string")] {
        let columns = format!(
            r#"{{"columns":[{{"name":"input","type":"{kind}"}},{{"name":"tags","type":"int"}}]}}"#
        );
        fs::write(world.path(&format!("{name}.json")), columns).unwrap();
    }
    let mut told = String::new();
    for (source, schema) in [("half.jsonl", "int.json"), ("grown.jsonl", "string.json")] {
        let convert =
            ["convert", source, "-q", "-o", "rows.parquet", "--schema", schema, "--rescue"];
        let ran = run(&world, &convert);
        assert_eq!(ran.code, Some(65), "{ran:?}");
        told += &ran.stderr;
    }
    insta::assert_snapshot!(told, @"
    error: row 2 (id 01234567-89ab-4cde-8000-000000000002): _rescued would have 69,206,040 bytes with the value of tags, and readers accept 67,108,864
      hint: nothing was published: change the type of the column to json in the --schema, or leave --schema out to find types that hold every value
    error: row 1 (id 01234567-89ab-4cde-8000-000000000001): input would have 75,497,474 bytes in the usual spelling of its numbers and escapes, and readers accept 67,108,864
      hint: nothing was published: change the type of the column to json in the --schema, or leave --schema out to find types that hold every value
    ");
}
