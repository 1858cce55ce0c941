//! `diff` accepts URLs on both sides and for its output.

use overmind_export::demo::{Dataset, Options};

use super::server::{BUCKET, Fate, Store};
use crate::support::{ID, Ran, World};

fn run(store: &Store, world: &World, arguments: &str) -> Ran {
    Ran::of(store.command(world).args(arguments.split(' ')))
}

#[test]
fn diff_reads_from_and_writes_to_stores() {
    let (store, world) = (Store::start(), World::generated(Options::default(), 300));
    let export = format!("export {ID} --rows-per-file 100 -q -o s3://{BUCKET}/monday/");
    run(&store, &world, &export).ok();
    run(&store, &world, &format!("export {ID} -q -o monday.jsonl.zst")).ok();
    let tuesday = World::with(Options::default(), Dataset::generated(301, 7).with_id(ID));
    run(&store, &tuesday, &format!("export {ID} -q -o s3://{BUCKET}/tuesday.arrow")).ok();

    let ran = run(&store, &world, &format!("diff monday.jsonl.zst s3://{BUCKET}/monday")).ok();
    assert!(ran.stdout.ends_with("equal: 300 rows\n"), "{ran:?}");

    let sides = format!("s3://{BUCKET}/monday/ s3://{BUCKET}/tuesday.arrow");
    let output = format!("-o s3://{BUCKET}/changes/monday.jsonl");
    let before = store.keys();
    let ran = run(&store, &world, &format!("diff {sides} {output} --show 0"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("\n1 added · 0 removed · 0 changed · 300 unchanged\n"), "{ran:?}");
    let lines = String::from_utf8(store.objects()["changes/monday.jsonl"].clone()).unwrap();
    assert!(lines.starts_with("{\"kind\":\"added\",") && lines.lines().count() == 1, "{lines}");
    let mut after = store.keys();
    after.retain(|key| key != "changes/monday.jsonl");
    assert_eq!((after, store.open_uploads()), (before, 0));

    let again = run(&store, &world, &format!("diff {sides} {output}"));
    assert_eq!(again.code, Some(73), "{again:?}");
    assert_eq!(run(&store, &world, &format!("diff {sides} {output} --overwrite -q")).code, Some(1));
    let inside = run(&store, &world, &format!("diff {sides} -o s3://{BUCKET}/monday/d.jsonl"));
    assert_eq!(inside.code, Some(2), "{inside:?}");
}

#[test]
fn missing_or_refused_object_is_an_error() {
    // It must not count as a difference (exit code 1).
    let (store, world) = (Store::start(), World::generated(Options::default(), 30));
    run(&store, &world, &format!("export {ID} -q -o a.jsonl")).ok();
    run(&store, &world, &format!("export {ID} -q -o s3://{BUCKET}/a.parquet")).ok();
    let missing = run(&store, &world, &format!("diff a.jsonl s3://{BUCKET}/nothing"));
    insta::assert_snapshot!(missing.told(&world), @"
    exit 74
    error: cannot read s3://bucket/nothing
      cause: no object and no prefix with this name exists
    ");
    store.rule("GET /bucket/a.parquet", Fate::Refused(403, "AccessDenied"));
    let refused = run(&store, &world, &format!("diff a.jsonl s3://{BUCKET}/a.parquet"));
    insta::assert_snapshot!(refused.told(&world), @"
    exit 74
    error: cannot read s3://bucket/a.parquet.manifest.json
      cause: AccessDenied: as scripted
      hint: check the credentials in the environment (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_*) or in the storage options, and what they allow
    ");
}
