//! Objects of other users in places that runs read. Names inside such objects never affect other objects,
//! and their size causes no harm.

use std::fs;

use overmind_export::demo::Options;
use serde_json::{Value, json};

use super::{
    crash::{ARGUMENTS, Place, is_complete},
    messages::told,
    server::{Fate, Store},
    uploads::large,
};
use crate::support::{ID, Ran, World, resealed};

/// Changes the manifest below the prefix.
fn edit_manifest(store: &Store, change: impl FnOnce(&mut Value)) {
    let path = store.path("rows.manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    store.put("rows.manifest.json", manifest.to_string().as_bytes());
}

#[test]
fn overwrite_refuses_objects_of_other_programs() {
    let world = World::generated(Options::default(), 10);
    let store = Store::start();
    let line = "export ID -o s3://bucket/rows/ --overwrite";
    assert!(told(&world, &store, line, &[]).starts_with("exit 0"));
    let part = store.keys().into_iter().find(|key| key.contains("part-00000-")).unwrap();
    let part = part.strip_prefix("rows/").unwrap();
    let healthy = fs::read(store.path("rows.manifest.json")).unwrap();
    store.put("rows/notes.txt", b"mine");
    store.put("rows/thesis/chapter.txt", b"mine");
    let requests = world.server.stats().requests;
    let refused = |name: &str| {
        store.put("rows.manifest.json", &healthy);
        edit_manifest(&store, |manifest| {
            let mut listed = manifest["parts"][0].clone();
            listed["path"] = name.into();
            manifest["parts"].as_array_mut().unwrap().push(listed);
        });
        let before = store.objects();
        let told = told(&world, &store, line, &[]);
        assert!(store.objects() == before, "{name}");
        told
    };
    insta::assert_snapshot!(refused("notes.txt"), @r#"
    exit 73
    error: s3://bucket/rows/: its record lists "notes.txt", which is not a part of an export
      hint: no export wrote that record, or it was changed since: give another URL
    "#);
    insta::assert_snapshot!(refused("thesis/"), @r#"
    exit 73
    error: s3://bucket/rows/: its record lists "thesis/", which is not a part of an export
      hint: no export wrote that record, or it was changed since: give another URL
    "#);
    insta::assert_snapshot!(refused("thesis"), @r#"
    exit 73
    error: s3://bucket/rows/: its record lists "thesis", which is not a part of an export
      hint: no export wrote that record, or it was changed since: give another URL
    "#);
    insta::assert_snapshot!(refused("../other/part-00000.parquet"), @r#"
    exit 73
    error: s3://bucket/rows/: its record lists "../other/part-00000.parquet", which is not a part of an export
      hint: no export wrote that record, or it was changed since: give another URL
    "#);
    fs::remove_file(store.path("rows/notes.txt")).unwrap();
    fs::remove_dir_all(store.path("rows/thesis")).unwrap();
    store.put("rows.manifest.json", &healthy);
    store.put(&format!("rows/{part}"), b"mine");
    let told = told(&world, &store, line, &[]);
    insta::assert_snapshot!(told.replace(part, "PART"), @r#"
    exit 73
    error: s3://bucket/rows/: holds "PART" with 4 bytes, but its record says 8,226
      hint: only objects of an earlier export are replaced: move the object, or give another URL
    "#);
    assert_eq!(fs::read(store.path(&format!("rows/{part}"))).unwrap(), b"mine");
    assert_eq!(world.server.stats().requests, requests, "an unnecessary request was sent");
}

#[test]
fn folder_named_like_a_part_is_left_alone() {
    let place = Place::new();
    place.export(&ARGUMENTS).ok();
    let keys = place.store.keys();
    let part = keys.iter().find(|key| key.contains("part-00000-")).unwrap();
    fs::remove_file(place.store.path(part)).unwrap();
    place.store.put(&format!("{part}/letter.txt"), b"mine");
    let before = place.store.objects();
    let ran = place.export(&[&ARGUMENTS[..], &["--overwrite"]].concat());
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(place.store.objects() == before);
}

#[test]
fn forged_control_objects_remove_nothing_else() {
    let place = Place::new();
    let overwrite = [&ARGUMENTS[..], &["--overwrite"]].concat();
    place.export(&ARGUMENTS).ok();
    let forged = json!({
        "record": String::from_utf8(place.store.objects()["rows.manifest.json"].clone()).unwrap(),
        "record_bucket": "bucket",
        "record_path": "rows.manifest.json",
        "superseded": ["notes.txt", "../above.txt", "a/b", "../_rows.partial/thesis.txt"],
        "success_file": false,
    });
    place
        .store
        .put("_rows.partial/commit-0badcafe.state", resealed(&forged.to_string()).as_bytes());
    place.store.put("rows/notes.txt", b"mine");
    place.store.put("_rows.partial/thesis.txt", b"mine");
    place.store.put("above.txt", b"mine");
    place.store.put("rows/a/b", b"mine");
    let ran = place.export(&overwrite);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(place.store.path("rows/notes.txt").exists());
    fs::remove_dir_all(place.store.path("rows/a")).unwrap();
    fs::remove_file(place.store.path("rows/notes.txt")).unwrap();
    place.export(&overwrite).ok();
    let left = place.store.keys();
    for key in ["above.txt", "_rows.partial/thesis.txt"] {
        assert!(left.iter().any(|left| left == key), "{key} is gone: {left:?}");
    }
    assert_eq!(left.len(), 2 + 3 + 1, "{left:?}");
}

#[test]
fn forged_records_add_no_foreign_object() {
    let changes: [(&str, Value); 4] = [
        ("path", json!("part-00000-x/../../elsewhere.parquet")),
        ("rows", json!(u64::MAX)),
        ("last_page", json!(u64::MAX)),
        ("first_page", json!(0)),
    ];
    for (field, value) in changes {
        println!("{field}");
        let place = Place::new();
        place.kill_at(&ARGUMENTS, "PUT /bucket/rows/part-00002-", 1);
        let keys = place.store.keys();
        let record = keys.iter().find(|key| key.starts_with("_rows.partial/part-00000-")).unwrap();
        let mut forged: Value =
            serde_json::from_slice(&fs::read(place.store.path(record)).unwrap()).unwrap();
        forged["kept"]["part"][field] = value;
        let forged = forged.as_object_mut().unwrap();
        forged.remove("check");
        let forged = resealed(&Value::from(forged.clone()).to_string());
        place.store.put(record, forged.as_bytes());
        // The part is fetched again.
        let before = place.world.server.stats().requests;
        place.export(&ARGUMENTS).ok();
        assert_eq!(place.world.server.stats().requests - before, 12, "{field}");
        // The forged record is not believed, so its upload stays open.
        is_complete(&place);
    }
}

#[test]
fn journals_abort_no_upload_elsewhere() {
    let place = large();
    let object = ["-o", "s3://bucket/rows/x.jsonl", "--page-size", "10"];
    place.kill_at(&object, "partNumber=3", 1);
    assert_eq!(place.store.open_uploads(), 1);
    let keys = place.store.keys();
    let journal = keys.iter().find(|key| key.contains("/upload-")).unwrap();
    let journal = fs::read(place.store.path(journal)).unwrap();
    for name in ["upload-part-00000-0badcafe+jsonl", "upload-ids-00000-0badcafe", "upload-0badcafe"]
    {
        place.store.put(&format!("_other.partial/{name}"), &journal);
        place.store.put(&format!("_y.jsonl.partial/{name}"), &journal);
    }
    let small = ["--pages", "1-2", "--page-size", "10", "--format", "jsonl"];
    place.export(&[&["-o", "s3://bucket/other/"], &small[..]].concat()).ok();
    place.export(&[&["-o", "s3://bucket/y.jsonl"], &small[..]].concat()).ok();
    assert_eq!(place.store.open_uploads(), 1, "an upload of another export was aborted");
}

#[cfg(target_os = "linux")]
#[test]
fn huge_control_objects_are_not_read() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/rows/part-00002-", 1);
    let control = |key: &String| key.contains("_rows.partial/") && !key.contains("/ids-");
    for key in place.store.keys().into_iter().filter(control) {
        // The file is sparse and takes no space on the disk. The server keeps the old ETag.
        let file = fs::File::create(place.store.path(&key)).unwrap();
        file.set_len(5 << 30).unwrap();
    }
    // The run may use about 4 GB of memory, which is less than the size of each object (5 GiB).
    let binary = env!("CARGO_BIN_EXE_overmind-export");
    let mut command = place.store.command(&place.world);
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command = std::process::Command::new("sh");
    command.env_clear().envs(environment).current_dir(place.world.folder.path());
    let line = format!("ulimit -v 4000000; exec {binary} export {ID} {}", ARGUMENTS.join(" "));
    Ran::of(command.args(["-c", &line])).ok();
    // The ids of the uploads are lost with their records.
    is_complete(&place);
}

#[test]
fn publication_obstacles_are_found_before_page_1() {
    let world = World::generated(Options::default(), 10);
    let store = Store::start();
    store.rule("DELETE /bucket/", Fate::Refused(403, "AccessDenied"));
    let export = |output: &str| told(&world, &store, &format!("export ID -o {output}"), &[]);
    insta::assert_snapshot!(export("s3://bucket/rows/"), @"
    exit 73
    error: s3://bucket/rows/: can be written, but objects cannot be removed there
      cause: AccessDenied: as scripted
      hint: a run deletes its lock and its temporary objects: allow it to delete there (s3:DeleteObject), and use a bucket without a retention policy
    ");
    insta::assert_snapshot!(export("s3://bucket/rows.parquet"), @"
    exit 73
    error: s3://bucket/rows.parquet: can be written, but objects cannot be removed there
      cause: AccessDenied: as scripted
      hint: a run deletes its lock and its temporary objects: allow it to delete there (s3:DeleteObject), and use a bucket without a retention policy
    ");
    store.no_rules();
    let requests = store.seen("");
    let long = "x".repeat(200);
    let long = [&*long; 5].join("/");
    let short = |told: String| told.replace(&long, "LONG");
    insta::assert_snapshot!(short(export(&format!("s3://bucket/{long}/"))), @"
    exit 73
    error: s3://bucket/LONG/: is too long: a name that the export needs there has 1060 bytes, and stores allow 1024
      hint: give a shorter URL
    ");
    let record = format!("s3://bucket/{long}/ --record s3://bucket/record.json");
    insta::assert_snapshot!(short(export(&record)), @"
    exit 73
    error: s3://bucket/LONG/: is too long: a name that the export needs there has 1061 bytes, and stores allow 1024
      hint: give a shorter URL
    ");
    insta::assert_snapshot!(short(export(&format!("s3://bucket/{long}/rows.parquet"))), @"
    exit 73
    error: s3://bucket/LONG/rows.parquet: is too long: a name that the export needs there has 1042 bytes, and stores allow 1024
      hint: give a shorter URL
    ");
    assert_eq!(store.seen(""), requests, "an unnecessary request was sent");
    assert_eq!(world.server.stats().requests, 0);
}

#[test]
fn failed_publication_says_what_was_written() {
    let world = World::generated(Options::default(), 10);
    let store = Store::start();
    let export = |request: &str, line: &str| {
        store.rule(request, Fate::Refused(403, "AccessDenied"));
        let told = told(&world, &store, &format!("export ID {line}"), &[]);
        store.no_rules();
        told
    };
    let rows = "-o s3://bucket/rows/";
    let refused = export("PUT /bucket/_rows.partial/commit-", rows);
    let begin = refused.find("commit-").unwrap();
    let name = &refused[begin..][.."commit-01234567".len()];
    insta::assert_snapshot!(refused.replace(name, "commit-TOKEN"), @"
    exit 74
    error: cannot write s3://bucket/_rows.partial/commit-TOKEN.state
      cause: AccessDenied: as scripted
      hint: nothing was published, but every part is uploaded: repair the store or the permission, then run the same command again; it fetches two pages and publishes the export
    ");
    insta::assert_snapshot!(export("PUT /bucket/rows.manifest.json", rows), @"
    exit 74
    resuming: 1 finished part kept (10 of 10 rows, up to page 1)
    error: cannot write s3://bucket/rows.manifest.json
      cause: AccessDenied: as scripted
      hint: every part is proven and uploaded, and its publication has begun: repair the store or the permission, then run the same command again, which finishes it
    ");
    insta::assert_snapshot!(told(&world, &store, &format!("export ID {rows}"), &[]), @"
    exit 73
    error: s3://bucket/rows/: is complete: this run has finished the publication of an interrupted run
      hint: give --overwrite to export again
    ");
    let object = "-o s3://bucket/x.jsonl --manifest";
    insta::assert_snapshot!(export("PUT /bucket/x.jsonl", object), @"
    exit 74
    error: cannot write s3://bucket/x.jsonl
      cause: AccessDenied: as scripted
      hint: nothing was published: repair the store or the permission, then run the same command again; it starts over, because only an export to a prefix can be resumed
    ");
    assert!(!store.keys().iter().any(|key| key.contains("x.jsonl")));
    insta::assert_snapshot!(export("PUT /bucket/x.jsonl.manifest.json", object), @"
    exit 74
    error: cannot write s3://bucket/x.jsonl.manifest.json
      cause: AccessDenied: as scripted
      hint: the object is complete, but its manifest is missing or belongs to the previous object: repair the store or the permission, then run the same command again with --overwrite
    ");
    assert!(store.keys().contains(&"x.jsonl".to_owned()));
    // Following the hints repairs the exports.
    let line = "export ID -o s3://bucket/x.jsonl --manifest --overwrite";
    assert!(told(&world, &store, line, &[]).starts_with("exit 0"));
    for output in ["s3://bucket/rows/", "s3://bucket/x.jsonl"] {
        let verify = told(&world, &store, &format!("verify {output}"), &[]);
        assert!(verify.contains(": ok, 10 rows; "), "{verify}");
    }
}
