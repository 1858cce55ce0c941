//! Finished parts that another program changes before publication.

use std::{fs, path::Path, time::Duration};

use super::waiting;
use crate::{
    support::{ID, Ran, World},
    tree::content,
};

const PARTS: [&str; 8] =
    ["-o", "rows", "--page-size", "25", "--rows-per-file", "50", "--concurrency", "1"];

/// Applies `change` to the first part during the run, when at least two parts are finished. Returns
/// the finished run.
fn changed(change: impl Fn(&Path)) -> (World, Ran) {
    let (world, run) = waiting(7, Duration::from_secs(2), &PARTS);
    let journal = world.path(".rows.partial/journal.jsonl");
    // The writer needs a moment to finish the parts of the received pages.
    assert!(world.server.wait_until(super::SOON, |_| {
        fs::read_to_string(&journal).is_ok_and(|text| text.lines().count() > 2)
    }));
    change(&world.path(".rows.partial/data/part-00000.parquet"));
    let ran = Ran::from(run.wait_with_output().unwrap());
    (world, ran)
}

#[test]
fn changed_part_is_not_published() {
    let other = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[100] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    type Change = fn(&Path);
    let table: [(Change, &str); 4] = [
        (|path| fs::remove_file(path).unwrap(), "is no longer there"),
        (|path| fs::write(path, "short").unwrap(), "has 5 bytes now, and "),
        (other, "no longer holds the bytes that were written"),
        (
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            "is a directory now",
        ),
    ];
    for (change, words) in table {
        let (world, ran) = changed(change);
        assert_eq!(ran.code, Some(65), "{words}: {ran:?}");
        let told = format!("error: ./.rows.partial/data/part-00000.parquet {words}");
        assert!(ran.stderr.contains(&told), "{words}: {ran:?}");
        assert!(ran.stderr.contains("hint: nothing was published: find the program"), "{ran:?}");
        assert_eq!(world.entries(), [".rows.partial"]);

        let part = world.path(".rows.partial/data/part-00000.parquet");
        if part.is_dir() {
            // No export created this directory, so the next run does not touch it.
            assert_eq!(world.export(&PARTS).code, Some(73));
            fs::remove_dir(part).unwrap();
        }
        // The next run keeps only the undamaged parts.
        world.export(&PARTS).ok();
        let alone = super::world();
        alone.export(&PARTS).ok();
        assert!(content(&world.path("rows")) == content(&alone.path("rows")));
    }
}

#[test]
fn part_replaced_by_its_copy_is_published() {
    let (world, ran) = changed(|path| {
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    });
    ran.ok();
    assert_eq!(world.entries(), ["rows", "rows.manifest.json"]);
    assert!(world.server.stats().attempts(ID, 7) == 1);
}

#[test]
fn foreign_file_among_parts_stops_publication() {
    for name in ["notes.txt", ".DS_Store"] {
        let (world, ran) = changed(|part| match name {
            "notes.txt" => fs::write(part.with_file_name(name), "x").unwrap(),
            // A desktop environment creates only files with this name, so a directory is foreign.
            _ => fs::create_dir(part.with_file_name(name)).unwrap(),
        });
        assert_eq!(ran.code, Some(65), "{ran:?}");
        let told = format!("error: ./.rows.partial/data/{name} was put there by another program\n");
        assert!(ran.stderr.contains(&told), "{ran:?}");
        assert_eq!(world.entries(), [".rows.partial"]);
    }
}
