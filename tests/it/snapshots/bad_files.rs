//! Files of a root that cannot be read: they do not stop the page about the nights.

use std::{fs, path::Path, process::Command};

use super::Nightly;

const MIDDLE: &str = "20261124T020000Z";

fn three_nights() -> Nightly {
    let nightly = Nightly::one(10, "unchanged = \"never\"");
    for day in 23..=25 {
        nightly.at(&format!("2026-11-{day}T02:00:00Z"));
    }
    nightly
}

/// Makes a page that must end with this exit code. Returns it and what the command said.
fn page(nightly: &Nightly, code: i32) -> (String, String) {
    let ran = nightly.run(&["report", "snaps", "-q", "-o", "nights.html", "--overwrite"]);
    assert_eq!(ran.code, Some(code), "{ran:?}");
    let page = String::from_utf8(nightly.world.read("nights.html")).unwrap();
    assert!(page.contains("<strong>Damaged</strong>: nightly."), "{page}");
    assert!(page.contains("The last change"), "{page}");
    (page, ran.told(&nightly.world))
}

fn to_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn manifest_missing_in_the_middle_is_named() {
    let nightly = three_nights();
    let record = nightly.record("nightly", MIDDLE);
    fs::remove_file(&record).unwrap();
    let (missing, mut told) = page(&nightly, 65);
    fs::write(&record, "{").unwrap();
    let (damaged, more) = page(&nightly, 65);
    told += &more;
    for (page, why) in [(missing, "has no manifest."), (damaged, "has a damaged manifest: ")] {
        let remark = format!(
            "<strong>A snapshot is damaged: </strong><code>nightly/snapshot={MIDDLE}</code> {why}"
        );
        assert!(page.contains(&remark), "{page}");
    }
    insta::assert_snapshot!(told, @r"
    exit 65
    error: nightly: snaps/nightly/snapshot=20261124T020000Z: it has no manifest
    error: snaps: 1 snapshot could not be read, and the page shows the others: restore the files, or move the snapshot away
    exit 65
    error: nightly: snaps/nightly/snapshot=20261124T020000Z: it has a damaged manifest: it is not a manifest: EOF while parsing an object at line 1 column 1
    error: snaps: 1 snapshot could not be read, and the page shows the others: restore the files, or move the snapshot away
    ");
}

#[test]
fn pipe_in_place_of_a_file_does_not_stop_the_page() {
    let nightly = three_nights();
    let folder = nightly.job("nightly").join(format!("snapshot={MIDDLE}"));
    to_pipe(&folder.join("part-00000.parquet"));
    let (shown, mut told) = page(&nightly, 74);
    assert!(shown.contains("The snapshot of <time datetime=\"2026-11-24T02:00:00Z\">"), "{shown}");
    let nightly = three_nights();
    to_pipe(&nightly.record("nightly", MIDDLE));
    let (shown, more) = page(&nightly, 65);
    assert!(shown.contains("has a manifest that cannot be read: "), "{shown}");
    told += &more;
    insta::assert_snapshot!(told, @r"
    exit 74
    error: nightly: cannot open snaps/nightly/snapshot=20261124T020000Z/part-00000.parquet
      cause: it is a FIFO, not a regular file
    error: 1 of 3 exports could not be read
      hint: each line above gives the reason and the next step
    exit 65
    error: nightly: snaps/nightly/snapshot=20261124T020000Z: it has a manifest that cannot be read: it is a FIFO, not a regular file
    error: snaps: 1 snapshot could not be read, and the page shows the others: restore the files, or move the snapshot away
    ");
}
