//! The results of a run: the layout, the newest snapshot and the history. Unchanged data is not stored again.

use std::fs;

use overmind_export::{
    Manifest,
    demo::{Dataset, Options},
    verify,
};
use serde_json::{Value, json};

use super::{AGENT, Nightly, result, version, version_id};
use crate::support::{ID, KEY, Ran, entries, resealed};

#[test]
fn snapshot_holds_only_data_and_record_is_hidden() {
    let nightly = Nightly::one(250, "columns = [\"id\", \"input\"]\nrows_per_file = 100");
    let [told] = &nightly.at("2026-11-23T02:00:00Z")[..] else { panic!("one job") };
    assert_eq!((told.rows, told.exit_code), (250, 0));
    let name = "snapshot=20261123T020000Z";
    assert_eq!(entries(&nightly.world.path("snaps")), [".overmind", "nightly"]);
    assert_eq!(nightly.names("nightly"), [name]);
    let record = format!("{name}.manifest.json");
    assert_eq!(nightly.hidden_names("nightly"), ["history.jsonl", "latest.json", &record]);
    let folder = nightly.job("nightly").join(name);
    let parts = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"];
    assert_eq!(entries(&folder), parts);
    assert!(verify(&folder.as_path().into()).unwrap().is_ok());

    let manifest = Manifest::read(&nightly.record("nightly", "20261123T020000Z")).unwrap();
    let snapshot = manifest.snapshot.unwrap();
    assert_eq!((snapshot.job.as_str(), snapshot.stamp.folder().as_str()), ("nightly", name));
    let bytes: u64 = manifest.parts.iter().map(|part| part.bytes).sum();
    assert_eq!(
        nightly.latest("nightly"),
        json!({
            "job": "nightly",
            "snapshot": "20261123T020000Z",
            "path": format!("nightly/{name}"),
            "as_of": "2026-11-23T02:00:00Z",
            "dataset": ID,
            "rows": 250,
            "rows_read": 250,
            "failed_rows": 0,
            "duplicate_rows": 0,
            "rescued_rows": 0,
            "bytes": bytes,
            "digest": manifest.digest,
        })
    );
    let history = nightly.history("nightly");
    assert_eq!(history, [serde_json::to_value(told).unwrap()]);
    assert_eq!(history[0]["snapshots"][0]["status"], "stored");
    assert_eq!(history[0]["started_at"], "2026-11-23T02:00:00Z");
}

#[test]
fn same_metadata_is_not_downloaded_again() {
    let nightly = Nightly::one(250, "");
    nightly.at("2026-11-23T02:00:00Z");
    let before = nightly.datapoints();
    let results = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(nightly.datapoints(), before);
    assert_eq!(nightly.stamps("nightly"), ["20261123T020000Z"]);
    let told = &results[0].snapshots[0];
    assert_eq!(told.unchanged_by.as_deref(), Some("metadata"));
    assert_eq!(told.path.as_deref(), Some("snapshot=20261123T020000Z"));
    assert_eq!((results[0].rows, told.rows, results[0].requests), (0, 250, 1));
    let latest = nightly.latest("nightly");
    assert_eq!(latest["snapshot"], "20261123T020000Z");
    assert_eq!(latest["as_of"], "2026-11-24T02:00:00Z");
    let history = nightly.history("nightly");
    let statuses: Vec<&Value> = history.iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["stored", "unchanged"]);
}

#[test]
fn changed_data_options_or_files_are_stored_anew() {
    let dataset = || Dataset::generated(250, 7).with_id(ID);
    type Change<'a> = (&'a str, Box<dyn Fn(&Nightly)>);
    let file = |from: &'static str, to: &'static str| {
        move |nightly: &Nightly| {
            let path = nightly.world.path("snapshots.toml");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from));
            fs::write(path, text.replace(from, to)).unwrap();
        }
    };
    let table: [Change<'_>; 7] = [
        (
            "metadata",
            Box::new(move |it| it.world.server.replace(vec![dataset().with_metadata("{\"a\":1}")])),
        ),
        (
            "rows",
            Box::new(|it| it.world.server.replace(vec![Dataset::generated(251, 7).with_id(ID)])),
        ),
        ("format", Box::new(file("parquet", "jsonl"))),
        ("encoding", Box::new(file("# more", "parquet_encoding = \"plain\""))),
        ("columns", Box::new(file("[\"id\"]", "[\"id\", \"order\"]"))),
        ("ordering", Box::new(file("# more", "ordering = \"order\""))),
        (
            "a file is gone",
            Box::new(|it| {
                fs::remove_file(it.newest("nightly").join("part-00000.parquet")).unwrap();
            }),
        ),
    ];
    for (what, change) in table {
        let nightly = Nightly::one(250, "format = \"parquet\"\ncolumns = [\"id\"]\n# more");
        nightly.at("2026-11-23T02:00:00Z");
        change(&nightly);
        let results = nightly.at("2026-11-24T02:00:00Z");
        assert_eq!(results[0].exit_code, 0, "{what}: {results:?}");
        assert_eq!(nightly.stamps("nightly"), ["20261123T020000Z", "20261124T020000Z"], "{what}");
    }
}

#[test]
fn unchanged_content_is_downloaded_but_not_stored() {
    let nightly = Nightly::one(250, "unchanged = \"content\"");
    nightly.at("2026-11-23T02:00:00Z");
    let before = nightly.datapoints();
    // The metadata in the list of datasets has changed, but the rows have not.
    let same = Dataset::generated(250, 7).with_id(ID).with_metadata("{\"seen\":2}");
    nightly.world.server.replace(vec![same]);
    let results = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(nightly.datapoints(), 2 * before);
    assert_eq!(results[0].snapshots[0].unchanged_by.as_deref(), Some("content"));
    assert_eq!(nightly.names("nightly"), ["snapshot=20261123T020000Z"]);
    assert_eq!(nightly.hidden_names("nightly").len(), 3);
    assert_eq!(nightly.latest("nightly")["as_of"], "2026-11-24T02:00:00Z");

    // The same number of rows, but other rows.
    nightly.world.server.replace(vec![Dataset::generated(250, 8).with_id(ID)]);
    nightly.at("2026-11-25T02:00:00Z");
    assert_eq!(nightly.stamps("nightly"), ["20261123T020000Z", "20261125T020000Z"]);
    assert_eq!(nightly.latest("nightly")["snapshot"], "20261125T020000Z");
}

#[test]
fn stamps_in_the_same_second_do_not_collide() {
    // With `unchanged = "never"`, every run stores a snapshot.
    let nightly = Nightly::one(10, "unchanged = \"never\"");
    for _ in 0..3 {
        nightly.at("2026-11-23T02:00:00.9Z");
    }
    let stamps = ["20261123T020000Z", "20261123T020001Z", "20261123T020002Z"];
    assert_eq!(nightly.stamps("nightly"), stamps);
    // After the clock was set back, a new snapshot still gets the highest stamp.
    nightly.at("2026-11-22T12:00:00Z");
    assert_eq!(nightly.latest("nightly")["snapshot"], "20261123T020003Z");
}

#[test]
fn stamp_in_the_future_fails_the_run() {
    // Otherwise retention would remove the snapshots with correct stamps.
    let nightly = Nightly::one(10, "unchanged = \"never\"\nkeep = { last = 2 }");
    nightly.at("2026-11-22T02:00:00Z");
    nightly.at("2036-11-23T02:00:00Z");
    let stamps = nightly.stamps("nightly");
    let requests = nightly.datapoints();
    let results = nightly.at("2026-11-23T02:00:00Z");
    assert_eq!((nightly.stamps("nightly"), nightly.datapoints()), (stamps, requests));
    let told = results[0].snapshots[0].error.as_ref().unwrap();
    let future = nightly.job("nightly").join("snapshot=20361123T020000Z");
    let message = format!("{}: is in the future: a clock is or was wrong", future.display());
    assert_eq!((told.exit_code, &told.message), (73, &message));
    assert_eq!(told.hint.as_deref(), Some("set the clock, or move that folder away"));
    fs::rename(future, nightly.world.path("away")).unwrap();
    assert_eq!(nightly.at("2026-11-24T02:00:00Z")[0].exit_code, 0);
}

#[test]
fn all_gives_each_dataset_its_own_folder() {
    let jobs = format!(
        "[[job]]\nname = \"all\"\nselect = \"all\"\nagent = \"{AGENT}\"\nkeep = {{ last = 1 }}\n"
    );
    let nightly = Nightly::new(vec![version(2, 20), version(1, 10), version(3, 30)], &jobs);
    let results = nightly.at("2026-11-23T02:00:00Z");
    assert_eq!((results[0].rows, results[0].snapshots.len()), (60, 3));
    let folder = |number| format!("dataset={}", version_id(number));
    assert_eq!(nightly.names("all"), [folder(1), folder(2), folder(3)]);
    let name = "snapshot=20261123T020000Z";
    let one = nightly.job("all").join(folder(2));
    assert_eq!(entries(&one), [name]);
    let record = format!("{name}.manifest.json");
    assert_eq!(entries(&nightly.hidden("all").join(folder(2))), ["latest.json", &record]);
    assert!(verify(&one.join(name).as_path().into()).unwrap().is_ok());
    let ran = nightly.run(&["latest", "all"]).ok();
    let expected = [1, 2, 3].map(|number| {
        format!("{}\n", nightly.job("all").join(folder(number)).join(name).display())
    });
    assert_eq!(ran.stdout, expected.concat());

    // A killed run had begun to remove a snapshot of a dataset that no longer exists.
    let hidden = nightly.hidden("all").join(folder(1));
    let removed = hidden.join(".snapshot=20261120T020000Z.removed");
    fs::create_dir(&removed).unwrap();
    fs::copy(hidden.join(&record), hidden.join("snapshot=20261120T020000Z.removed.json")).unwrap();
    // One dataset is new, one has changed, one is gone. The snapshots of the last one stay.
    nightly.world.server.replace(vec![
        version(2, 20),
        version(3, 30).with_metadata("{\"reviewed\":true}"),
        version(4, 40),
    ]);
    let results = nightly.at("2026-11-24T02:00:00Z");
    let told: Vec<Value> =
        results[0].snapshots.iter().map(|it| serde_json::to_value(it.status).unwrap()).collect();
    assert_eq!(told, ["unchanged", "stored", "stored"]);
    let gone = format!("{}/snapshot=20261123T020000Z", folder(3));
    assert_eq!(results[0].pruned, [gone]);
    assert!(!removed.exists());
    assert_eq!(entries(&hidden), ["latest.json", &record]);
    assert_eq!(nightly.names("all").len(), 4);
}

#[test]
fn failed_dataset_stops_only_retention() {
    // The other datasets of the job are stored.
    let jobs =
        "[[job]]\nname = \"all\"\nselect = \"all\"\nunchanged = \"never\"\nkeep = { last = 1 }\n";
    let nightly = Nightly::new(vec![version(1, 10), version(2, 20)], jobs);
    nightly.at("2026-11-23T02:00:00Z");
    let bad = Dataset::from_rows("bad", vec!["{\"id\":7}".to_owned()]).with_id(version_id(1));
    nightly.world.server.replace(vec![bad, version(2, 20)]);
    let results = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(results[0].exit_code, 65);
    let told: Vec<_> = results[0].snapshots.iter().map(|it| it.error.is_some()).collect();
    assert_eq!(told, [true, false]);
    assert_eq!(results[0].pruned, Vec::<String>::new());
    let two = nightly.job("all").join(format!("dataset={}", version_id(2)));
    assert_eq!(entries(&two).len(), 2);
}

#[test]
fn failed_job_does_not_stop_the_others() {
    // The exit code is that of the first failed job in the file.
    let jobs = format!(
        "[[job]]\nname = \"gone\"\ndataset = \"{}\"\n\
         [[job]]\nname = \"good\"\ndataset = \"{ID}\"\n\
         [[job]]\nname = \"bad\"\ndataset = \"{}\"\n",
        version_id(99),
        version_id(1),
    );
    let rows = vec!["{\"id\":7}".to_owned()];
    let bad = Dataset::from_rows("bad", rows).with_id(version_id(1));
    let nightly = Nightly::new(vec![Dataset::generated(10, 7).with_id(ID), bad], &jobs);
    let ran = nightly.snapshot(&["--json", "--max-retries", "0"]);
    assert_eq!(ran.code, Some(66), "{ran:?}");
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let of = |key: &str| {
        summary["jobs"].as_array().unwrap().iter().map(|it| it[key].clone()).collect::<Vec<_>>()
    };
    assert_eq!(summary["exit_code"], 66);
    assert_eq!(of("job"), ["gone", "good", "bad"]);
    assert_eq!(of("status"), ["failed", "stored", "failed"]);
    assert_eq!(of("exit_code"), [66, 0, 65]);
    let ran = nightly.snapshot(&["bad", "good", "--max-retries", "0"]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert_eq!(nightly.history("gone").len(), 1);
    assert_eq!(nightly.history("good").len(), 2);
}

#[test]
fn closed_pipe_does_not_hide_a_failed_job() {
    let id = version_id(99);
    let nightly =
        Nightly::new(Vec::new(), &format!("[[job]]\nname = \"gone\"\ndataset = \"{id}\"\n"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = nightly.world.command();
    command.args(["snapshot", "--config", "snapshots.toml", "--json"]);
    assert_eq!(Ran::of(command.stdout(writer)).code, Some(66));
}

#[test]
fn unwritable_history_does_not_hide_the_failure() {
    // A directory in place of the history makes a run fail at its start. So this one appears during the run,
    // while the API is slow.
    let options = Options { latency: std::time::Duration::from_millis(500), ..Options::default() };
    let jobs = "[[job]]\nname = \"nightly\"\nselect = \"latest\"\n";
    let dataset = Dataset::generated(10, 7).with_id(ID);
    let nightly = Nightly::with(options, vec![dataset], jobs);
    let history = nightly.hidden("nightly").join("history.jsonl");
    let run = |time| {
        let server = &nightly.world.server;
        let before = server.stats().requests;
        std::thread::scope(|scope| {
            let run = scope.spawn(|| nightly.at(time)[0].exit_code);
            let soon = std::time::Duration::from_secs(60);
            assert!(server.wait_until(soon, |stats| stats.requests > before));
            fs::create_dir(&history).unwrap();
            let code = run.join().unwrap();
            fs::remove_dir(&history).unwrap();
            code
        })
    };
    // The run checks the folder again before it exports, and fails.
    assert_eq!(run("2026-11-23T02:00:00Z"), 73);
    nightly.world.server.replace(Vec::new());
    assert_eq!(run("2026-11-24T02:00:00Z"), 66);
}

#[test]
fn concurrent_jobs_share_the_request_slots() {
    let jobs: String = (1..=6)
        .map(|number| {
            format!("[[job]]\nname = \"job-{number}\"\ndataset = \"{}\"\n", version_id(number))
        })
        .collect();
    let options = Options { latency: std::time::Duration::from_millis(5), ..Options::default() };
    let datasets = (1..=6).map(|number| version(number, 2000)).collect();
    let nightly = Nightly::with(options, datasets, &jobs);
    nightly.snapshot(&["--concurrency", "3", "--jobs", "6"]).ok();
    let stats = nightly.world.server.stats();
    assert_eq!((stats.max_in_flight, stats.requests), (3, 6 * 21));
    // Each job counts only its own requests.
    assert_eq!(nightly.history("job-1")[0]["requests"], 21);
}

#[test]
fn torn_last_history_line_is_repaired() {
    let nightly = Nightly::one(10, "");
    nightly.at("2026-11-23T02:00:00Z");
    let path = nightly.hidden("nightly").join("history.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    for torn in ["{\"job\":\"nigh", "\u{0}\u{0}\u{0}", &whole[..whole.len() - 1]] {
        fs::write(&path, format!("{whole}{torn}")).unwrap();
        nightly.run(&["snapshots"]).ok();
        nightly.at("2026-11-24T02:00:00Z");
        let history = nightly.history("nightly");
        let statuses: Vec<&Value> = history.iter().map(|run| &run["status"]).collect();
        assert_eq!(statuses, ["stored", "unchanged"], "{torn:?}");
    }
}

#[test]
fn environment_and_flag_override_the_files_key() {
    let nightly = Nightly::one(10, "");
    let text = fs::read_to_string(nightly.world.path("snapshots.toml")).unwrap();
    fs::create_dir_all(nightly.world.path("etc")).unwrap();
    let url = nightly.world.server.url();
    let api = format!("[api]\nbase_url = \"{url}\"\napi_key_file = \"a.key\"\n{text}");
    fs::write(nightly.world.path("etc/snapshots.toml"), api).unwrap();
    fs::write(nightly.world.path("etc/a.key"), "of-the-file\n").unwrap();
    fs::write(nightly.world.path("flag.key"), "of-the-flag\n").unwrap();
    let seen = |key: Option<&str>, flags: &[&str]| {
        let mut command = crate::support::command(nightly.world.folder.path());
        command.args(["snapshot", "--config", "etc/snapshots.toml"]).args(flags);
        if let Some(key) = key {
            command.env("OVERMIND_LAB_API_KEY", key);
        }
        Ran::of(&mut command).ok();
        let stats = nightly.world.server.stats();
        stats.received.back().unwrap().header("x-api-key").unwrap().to_owned()
    };
    assert_eq!(seen(None, &[]), "of-the-file");
    assert_eq!(seen(Some(KEY), &[]), KEY);
    assert_eq!(seen(Some(KEY), &["--api-key-file", "flag.key"]), "of-the-flag");
    // With a key in the environment, the file's key is not needed.
    fs::remove_file(nightly.world.path("etc/a.key")).unwrap();
    assert_eq!(seen(Some(KEY), &[]), KEY);
    // A relative root is resolved from the folder of the configuration file.
    assert!(nightly.world.path("etc/snaps/.overmind/nightly/latest.json").exists());
}

#[test]
fn only_the_users_configuration_is_found() {
    // A file in the current directory is not used.
    let nightly = Nightly::one(10, "");
    let ran = Ran::of(nightly.world.command().arg("snapshot"));
    assert_eq!(ran.code, Some(78), "{ran:?}");
    let home = nightly.world.path("home");
    fs::create_dir_all(home.join(".config/overmind-export")).unwrap();
    let place = home.join(".config/overmind-export/snapshots.toml");
    fs::copy(nightly.world.path("snapshots.toml"), &place).unwrap();
    let ran = Ran::of(nightly.world.command().args(["snapshot", "--json"]).env("HOME", &home)).ok();
    assert_eq!(result(&ran)["status"], "stored");
    assert!(home.join(".config/overmind-export/snaps/nightly").exists());
    // A relative XDG_CONFIG_HOME is ignored.
    let mut command = nightly.world.command();
    command.arg("snapshot").env("HOME", &home).env("XDG_CONFIG_HOME", "home/.config");
    Ran::of(&mut command).ok();
    let mut command = nightly.world.command();
    command.arg("snapshot").env("HOME", &home).env("XDG_CONFIG_HOME", nightly.world.path("other"));
    assert_eq!(Ran::of(&mut command).code, Some(78));
}

#[test]
fn flags_override_the_files_connection() {
    // Every command uses the connection settings of the configuration file.
    let options = Options { latency: std::time::Duration::from_millis(40), ..Options::default() };
    let datasets = vec![Dataset::generated(3000, 7).with_id(ID)];
    let jobs = format!("[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\n");
    let nightly = Nightly::with(options, datasets, &jobs);
    let path = nightly.world.path("snapshots.toml");
    let text = fs::read_to_string(&path).unwrap();
    let url = nightly.world.server.url();
    fs::write(&path, format!("[api]\nbase_url = \"{url}\"\nconcurrency = 2\n{text}")).unwrap();
    let most = |arguments: &[&str]| {
        let mut command = crate::support::command(nightly.world.folder.path());
        command.env("OVERMIND_LAB_API_KEY", KEY).args(["--config", "snapshots.toml"]);
        Ran::of(command.args(arguments)).ok();
        nightly.world.server.stats().max_in_flight
    };
    let id = ID.to_string();
    assert_eq!(most(&["export", &id, "-o", "rows.jsonl"]), 2);
    assert_eq!(most(&["snapshot"]), 2);
    assert_eq!(most(&["export", &id, "-o", "more.jsonl", "--concurrency", "5"]), 5);
}

#[test]
fn killed_publication_is_finished_by_the_next_run() {
    let nightly = Nightly::one(250, "");
    nightly.at("2026-11-23T02:00:00Z");
    let name = "snapshot=20261123T020000Z";
    let (data, record) =
        (nightly.job("nightly").join(name), nightly.record("nightly", "20261123T020000Z"));
    // The state after a kill between the two renames.
    use std::os::unix::fs::MetadataExt;
    let inode = fs::metadata(&data).unwrap().ino();
    let sha256 = crate::support::sha256(&fs::read(&record).unwrap());
    let staging = nightly.hidden("nightly").join(format!(".{name}.partial"));
    fs::create_dir(&staging).unwrap();
    fs::rename(&record, staging.join("record.json")).unwrap();
    let header = json!({"plan": null, "count": 250, "started_at": ""});
    let publishing = json!({"publishing": {"inode": inode, "record": sha256, "path": record}});
    fs::write(
        staging.join("journal.jsonl"),
        [header, publishing].map(|it| resealed(&it.to_string()) + "\n").concat(),
    )
    .unwrap();
    let before = nightly.datapoints();
    let results = nightly.at("2026-11-24T02:00:00Z");
    assert_eq!(results[0].snapshots[0].unchanged_by.as_deref(), Some("metadata"));
    assert_eq!(nightly.datapoints(), before);
    assert!(verify(&data.as_path().into()).unwrap().is_ok());
    assert!(!staging.exists());
}
