//! Requests that reach the store long after their run lost its lock, for example through a proxy with a
//! queue. Also stores without conditional puts.

use std::fs;

use overmind_export::demo::Dataset;
use serde_json::Value;

use super::{
    crash::{OUTPUT, Place, is_whole},
    server::Fate,
    uploads::large,
};
use crate::support::{ID, Ran};

const OBJECT: &str = "s3://bucket/rows/rows.parquet";

/// Changes the lock as if a run on another machine held it, with a lease of 0.5 s.
fn forget_holder(place: &Place) {
    let keys = place.store.keys();
    let lock = keys.iter().find(|key| key.ends_with("lock-00001.state")).unwrap();
    let path = place.store.path(lock);
    let mut holder: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    holder["host"] = "elsewhere".into();
    holder["lease_seconds"] = 0.5.into();
    fs::write(path, holder.to_string()).unwrap();
}

#[test]
fn late_puts_do_not_replace_a_newer_export() {
    let manifest = "PUT /bucket/rows.manifest.json";
    let sidecar = "PUT /bucket/rows/rows.parquet.manifest.json";
    let prefix: &[&str] = &["-o", OUTPUT, "--page-size", "25", "--rows-per-file", "100"];
    let object: &[&str] = &["-o", OBJECT, "--page-size", "25"];
    let both: &[&str] = &["-o", OBJECT, "--page-size", "25", "--manifest"];
    // Whether an export exists before, the arguments, and the late request.
    let table = [
        (false, prefix, manifest),
        (true, prefix, manifest),
        (false, object, "PUT /bucket/rows/rows.parquet "),
        (true, object, "PUT /bucket/rows/rows.parquet "),
        (true, both, sidecar),
    ];
    for (exists, arguments, request) in table {
        println!("{exists} {request}");
        let place = Place::new();
        if exists {
            place.export(arguments).ok();
        }
        let overwrite = [arguments, &["--overwrite"]].concat();
        place.store.rule(request.trim_end(), Fate::Late);
        let late = place.start(if exists { &overwrite } else { arguments });
        place.store.wait_until_held();
        forget_holder(&place);
        place.world.server.replace(vec![Dataset::generated(200, 8).with_id(ID)]);
        place.export(&[&overwrite[..], &["--restart"]].concat()).ok();
        let newer = place.store.objects();
        place.store.let_go();
        let ran = Ran::from(late.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(75), "{ran:?}");
        let output = arguments[1];
        let lost = "the lock was lost: another run has taken it over\n";
        let told = match arguments == prefix {
            // Its publication had begun, so the other run finished it first.
            true => format!("error: {output} was being published when {lost}"),
            false => format!("error: {output}: {lost}"),
        };
        assert!(ran.stderr.contains(&told), "{ran:?}");
        let now = place.store.objects();
        assert!(now == newer, "{:?}, not {:?}", now.keys(), newer.keys());
        let mut verify = place.store.command(&place.world);
        let verify = Ran::of(verify.args(["verify", output])).ok();
        assert!(verify.stdout.contains(": ok, 200 rows; "), "{verify:?}");
    }
}

#[test]
fn late_completion_does_not_replace_newer_object() {
    // The request that completes an upload has no condition. Instead, the run that takes the lock over
    // aborts the upload.
    let arguments = ["-o", "s3://bucket/rows/x.jsonl", "--page-size", "10"];
    let place = large();
    place.store.rule("POST /bucket/rows/x.jsonl?uploadId", Fate::Late);
    let late = place.start(&arguments);
    place.store.wait_until_held();
    forget_holder(&place);
    place.world.server.replace(vec![Dataset::generated(200, 8).with_id(ID)]);
    place.export(&arguments).ok();
    let newer = place.store.objects();
    place.store.let_go();
    let ran = Ran::from(late.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(75), "{ran:?}");
    assert!(place.store.objects() == newer);
}

#[test]
fn completion_with_a_lost_answer_is_recognized() {
    // The server refuses to complete an upload twice.
    let object: &[&str] = &["-o", "s3://bucket/rows/x.jsonl", "--page-size", "10", "--manifest"];
    let prefix: &[&str] = &["-o", OUTPUT, "--page-size", "10", "--format", "jsonl"];
    for (arguments, request) in
        [(object, "POST /bucket/rows/x.jsonl?uploadId"), (prefix, ".jsonl?uploadId")]
    {
        let place = large();
        place.store.rule(request, Fate::AnswerLost);
        place.export(arguments).ok();
        assert!(place.store.seen("?uploadId") > 1, "the completion was not sent again");
        let mut verify = place.store.command(&place.world);
        Ran::of(verify.args(["verify", arguments[1]])).ok();
    }
}

#[test]
fn object_put_by_another_user_is_not_replaced() {
    for exists in [false, true] {
        let place = large();
        let mut arguments = vec!["-o", "s3://bucket/rows/x.jsonl", "--page-size", "10"];
        if exists {
            place.export(&arguments).ok();
            arguments.push("--overwrite");
        }
        place.store.rule("partNumber=3", Fate::HeldAt(1));
        let run = place.start(&arguments);
        place.store.wait_until_held();
        place.store.put("rows/x.jsonl", b"mine");
        place.store.let_go();
        let ran = Ran::from(run.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(73), "{ran:?}");
        let why =
            if exists { "was replaced or removed during the export" } else { "exists already" };
        assert!(ran.stderr.contains(why), "{ran:?}");
        assert!(
            place.store.objects().into_iter().eq([("rows/x.jsonl".to_owned(), b"mine".to_vec())])
        );
        assert_eq!(place.store.open_uploads(), 0);
    }
}

#[test]
fn manifest_put_by_another_run_is_not_replaced() {
    let sidecar = "rows/rows.parquet.manifest.json";
    for exists in [false, true] {
        let place = Place::new();
        let mut arguments = vec!["-o", OBJECT, "--page-size", "25", "--manifest"];
        if exists {
            place.export(&arguments).ok();
            arguments.push("--overwrite");
        }
        place.store.rule(&format!("PUT /bucket/{sidecar}"), Fate::HeldAt(1));
        let run = place.start(&arguments);
        place.store.wait_until_held();
        place.store.put(sidecar, b"theirs");
        place.store.let_go();
        let ran = Ran::from(run.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(75), "{ran:?}");
        let told = format!(
            "error: s3://bucket/{sidecar} was replaced or removed during the export\n  hint: the object is \
             complete, but another program wrote its manifest: stop that program, then run the same \
             command again with --overwrite\n"
        );
        assert!(ran.stderr.contains(&told), "{ran:?}");
        assert_eq!(place.store.objects()[sidecar], b"theirs");
    }
}

#[test]
fn stores_without_conditional_puts_still_work() {
    for disabled in [false, true] {
        let place = Place::new();
        let more: &[&str] = if disabled {
            &["--storage-option", "conditional_put=disabled"]
        } else {
            place.store.rule("PUT /bucket/", Fate::NoConditions);
            &[]
        };
        let export = |arguments: &[&str]| place.export(&[arguments, more].concat());
        let prefix = ["-o", OUTPUT, "--page-size", "25", "--rows-per-file", "100"];
        export(&prefix).ok();
        assert_eq!(export(&prefix).code, Some(73));
        export(&[&prefix[..], &["--overwrite"]].concat()).ok();
        is_whole(&place);
        let object = ["-o", "s3://bucket/x/rows.parquet", "--page-size", "25", "--manifest"];
        export(&object).ok();
        export(&[&object[..], &["--overwrite"]].concat()).ok();
        let left = place.store.keys();
        let objects = ["x/rows.parquet", "x/rows.parquet.manifest.json"];
        assert_eq!(left[left.len() - 2..], objects, "{left:?}");
    }
}

#[test]
fn plain_put_checks_for_a_newer_object_first() {
    let place = Place::new();
    let object = ["-o", OBJECT, "--page-size", "25"];
    place.store.rule("PUT /bucket/", Fate::NoConditions);
    // Four HEAD requests come before the first page, for the object and its manifest. The fifth comes right
    // before the put.
    place.store.rule("HEAD /bucket/rows/rows.parquet", Fate::HeldAt(5));
    let run = place.start(&object);
    place.store.wait_until_held();
    place.store.put("rows/rows.parquet", b"mine");
    place.store.let_go();
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert_eq!(place.store.objects()["rows/rows.parquet"], b"mine");
}
