//! What `report` says about wrong arguments and places.

use super::*;

#[test]
fn options_without_an_effect_are_refused() {
    let world = world(conversations(5));
    export(&world, &["-o", "a.jsonl"]);
    let mut told = String::new();
    for arguments in [
        &["a.jsonl", "--by", "order"][..],
        &["a.jsonl", "--ignore-spelling"],
        &["a.jsonl", "--snapshots", "3"],
        &["a.jsonl", "a.jsonl", "--snapshots", "3"],
        &["a.jsonl", "--rows", "0"],
    ] {
        told += &run(&world, arguments).told(&world);
    }
    insta::assert_snapshot!(told, @r"
    exit 2
    error: --by compares two exports: give a later one, too, or leave it out
    exit 2
    error: --ignore-spelling compares two exports: give a later one, too, or leave it out
    exit 2
    error: --snapshots is for the runs of jobs: leave it out for an export
    exit 2
    error: --snapshots is for the runs of jobs: leave it out for an export
    exit 2
    error: invalid value '0' for '--rows <N>': it must be at least 1; --no-rows shows none

    For more information, try '--help'.
    ");
    let ran = run(&world, &["a.jsonl", "--seed", "1", "--no-rows"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("cannot be used with"), "{ran:?}");
    assert_eq!(world.entries(), ["a.jsonl"]);
}

#[test]
fn places_that_are_no_export_are_explained() {
    let world = world(conversations(5));
    export(&world, &["-o", "out/"]);
    fs::create_dir(world.path("empty")).unwrap();
    fs::create_dir(world.path("copy")).unwrap();
    fs::copy(world.path("out/part-00000.parquet"), world.path("copy/part-00000.parquet")).unwrap();
    let mut told = String::new();
    for name in ["a.txt", "a.json"] {
        fs::write(world.path(name), "[]").unwrap();
    }
    for name in ["empty", "copy", "a.txt", "a.json"] {
        told += &run(&world, &[name, "-o", "page.html"]).told(&world);
    }
    insta::assert_snapshot!(told, @r"
    exit 65
    error: empty: it has no record: there is no empty.manifest.json, and the folder is empty; if its record is elsewhere, name it with --record
    exit 65
    error: copy: it has no record: there is no copy.manifest.json; copy it along with the folder, or give one file, such as part-00000.parquet; if its record is elsewhere, name it with --record
    exit 65
    error: a.txt: it cannot be read: its extension is unknown; exports end in .parquet, .arrow, .jsonl or .csv
    exit 65
    error: a.json: it cannot be read: its extension is unknown; exports end in .parquet, .arrow, .jsonl or .csv: if each line of it is an object, name it .jsonl
    ");
    assert!(!world.path("page.html").exists());
}

/// There is no browser here.
#[cfg(target_os = "linux")]
#[test]
fn page_stays_if_no_browser_opens_it() {
    let world = world(conversations(5));
    export(&world, &["-o", "rows.parquet"]);
    let mut command = command(world.folder.path());
    command.env("PATH", world.folder.path()).args([
        "report",
        "rows.parquet",
        "-q",
        "--open",
        "-o",
        "page.html",
    ]);
    let ran = Ran::of(&mut command);
    let told = ran.told(&world).replace(&world.folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(told, @r"
    exit 74
    error: cannot run xdg-open for FOLDER/page.html
      cause: No such file or directory (os error 2)
      hint: the page is complete: open it by hand
    ");
    assert!(world.path("page.html").exists());
}
