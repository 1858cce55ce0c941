//! `prune`: retention without a run.

use std::fs;

use serde_json::{Value, json};

use super::{Nightly, retention::five};
use crate::support::{ID, Ran};

#[test]
fn prune_needs_no_api_and_no_key() {
    let nightly = five("keep = { last = 1, daily = 2 }");
    let requests = nightly.world.server.stats().requests;
    let prune = |arguments: &[&str]| {
        let mut command = crate::support::command(nightly.world.folder.path());
        Ran::of(command.args(["prune", "--config", "snapshots.toml"]).args(arguments))
    };
    let (first, second) = (prune(&[]), prune(&["nightly"]));
    insta::assert_snapshot!(first.told(&nightly.world) + &second.told(&nightly.world), @"
    exit 0
    nightly: removed 3 snapshots (24.10 KiB): snapshot=20261030T060000Z snapshot=20261031T060000Z snapshot=20261101T070000Z
    exit 0
    nightly: removed nothing
    ");
    assert_eq!(nightly.stamps("nightly"), ["20261101T170000Z", "20261102T070000Z"]);
    assert_eq!(nightly.hidden_names("nightly").len(), 4);
    assert_eq!(nightly.world.server.stats().requests, requests);
    // The next run prunes too, so nothing is left for `prune`.
    assert_eq!(nightly.at("2026-11-03T07:00:00Z")[0].exit_code, 0);
    let ran = prune(&["--json"]).ok();
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told, json!({ "job": "nightly", "pruned": [], "bytes": 0, "error": null }));
}

#[cfg(unix)]
#[test]
fn prune_needs_no_free_space() {
    let nightly = five("keep = { last = 1 }");
    let run = |program: &str, arguments: &[&str], before: &str| {
        let script = format!("{before} exec \"$0\" prune --config snapshots.toml --json");
        let mut command = std::process::Command::new(program);
        command.args(arguments).args(["-c", &script]).arg(nightly.world.command().get_program());
        Ran::of(command.current_dir(nightly.world.folder.path()))
    };
    let check = |ran: Ran| {
        let told: Value = serde_json::from_str(&ran.ok().stdout).unwrap();
        assert_eq!(told["pruned"].as_array().unwrap().len(), 4);
        assert!(told["bytes"].as_u64().unwrap() > 4 * 1000, "{told}");
    };
    // A full disk, which only this process sees.
    let full = "cp -a snaps saved && mount -t tmpfs -o size=1m tmpfs snaps || exit 99
        cp -a saved/. snaps/ || exit 98
        dd if=/dev/zero of=snaps/full bs=1k 2>/dev/null && exit 97;";
    match run("unshare", &["-rm", "sh"], full) {
        Ran { code: Some(1 | 99), .. } => println!("skipped: nothing can be mounted here"),
        ran => check(ran),
    }
    assert_eq!(nightly.stamps("nightly").len(), 5);
    // With this limit, no file can get a byte.
    check(run("sh", &[], "ulimit -f 0;"));
    assert_eq!(nightly.stamps("nightly"), ["20261102T070000Z"]);
    assert_eq!(nightly.hidden_names("nightly").len(), 3);
}

#[test]
fn one_locked_job_does_not_stop_the_others() {
    let nightly = five("keep = { last = 1 }");
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap();
    let jobs = text.split_once("[[job]]").unwrap().1;
    let new = format!("[[job]]\nname = \"new\"\ndataset = \"{ID}\"\n");
    let other = jobs.replace("\"nightly\"", "\"other\"");
    fs::write(&path, format!("{text}{new}[[job]]{other}")).unwrap();
    nightly.job_at(&["other"], "2026-11-03T07:00:00Z");
    nightly.job_at(&["other"], "2026-11-04T07:00:00Z");
    // A third snapshot, which no run has pruned yet.
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("last = 1", "last = 9")).unwrap();
    nightly.job_at(&["other"], "2026-11-05T07:00:00Z");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("last = 9", "last = 1")).unwrap();
    let lock = fs::File::create(nightly.hidden("nightly").join(".lock")).unwrap();
    lock.lock().unwrap();
    let ran = nightly.run(&["prune"]);
    insta::assert_snapshot!(ran.told(&nightly.world), @"
    exit 75
    error: nightly: another run is writing FOLDER/snaps/.overmind/nightly
      hint: wait for the other run to end, or write somewhere else
    new: removed nothing
    other: removed 1 snapshot (8.03 KiB): snapshot=20261104T070000Z
    error: 1 of 3 jobs failed
    ");
    assert_eq!((nightly.stamps("nightly").len(), nightly.stamps("other").len()), (5, 1));
    // A job that never ran has no folders, also afterwards.
    assert!(!nightly.job("new").exists() && !nightly.hidden("new").exists());
}

#[test]
fn prune_finishes_a_killed_removal() {
    let nightly = Nightly::one(10, "unchanged = \"never\"\nkeep = { last = 9 }");
    nightly.at("2026-11-23T02:00:00Z");
    nightly.at("2026-11-24T02:00:00Z");
    let name = "snapshot=20261123T020000Z";
    let mark = nightly.hidden("nightly").join(format!("{name}.removed.json"));
    fs::rename(nightly.record("nightly", "20261123T020000Z"), &mark).unwrap();
    nightly.run(&["prune"]).ok();
    assert_eq!(nightly.stamps("nightly"), ["20261124T020000Z"]);
    assert!(!mark.exists());
}
