//! Jobs of one root that differ: in their columns, in what they mask, and in the number of their datasets.

use std::fs;

use overmind_export::demo::Dataset;
use serde_json::json;

use super::{AGENT, Nightly, version, version_id};
use crate::support::ID;

fn page(nightly: &Nightly, arguments: &[&str]) -> String {
    nightly.run(&[&["report", "snaps", "-q", "-o", "-"], arguments].concat()).ok().stdout
}

/// Two jobs for one dataset with personas. The second one leaves the column out.
fn two_jobs() -> Nightly {
    let job = |name: &str, keys: &str| {
        format!("[[job]]\nname = \"{name}\"\ndataset = \"{ID}\"\nunchanged = \"never\"\n{keys}\n")
    };
    let dataset = Dataset::generated(40, 7).with_id(ID);
    let jobs = job("whole", "") + &job("less", "drop = [\"persona\"]");
    let nightly = Nightly::new(vec![dataset], &jobs);
    nightly.at("2026-09-01T02:00:00Z");
    nightly.at("2026-09-02T02:00:00Z");
    nightly
}

#[test]
fn jobs_without_a_column_can_be_masked_and_dropped() {
    let nightly = two_jobs();
    assert!(page(&nightly, &[]).contains("frustrated_customer"));
    for option in ["--mask", "--drop"] {
        let name = if option == "--mask" { ".persona" } else { "persona" };
        assert!(!page(&nightly, &[option, name]).contains("frustrated_customer"), "{option}");
    }
    // A name that no job has is a typing error.
    let mut told = String::new();
    for arguments in [["--mask", ".persna"], ["--drop", "persna"]] {
        let ran = nightly.run(&[&["report", "snaps", "-q", "-o", "-"], &arguments[..]].concat());
        assert_eq!(ran.stdout, "");
        told += &ran.told(&nightly.world);
    }
    insta::assert_snapshot!(told, @r#"
    exit 65
    error: --mask ".persna" matches no value in 160 rows: did you mean .persona?
      hint: nothing was published: check the spelling of the path, or leave it out if no row has such a value
    exit 2
    error: no snapshot has a column persna: did you mean persona?
    "#);
}

#[test]
fn masked_nights_have_no_jumps() {
    let nightly = Nightly::one(40, "unchanged = \"never\"");
    nightly.at("2026-09-01T02:00:00Z");
    let file = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}mask = [\".persona\"]\n")).unwrap();
    nightly.at("2026-09-02T02:00:00Z");
    fs::write(&file, format!("{text}drop = [\"persona\"]\n")).unwrap();
    nightly.at("2026-09-03T02:00:00Z");
    let page = page(&nightly, &[]);
    assert!(!page.contains("Personas: the share of"), "{page}");
    for note in [
        "Masked in at least one of these snapshots: .persona.",
        "Not in all of these snapshots: persona.",
    ] {
        assert!(page.contains(note), "{note}: {page}");
    }
    let masked = self::page(&nightly, &["--mask", ".persona"]);
    assert!(!masked.contains("no persona") && !masked.contains("frustrated_customer"), "{masked}");
}

#[test]
fn dataset_whose_rows_are_read_is_named() {
    let job = format!(
        "[[job]]\nname = \"all\"\nselect = \"all\"\nagent = \"{AGENT}\"\nunchanged = \"never\""
    );
    let nightly = Nightly::new(vec![version(1, 20), version(2, 30)], &job);
    nightly.at("2026-09-01T02:00:00Z");
    let page = page(&nightly, &[]);
    let read = [1, 2].into_iter().find(|it| {
        let name = format!(
            "Only snapshots of dataset support-chat <code>{}</code> were read",
            version_id(*it)
        );
        page.contains(&name)
    });
    assert!(read.is_some(), "{page}");
    assert!(
        page.contains("The rows of 1 other dataset of this job are not on this page."),
        "{page}"
    );
    let found = "in dataset support-chat <code>";
    assert!(page.contains("Nothing odd was found") && page.contains(found), "{page}");
}

#[test]
fn folder_of_a_job_can_be_a_dot() {
    let nightly = Nightly::one(10, "");
    nightly.at("2026-09-01T02:00:00Z");
    let mut command = nightly.world.command();
    command.current_dir(nightly.job("nightly")).args(["report", ".", "-q", "-o", "-"]);
    let page = crate::support::Ran::of(&mut command).ok().stdout;
    assert!(page.contains("<h2 id=\"job-0-title\">nightly</h2>"), "{page}");
}

#[test]
fn history_with_sums_beyond_64_bits_has_a_page() {
    let nightly = Nightly::one(10, "");
    nightly.at("2026-09-01T02:00:00Z");
    let path = nightly.hidden("nightly").join("history.jsonl");
    let mut run = nightly.history("nightly").remove(0);
    let mut snapshot = run["snapshots"][0].clone();
    snapshot["rows"] = json!(u64::MAX);
    run["snapshots"] = json!([snapshot, snapshot]);
    fs::write(&path, format!("{run}\n")).unwrap();
    assert!(page(&nightly, &[]).contains("18,446,744,073,709,551,615"));
    fs::write(&path, "no run\n").unwrap();
    let page = page(&nightly, &[]);
    assert!(page.contains("No run in its history can be read.") && !page.contains("not run yet"));
}
