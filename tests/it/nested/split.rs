//! Splits with nested columns: all splits have the same types.

use super::*;

const SPLIT: [&str; 8] = [
    "-o",
    "out/",
    "--split",
    "train=0.5,dev=0.3,test=0.2",
    "--split-by",
    ".id",
    "--rows-per-file",
    "200",
];

/// The last row has a member of its own, so that every split needs the same late type.
fn rows() -> Vec<String> {
    let mut rows = conversations(2000);
    let late = r#","input":{"late":[1.5],"messages""#;
    let last = rows.last_mut().unwrap();
    *last = last.replace(r#","input":{"messages""#, late);
    assert!(last.contains(late));
    rows
}

#[test]
fn found_types_are_those_of_all_splits() {
    let world = world(rows());
    let digest =
        export(&world, &[&SPLIT[..], &["--json-columns", "text"]].concat())["digest"].clone();
    fs::rename(world.path("out.manifest.json"), world.path("text.json")).unwrap();
    fs::remove_dir_all(world.path("out")).unwrap();
    let done = export(&world, &[&SPLIT[..], &["--dataset-card"], &NESTED].concat());
    assert_eq!(done["digest"], digest);
    let record = manifest(&world, "out");
    let fields = record["nested"][0]["fields"].as_array().unwrap();
    let late = fields.iter().find(|field| field["name"] == "late").unwrap();
    assert_eq!(late["item"]["type"], "float");
    for (path, rows) in [
        ("out", 2000),
        ("out/data", 2000),
        ("out/data/train", record["splits"][0]["rows"].as_u64().unwrap()),
        ("out/data/test", record["splits"][2]["rows"].as_u64().unwrap()),
    ] {
        let verified = run(&world, &["verify", path]).ok();
        let rows = rows.to_string();
        let told = verified.stdout.replace(',', "");
        assert!(told.contains(&format!("ok {rows} rows")), "{verified:?}");
    }
    // Every file has the same columns, whatever its rows have.
    let mut schemas = BTreeSet::new();
    for part in record["parts"].as_array().unwrap() {
        let bytes = world.read(&format!("out/{}", part["path"].as_str().unwrap()));
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
        schemas.insert(format!("{:?}", reader.schema().fields()));
    }
    assert_eq!(schemas.len(), 1);
    let text: Value = serde_json::from_slice(&world.read("text.json")).unwrap();
    for (one, other) in
        record["splits"].as_array().unwrap().iter().zip(text["splits"].as_array().unwrap())
    {
        assert_eq!((&one["rows"], &one["digest"]), (&other["rows"], &other["digest"]));
    }
    // The types that were found are given to another export.
    fs::rename(world.path("out.manifest.json"), world.path("s.json")).unwrap();
    fs::remove_dir_all(world.path("out")).unwrap();
    export(&world, &[&SPLIT[..], &["--dataset-card", "--schema", "s.json"]].concat());
    let again = manifest(&world, "out");
    for field in ["nested", "parts", "splits", "digest"] {
        assert_eq!(again[field], record[field], "{field}");
    }
}

#[test]
fn killed_split_continues_to_the_same_bytes() {
    let arguments = [&SPLIT[..], &NESTED, &["--page-size", "25"]].concat();
    let truth = {
        let world = world(rows());
        export(&world, &[&arguments[..], &["--encode-threads", "16"]].concat());
        (content(&world.path("out")), manifest(&world, "out")["parts"].clone())
    };
    let faults = Faults::none().on(60, FaultAttempt::Always, Fault::status(503));
    let world = World::with_rows(Options { faults, ..Options::default() }, rows());
    let network = ["--concurrency", "1", "--max-retries", "0", "--encode-threads", "1"];
    let arguments = [&arguments[..], &network].concat();
    assert_eq!(world.export(&arguments).code, Some(69));
    world.server.set_faults(Faults::none());
    let ran = world.export(&arguments).ok();
    assert!(ran.stderr.contains("resuming: "), "{}", ran.stderr);
    assert!((content(&world.path("out")), manifest(&world, "out")["parts"].clone()) == truth);
    run(&world, &["verify", "out"]).ok();
    assert_eq!(world.entries(), ["out", "out.manifest.json"]);
}
