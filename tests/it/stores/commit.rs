//! The publication of a prefix: its point of no return, and what later runs finish or undo.

use std::fs;

use overmind_export::demo::{Dataset, Fault, FaultAttempt, Faults};

use super::{
    crash::{ARGUMENTS, OUTPUT, Place, ROWS, is_complete, is_whole},
    server::Fate,
};
use crate::support::{ID, Ran};

#[test]
fn export_killed_after_commit_is_finished() {
    // The next run finishes the publication without a page, and only then looks at what exists.
    let table = [
        ("after the commit", ("POST /bucket/rows/part-00000-", 2)),
        ("between completions", ("POST /bucket/rows/part-00002-", 2)),
        ("before the record", ("PUT /bucket/rows.manifest.json", 1)),
        ("before the cleanup", ("DELETE /bucket/_rows.partial/header.state", 1)),
        ("during the cleanup", ("DELETE /bucket/_rows.partial/part-00001-", 1)),
        ("before the commit is removed", ("DELETE /bucket/_rows.partial/commit-", 1)),
    ];
    let calm = Place::new();
    calm.export(&ARGUMENTS).ok();
    for (name, request) in table {
        for overwrite in [false, true] {
            println!("{name} {overwrite}");
            let place = Place::new();
            place.kill_at(&ARGUMENTS, request.0, request.1);
            // A dry run changes nothing, and the export counts as one.
            let control = || {
                let keys = place.store.keys().into_iter();
                keys.filter(|key| key.contains("_rows.partial")).collect::<Vec<_>>()
            };
            let before = control();
            let dry = place.export(&[&ARGUMENTS[..], &["--dry-run"]].concat());
            assert_eq!(dry.code, Some(73), "{dry:?}");
            assert_eq!(control(), before);
            let before = place.world.server.stats().requests;
            let more: &[&str] = if overwrite { &["--overwrite"] } else { &[] };
            let ran = place.export(&[&ARGUMENTS[..], more].concat());
            let fetched = place.world.server.stats().requests - before;
            if overwrite {
                ran.ok();
                assert_eq!(fetched, 12, "{name}");
            } else {
                assert_eq!((ran.code, fetched), (Some(73), 0), "{name}: {ran:?}");
                assert!(ran.stderr.contains("this run has finished the publication"), "{ran:?}");
            }
            is_whole(&place);
            assert!(place.parts() == calm.parts(), "{name}");
        }
    }
}

#[test]
fn success_file_is_written_on_request() {
    let place = Place::new();
    let marked = [&ARGUMENTS[..], &["--success-file"]].concat();
    place.kill_at(&marked, "PUT /bucket/rows/_SUCCESS", 1);
    assert_eq!(place.rows_by_manifest(), Some(ROWS));
    // The next run writes it, although that run was not asked to.
    assert_eq!(place.export(&ARGUMENTS).code, Some(73));
    assert!(place.names().contains(&"_SUCCESS".to_owned()));
    // An export without it removes the one of the replaced export.
    place.export(&[&ARGUMENTS[..], &["--overwrite"]].concat()).ok();
    is_whole(&place);
}

#[test]
fn record_can_be_anywhere_in_the_store() {
    for key in ["rows/_record.json", "records/tonight.json"] {
        let place = Place::new();
        let record = format!("s3://bucket/{key}");
        let asked = [&ARGUMENTS[..], &["--record", &record]].concat();
        place.kill_at(&asked, &format!("PUT /bucket/{key}"), 1);
        let other = [&ARGUMENTS[..], &["--record", "s3://bucket/other.json"]].concat();
        let ran = place.export(&other);
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(ran.stderr.contains("hint: give the same --record as that run"), "{ran:?}");
        for _ in 0..2 {
            place.export(&[&asked[..], &["--overwrite"]].concat()).ok();
            let keys = place.store.keys();
            assert!(keys.len() == 4 && keys.iter().any(|found| found == key), "{keys:?}");
        }
    }
}

#[test]
fn bucket_has_its_record_inside() {
    let place = Place::new();
    let bucket = ["-o", "s3://bucket/", "--page-size", "25", "--rows-per-file", "100"];
    place.export(&bucket).ok();
    let keys = place.store.keys();
    assert_eq!((keys.len(), &*keys[0]), (4, "_manifest.json"), "{keys:?}");
    assert_eq!(place.export(&bucket).code, Some(73));
    place.export(&[&bucket[..], &["--overwrite"]].concat()).ok();
    assert_eq!(place.store.keys().len(), 4);
    let mut verify = place.store.command(&place.world);
    Ran::of(verify.args(["verify", "s3://bucket/"])).ok();
}

#[test]
fn commit_with_a_lost_upload_is_undone() {
    // The store has deleted the upload of a part. Its neighbours may be visible already.
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "POST /bucket/rows/part-00001-", 2);
    place.store.rule("POST /bucket/rows/part-00001-", Fate::Refused(404, "NoSuchUpload"));
    let ran = place.export(&[&ARGUMENTS[..], &["--dry-run"]].concat());
    assert_eq!(ran.code, Some(73), "{ran:?}");
    place.store.rule("PUT /bucket/_rows.partial/run-", Fate::HeldAt(1));
    let mut run = place.start(&ARGUMENTS);
    place.store.wait_until_held();
    assert_eq!(place.names(), ["_rows.partial/"], "a part of the undone commit is visible");
    run.kill().unwrap();
    run.wait().unwrap();
    place.store.no_rules();
    place.export(&ARGUMENTS).ok();
    is_whole(&place);
}

#[test]
fn lost_upload_is_reported_and_fetched_again() {
    let place = Place::new();
    place.store.rule(".parquet?uploadId=", Fate::Refused(404, "NoSuchUpload"));
    let ran = place.export(&ARGUMENTS);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(
        ran.stderr.contains("its upload is lost: the store no longer has it; nothing"),
        "{ran:?}"
    );
    assert_eq!(place.names(), ["_rows.partial/"]);
    place.store.no_rules();
    place.export(&ARGUMENTS).ok();
    // The server still has the uploads that it said to have lost.
    is_complete(&place);
}

#[test]
fn refused_completion_keeps_the_commit() {
    // Nothing is lost, whatever the store answers, and the next run completes the rest.
    let begun = "its publication has begun: repair the store";
    for (status, code) in [(403, "AccessDenied"), (400, "RequestTimeout"), (404, "NoSuchBucket")] {
        println!("{code}");
        let place = Place::new();
        // One part: the others are completed.
        place.store.rule("POST /bucket/rows/part-00001-", Fate::RefusedFrom(2, status, code));
        for pages in [12, 0] {
            let before = place.world.server.stats().requests;
            let ran = place.export(&ARGUMENTS);
            assert_eq!(place.world.server.stats().requests - before, pages);
            assert!(matches!(ran.code, Some(73 | 74)), "{ran:?}");
            assert!(ran.stderr.contains(begun), "{ran:?}");
            assert_eq!(place.names(), ["_rows.partial/", "part-00000", "part-00002"]);
        }
        place.store.no_rules();
        assert_eq!(place.export(&ARGUMENTS).code, Some(73));
        is_whole(&place);
    }
}

#[test]
fn upload_that_was_completed_late_is_not_lost() {
    // The store no longer has the upload, because it still works on a completion that it has not answered.
    let calm = Place::new();
    calm.export(&ARGUMENTS).ok();
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "POST /bucket/rows/part-00001-", 2);
    let pending =
        place.store.keys().into_iter().find(|key| key.contains("_rows.partial/part-00001-"));
    let key = pending.unwrap().replace("_rows.partial/", "rows/").replace(".state", ".parquet");
    place.store.rule("POST /bucket/rows/part-00001-", Fate::Refused(404, "NoSuchUpload"));
    place.store.rule(&format!("HEAD /bucket/{key}"), Fate::HeldAt(2));
    let run = place.start(&ARGUMENTS);
    place.store.wait_until_held();
    place.store.put(&key, &calm.parts()["part-00001"]);
    place.store.let_go();
    let ran = Ran::from(run.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("this run has finished the publication"), "{ran:?}");
    // The server still has the upload that it said to have lost.
    is_complete(&place);
}

#[test]
fn completed_part_with_lost_answer_is_recognized() {
    // The server refuses to complete an upload twice.
    let place = Place::new();
    place.store.rule(".parquet?uploadId=", Fate::AnswerLost);
    place.export(&ARGUMENTS).ok();
    assert_eq!(place.store.seen(".parquet?uploadId="), 4, "no completion was sent again");
    is_whole(&place);
}

#[test]
fn expired_uploads_are_fetched_again() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/_rows.partial/commit-", 1);
    let keys = place.store.keys();
    let record = keys.iter().find(|key| key.contains("_rows.partial/part-00001-")).unwrap();
    let file = fs::File::options().write(true).open(place.store.path(record)).unwrap();
    let week_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7 * 86_400);
    file.set_modified(week_ago).unwrap();
    let before = place.world.server.stats().requests;
    place.export(&ARGUMENTS).ok();
    assert_eq!(place.world.server.stats().requests - before, 10);
    is_whole(&place);
}

#[test]
fn second_pass_gives_its_parts_new_names() {
    // Azure's uploads to one name are not separate, so no name is ever used twice.
    let place = Place::new();
    let faults = Faults::none().on(9, FaultAttempt::First(1), Fault::ShortPage(3));
    place.world.server.set_faults(faults);
    let ran = place.export(&ARGUMENTS).ok();
    assert!(ran.stderr.contains("starting again from page 1"), "{ran:?}");
    let parts: Vec<_> =
        place.store.keys().into_iter().filter(|key| key.starts_with("rows/part-")).collect();
    assert!(parts.iter().all(|part| part.ends_with("-1.parquet")), "{parts:?}");
    is_whole(&place);
}

#[test]
fn empty_part_is_published_without_blocks() {
    let place = Place::new();
    place.world.server.replace(vec![Dataset::generated(0, 7).with_id(ID)]);
    let lines = [&ARGUMENTS[..], &["--format", "jsonl"]].concat();
    place.kill_at(&lines, "PUT /bucket/_rows.partial/commit-", 1);
    place.export(&lines).ok();
    assert_eq!(place.names(), ["rows.manifest.json", "part-00000"]);
    assert_eq!(place.parts()["part-00000"], b"");
}

#[test]
fn record_that_cannot_be_written_is_found_first() {
    let place = Place::new();
    place.store.rule("PUT /bucket/_rows.manifest.json.", Fate::Refused(403, "AccessDenied"));
    let ran = place.export(&ARGUMENTS);
    assert_eq!((ran.code, place.world.server.stats().requests), (Some(73), 0));
    insta::assert_snapshot!(ran.told(&place.world), @"
    exit 73
    error: s3://bucket/rows.manifest.json: cannot be written
      cause: AccessDenied: as scripted
      hint: allow it, or give a place for the record with --record, for instance one below the prefix
    ");
    assert_eq!(place.store.keys(), Vec::<String>::new());
}

#[test]
fn object_that_is_not_a_record_is_not_replaced() {
    let place = Place::new();
    place.store.put("rows.manifest.json", b"mine");
    let ran = place.export(&[&ARGUMENTS[..], &["--overwrite"]].concat());
    insta::assert_snapshot!(ran.told(&place.world), @"
    exit 73
    error: s3://bucket/rows.manifest.json: is not the record of an export
      hint: only the record of an export is replaced: move this object away, or give another place with --record
    ");
    assert_eq!(place.store.keys(), ["rows.manifest.json"]);
}

#[test]
fn record_without_its_parts_is_replaced() {
    let place = Place::new();
    place.export(&ARGUMENTS).ok();
    fs::remove_dir_all(place.store.path("rows")).unwrap();
    place.export(&ARGUMENTS).ok();
    is_whole(&place);
}

#[test]
fn stale_commit_of_a_lost_run_is_undone() {
    // A commit arrives late, after another run has published. It publishes nothing.
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "POST /bucket/rows/part-00000-", 2);
    let objects = place.store.objects();
    let late = objects.iter().filter(|(key, _)| {
        ["/commit-", ".partial/part-", ".partial/ids-", "/run-"].iter().any(|it| key.contains(it))
    });
    assert_eq!(place.export(&ARGUMENTS).code, Some(73));
    place.world.server.replace(vec![Dataset::generated(200, 8).with_id(ID)]);
    place.export(&[&ARGUMENTS[..], &["--overwrite"]].concat()).ok();
    let newer = place.store.objects();
    for (key, bytes) in late {
        place.store.put(key, bytes);
    }
    let ran = place.export(&ARGUMENTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("because another export has appeared there"), "{ran:?}");
    let mut now = place.store.objects();
    now.retain(|key, _| !key.contains("_rows.partial/"));
    assert!(now == newer, "{:?}", now.keys());
}

#[test]
fn wrong_answer_about_the_record_costs_no_export() {
    // One request for the record is answered with 404, although the record exists.
    let request = "GET /bucket/rows.manifest.json";
    let overwrite = [&ARGUMENTS[..], &["--overwrite"]].concat();
    for killed in [false, true] {
        let begin = || {
            let place = Place::new();
            place.export(&ARGUMENTS).ok();
            if killed {
                place.kill_at(&overwrite, "DELETE /bucket/rows/_SUCCESS", 1);
            }
            place
        };
        let calm = begin();
        let before = calm.store.seen(request);
        calm.export(&overwrite).ok();
        for at in 1..=calm.store.seen(request) - before {
            println!("{killed} {at}");
            let place = begin();
            place
                .store
                .rule(request, Fate::RefusedAt(u32::try_from(at).unwrap(), 404, "NoSuchKey"));
            let ran = place.export(&overwrite);
            assert!(matches!(ran.code, Some(0 | 73 | 74)), "{ran:?}");
            // The record lists parts that exist.
            assert_eq!(place.rows_by_manifest(), Some(ROWS), "{ran:?}");
            place.store.no_rules();
            place.export(&overwrite).ok();
            is_whole(&place);
        }
    }
}

#[test]
fn trial_of_the_record_leaves_no_object() {
    // The run is killed between the trial write and its removal.
    let inside = [&ARGUMENTS[..], &["--record", "s3://bucket/rows/_record.json"]].concat();
    let bucket = ["-o", "s3://bucket/", "--page-size", "25", "--rows-per-file", "100"];
    for (arguments, trial) in [
        (&ARGUMENTS[..], "_rows.manifest.json."),
        (&inside[..], "rows/__record.json."),
        (&bucket[..], "__manifest.json."),
    ] {
        for more in ["--overwrite", "--restart", "--quiet"] {
            println!("{trial} {more}");
            let place = Place::new();
            place.kill_at(arguments, &format!("DELETE /bucket/{trial}"), 1);
            assert!(place.store.keys().iter().any(|key| key.starts_with(trial)));
            place.export(&[arguments, &[more]].concat()).ok();
            let keys = place.store.keys();
            assert!(keys.len() == 4, "{keys:?}");
        }
    }
    // An object with such a name is foreign if no run has the token.
    let place = Place::new();
    place.store.put("rows/__record.json.0badcafe", b"mine");
    let ran = place.export(&[&inside[..], &["--overwrite"]].concat());
    assert_eq!((ran.code, place.store.keys().len()), (Some(73), 1), "{ran:?}");
}

#[test]
fn record_of_another_prefix_is_not_replaced() {
    let place = Place::new();
    let asked = [&ARGUMENTS[..], &["--record", "s3://bucket/record.json"]].concat();
    place.export(&asked).ok();
    let before = place.store.objects();
    let other = [&["-o", "s3://bucket/other/"], &asked[2..]].concat();
    insta::assert_snapshot!(place.export(&other).told(&place.world), @"
    exit 73
    error: s3://bucket/record.json: exists already
      hint: give --overwrite to replace an export, or another --record
    ");
    assert!(place.store.objects() == before);
    place.export(&[&other[..], &["--overwrite"]].concat()).ok();
}

#[test]
fn stale_commit_says_what_has_changed() {
    // A record appears, changes or goes after the commit was created.
    for (exists, record) in [(true, None), (true, Some(b"{}")), (false, Some(b"{}"))] {
        let place = Place::new();
        let mut arguments = ARGUMENTS.to_vec();
        if exists {
            place.export(&ARGUMENTS).ok();
            arguments.push("--overwrite");
        }
        let old = place.parts();
        place.store.rule("POST /bucket/rows/part-00000-", Fate::HeldAt(2));
        let run = place.start(&arguments);
        place.store.wait_until_held();
        match record {
            None => fs::remove_file(place.store.path("rows.manifest.json")).unwrap(),
            Some(bytes) => place.store.put("rows.manifest.json", bytes),
        }
        place.store.let_go();
        let ran = Ran::from(run.wait_with_output().unwrap());
        assert!(place.parts() == old, "{ran:?}");
        let told = ran.told(&place.world);
        match (exists, record) {
            (_, None) => insta::assert_snapshot!(told, @"
            exit 73
            error: s3://bucket/rows.manifest.json: was removed during the export
              hint: nothing was published: run the same command again
            "),
            (true, _) => insta::assert_snapshot!(told, @"
            exit 73
            error: s3://bucket/rows/: another export has appeared there during this one
              hint: nothing was published: run the same command again to replace the other export
            "),
            (false, _) => insta::assert_snapshot!(told, @"
            exit 73
            error: s3://bucket/rows/: another export has appeared there
              hint: give --overwrite to replace it, or another URL
            "),
        }
    }
}

#[test]
fn interrupted_publication_names_its_record() {
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/rows.manifest.json", 1);
    let told = |place: &Place, output: &str| {
        let arguments = ["-o", output, "--record", "s3://bucket/record.json"];
        let ran = place.export(&[&arguments[..], &ARGUMENTS[2..]].concat());
        assert_eq!(place.world.server.stats().requests, 12);
        ran.told(&place.world)
    };
    insta::assert_snapshot!(told(&place, OUTPUT), @"
    exit 73
    error: s3://bucket/rows/: an interrupted run has begun to publish an export there, with its state in s3://bucket/_rows.partial
      hint: leave out --record, as that run did
    ");
    let place = Place::new();
    let bucket = [&["-o", "s3://bucket/"], &ARGUMENTS[2..]].concat();
    place.kill_at(&bucket, "PUT /bucket/_manifest.json", 1);
    insta::assert_snapshot!(told(&place, "s3://bucket/"), @r#"
    exit 73
    error: s3://bucket/: an interrupted run has begun to publish an export there, with its record at "_manifest.json" in "bucket"
      hint: leave out --record, as that run did
    "#);
}

#[test]
fn commit_is_undone_if_another_export_is_there() {
    // The other run was given another place for its record, so the record of this one is as before.
    let place = Place::new();
    place.kill_at(&ARGUMENTS, "PUT /bucket/rows.manifest.json", 1);
    let other = "rows/part-00000-0badcafe.parquet";
    place.store.put(other, b"theirs");
    let ran = place.export(&ARGUMENTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("because another export has appeared there"), "{ran:?}");
    let keys = place.store.keys();
    let visible: Vec<_> = keys.iter().filter(|key| !key.contains(".partial/")).collect();
    assert_eq!(visible, [other]);
}
