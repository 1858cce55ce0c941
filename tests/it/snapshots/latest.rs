//! The newest snapshot of a job: `latest`, `latest.json`, and the link to it.

use std::{fs, path::Path};

use overmind_export::{
    Config, Status,
    demo::{Fault, FaultAttempt, FaultPage, Faults},
};

use super::{AGENT, Nightly, version, version_id};
use crate::support::{ID, Ran};

#[test]
fn latest_is_the_highest_version_then_the_newest() {
    // Only datasets that match the job's filters count.
    let jobs = format!(
        "[[job]]\nname = \"any\"\nagent = \"{AGENT}\"\n\
         [[job]]\nname = \"chat\"\nagent = \"{AGENT}\"\ndataset_name = \"support-*\"\n\
         [[job]]\nname = \"seed\"\nagent = \"{AGENT}\"\nsource = \"seed\"\nversion_max = 2\n"
    );
    let nightly = Nightly::new(
        vec![
            version(3, 30).with_created_at("2026-02-01T00:00:00Z"),
            version(9, 90).with_agent(version_id(0)),
            version(4, 40).with_id(version_id(40)).with_created_at("2026-03-01T00:00:00.000000Z"),
            version(4, 41).with_created_at("2026-03-01T01:00:00+02:00"),
            version(5, 50).with_name("triage"),
            version(2, 20).with_source("seed"),
            version(3, 31).with_id(version_id(31)).with_source("seed"),
        ],
        &jobs,
    );
    let results = nightly.at("2026-11-23T02:00:00Z");
    let taken: Vec<_> = results.iter().map(|it| (it.rows, it.snapshots[0].version)).collect();
    assert_eq!(taken, [(50, Some(5)), (40, Some(4)), (20, Some(2))]);
    // A new version appears.
    nightly.world.server.replace(vec![version(6, 60)]);
    let results = nightly.at("2026-11-24T02:00:00Z");
    let taken: Vec<_> = results.iter().map(|it| (it.rows, it.exit_code)).collect();
    assert_eq!(taken, [(60, 0), (60, 0), (0, 66)]);
}

#[test]
fn next_run_repairs_the_latest_link() {
    let nightly = Nightly::one(10, "unchanged = \"never\"\nlink = \"newest\"");
    nightly.at("2026-11-23T02:00:00Z");
    let path = nightly.hidden("nightly").join("latest.json");
    let (link, json) = (nightly.world.path("newest"), fs::read(&path).unwrap());
    let target = |stamp| format!("snaps/nightly/snapshot={stamp}");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new(&target("20261123T020000Z")));
    Ran::of(nightly.world.command().args(["verify", "newest"])).ok();
    nightly.at("2026-11-24T02:00:00Z");
    // The state after a kill between publishing the snapshot and updating the link.
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(target("20261123T020000Z"), &link).unwrap();
    fs::write(&path, json).unwrap();
    // Even a run that fails repairs the link.
    let faults = Faults::none().on(FaultPage::Any, FaultAttempt::Always, Fault::status(403));
    nightly.world.server.set_faults(faults);
    let results = nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(results[0].exit_code, 77);
    assert_eq!(fs::read_link(&link).unwrap(), Path::new(&target("20261124T020000Z")));
    let latest = nightly.latest("nightly");
    assert_eq!(latest["snapshot"], "20261124T020000Z");
    assert_eq!(latest["as_of"], "2026-11-24T02:00:00Z");
}

#[test]
fn latest_prints_the_newest_complete_snapshot() {
    let nightly = Nightly::one(10, "unchanged = \"never\"");
    let none = nightly.run(&["latest", "nightly"]);
    nightly.at("2026-11-23T02:00:00Z");
    nightly.at("2026-11-24T02:00:00Z");
    let newest = nightly.run(&["latest", "nightly"]);
    // A snapshot without its record is not complete.
    fs::remove_file(nightly.record("nightly", "20261124T020000Z")).unwrap();
    let older = nightly.run(&["latest", "nightly"]);
    let unknown = nightly.run(&["latest", "nihgtly"]);
    let told = [none, newest, older, unknown].map(|ran| ran.told(&nightly.world)).concat();
    insta::assert_snapshot!(told, @r#"
    exit 66
    error: job "nightly" has no snapshot yet
      hint: `overmind-export snapshot` takes one
    exit 0
    FOLDER/snaps/nightly/snapshot=20261124T020000Z
    exit 0
    FOLDER/snaps/nightly/snapshot=20261123T020000Z
    nightly: a snapshot newer than the complete ones is damaged: FOLDER/snaps/nightly/snapshot=20261124T020000Z has no manifest: restore its manifest, or move it away
    exit 2
    error: "nihgtly" is not a valid job: FOLDER/snapshots.toml has no such job; try "nightly"
    "#);
}

#[test]
fn links_that_mislead_readers_are_refused() {
    let nightly = Nightly::one(10, "link = \"snaps/nightly/newest\"");
    let mut told = nightly.snapshot(&[]).told(&nightly.world);
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap();
    let all = text.replace(&format!("dataset = \"{ID}\""), "select = \"all\"");
    fs::write(&path, all.replace("snaps/nightly/newest", "newest")).unwrap();
    told += &nightly.snapshot(&[]).told(&nightly.world);
    fs::write(&path, text.replace("[defaults]", "[defaults]\nlink = \"newest\"")).unwrap();
    told += &nightly.snapshot(&[]).told(&nightly.world);
    // Something else has the name of the link.
    fs::write(&path, text.replace("snaps/nightly/newest", "taken")).unwrap();
    fs::write(nightly.world.path("taken"), "mine").unwrap();
    told += &nightly.snapshot(&["-q"]).told(&nightly.world);
    assert_eq!(nightly.world.read("taken"), b"mine");
    insta::assert_snapshot!(told, @r#"
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 3: [[job]] "nightly": link: readers of the job's folder would read the newest snapshot twice: give a path outside it
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 3: [[job]] "nightly": link: with select = "all" each dataset has a newest snapshot, and a link can lead to only one
    exit 78
    error: cannot use the configuration snapshots.toml
      cause: line 1: [defaults]: link: it leads to the snapshots of one job: give it in [[job]]
    exit 73
    error: nightly: FOLDER/taken: is not a link, so it cannot point at the newest snapshot
      hint: move it away, or give another path as the job's link
    error: 1 of 1 job failed
    "#);
}

#[test]
#[cfg(unix)]
fn broken_link_does_not_stop_the_nights() {
    let lines = "unchanged = \"never\"\nlink = \"nodir/newest\"\nkeep = { last = 1 }";
    let nightly = Nightly::one(10, lines);
    for (night, stamp) in [("23", "20261123T020000Z"), ("24", "20261124T020000Z")] {
        let results = nightly.at(&format!("2026-11-{night}T02:00:00Z"));
        assert_eq!((results[0].exit_code, results[0].rows), (74, 10), "{results:?}");
        let told = format!("cannot write {}", nightly.world.path("nodir/newest").display());
        assert_eq!(results[0].error.as_ref().unwrap().message, told);
        let snapshot = &results[0].snapshots[0];
        assert_eq!((snapshot.status, &snapshot.error), (Status::Stored, &None));
        assert_eq!(nightly.latest("nightly")["snapshot"], stamp);
    }
    // Nothing is deleted after a failed run.
    assert_eq!(nightly.names("nightly").len(), 2);
    // The next night repairs the link.
    fs::create_dir(nightly.world.path("nodir")).unwrap();
    let results = nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(results[0].exit_code, 0, "{results:?}");
    let target = fs::read_link(nightly.world.path("nodir/newest")).unwrap();
    assert!(target.ends_with("snaps/nightly/snapshot=20261125T020000Z"), "{target:?}");
    Ran::of(nightly.world.command().args(["verify", "nodir/newest"])).ok();
}

#[test]
fn links_must_not_meet_other_jobs() {
    let told = |first: &str, second: &str| {
        let job = |name: &str, link: &str| {
            let link = if link.is_empty() { String::new() } else { format!("link = \"{link}\"\n") };
            format!("[[job]]\nname = \"{name}\"\ndataset = \"{ID}\"\nroot = \"snaps\"\n{link}")
        };
        let text = job("one", first) + &job("two", second);
        let read = Config::parse(&text, Path::new("/etc/snapshots.toml"));
        read.map_or_else(|error| format!("{}\n", error.one_line()), |_| "ok\n".to_owned())
    };
    let told = [
        told("newest-one", "newest-two"),
        told("newest", "newest"),
        told("newest", "snaps/../newest"),
        told("", "snaps/one/newest"),
        told("snaps/two/newest", ""),
        told("snaps/one/../two/newest", ""),
        told("snaps/two-newest", "snaps/one-newest"),
    ];
    insta::assert_snapshot!(told.concat(), @r#"
    ok
    cannot use the configuration /etc/snapshots.toml: line 6: [[job]] "two": link: the job on line 2 has the same link: give another path
    cannot use the configuration /etc/snapshots.toml: line 6: [[job]] "two": link: the job on line 2 has the same link: give another path
    cannot use the configuration /etc/snapshots.toml: line 5: [[job]] "two": link: it is in the folder of the job on line 2, whose readers would read these snapshots, too: give a path outside it
    cannot use the configuration /etc/snapshots.toml: line 6: [[job]] "two": link: the link of the job on line 2 is in this job's folder, whose readers would read those snapshots, too: give that link a path outside it
    cannot use the configuration /etc/snapshots.toml: line 6: [[job]] "two": link: the link of the job on line 2 is in this job's folder, whose readers would read those snapshots, too: give that link a path outside it
    ok
    "#);
}
