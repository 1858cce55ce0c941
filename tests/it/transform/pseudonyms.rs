//! Pseudonyms: equal values stay equal, the key is shown nowhere, and another key is noticed.

use std::{collections::BTreeMap, fs};

use overmind_export::demo::{Fault, FaultAttempt, Faults, Options};
use serde_json::{Value, json};

use super::{record, rows, world};
use crate::support::{Ran, World};

const KEY: &str = "canary00c0ffee0123456789abcdef0123456789abcdef0123456789abcdef01";
const PATHS: [&str; 4] =
    ["--pseudonymise", ".persona, .tags.topic, .tags.score", "--pseudonym-key-file", "key"];

/// Writes a private key file.
fn write_key(world: &World, name: &str, key: &str) {
    fs::write(world.path(name), format!("{key}\n")).unwrap();
    set_mode(world, name, 0o600);
}

fn set_mode(world: &World, name: &str, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = (world, name, mode);
}

/// The parser of this test knows neither the number nor the lone surrogate of the rows.
fn value(line: &str) -> Value {
    serde_json::from_str(&line.replace("1e400", "1").replace(r"\ud800", "")).unwrap()
}

fn lines(world: &World, name: &str) -> Vec<Value> {
    let text = String::from_utf8(world.read(name)).unwrap();
    text.lines().map(value).collect()
}

#[test]
fn equal_values_have_equal_pseudonyms() {
    let world = world(300);
    write_key(&world, "key", KEY);
    write_key(&world, "copy", &format!("  {KEY}\r"));
    world.export(&[&["-o", "one.jsonl", "--manifest"], &PATHS[..]].concat()).ok();
    let (one, mut topics) = (lines(&world, "one.jsonl"), BTreeMap::new());
    for (index, line) in one.iter().enumerate() {
        assert_eq!(line["persona"].is_null(), index % 5 == 0);
        assert_eq!(line["tags"]["passed"], json!(index % 2 == 0));
        let topic = topics.entry(index % 3).or_insert(line["tags"]["topic"].clone());
        assert_eq!(&line["tags"]["topic"], topic);
        for value in [&line["persona"], &line["tags"]["topic"], &line["tags"]["score"]] {
            let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            let text = value.as_str().unwrap_or("00000000000000000000000000000000");
            assert!(text.len() == 32 && text.chars().all(is_digit), "{value}");
        }
    }
    assert_eq!(
        topics.values().map(Value::to_string).collect::<std::collections::BTreeSet<_>>().len(),
        3
    );
    // Of Python: hmac.new(KEY.encode(), b'"billing"', "sha256").hexdigest()[:32]
    assert_eq!(topics[&0], "8ad66236def5002d19deb954a1941876");
    let recorded = record(&world, "one.jsonl");
    let expected = json!({
        "pseudonymise": [".persona", ".tags.topic", ".tags.score"],
        "pseudonym_key": "aa7f53061123a24e",
    });
    assert_eq!(recorded["transform"], expected);
    assert_eq!(recorded["parts"][0]["replaced"], json!([240, 300, 300]));
    // Another export of other rows, with a copy of the key, and a column that sees the pseudonym.
    let arguments =
        ["-o", "two.jsonl", "--where", ".order % 3 == 0", "--column", "topic=.tags.topic"];
    let key = ["--pseudonymise", ".tags.topic", "--pseudonym-key-file", "copy"];
    let ran = world.export(&[&arguments[..], &key].concat()).ok();
    assert!(ran.stderr.contains("  pseudonymised: .tags.topic in 100 rows\n"), "{}", ran.stderr);
    let two = lines(&world, "two.jsonl");
    assert!(
        two.iter().all(|line| line["topic"] == topics[&0] && line["tags"]["topic"] == topics[&0])
    );
    write_key(&world, "other", &KEY.replace('0', "1"));
    let other =
        ["-o", "three.jsonl", "--pseudonymise", ".tags.topic", "--pseudonym-key-file", "other"];
    world.export(&other).ok();
    assert_ne!(lines(&world, "three.jsonl")[0]["tags"]["topic"], topics[&0]);
}

#[test]
fn key_is_shown_nowhere() {
    let world = world(300);
    write_key(&world, "key", KEY);
    let secret = world.folder.path().join("key");
    let mut runs = vec![
        world.export(&[&["-o", "rows/", "-vv", "--log-format", "json"], &PATHS[..]].concat()).ok(),
        world.export(&[&["-o", "a.parquet", "--manifest"], &PATHS[..]].concat()).ok(),
        world.export(&[&["-o", "a.parquet"], &PATHS[..]].concat()),
        Ran::of(world.command().args(["verify", "rows"])),
    ];
    let path = ["--pseudonymise", ".nothing", "--pseudonym-key-file", "key"];
    runs.push(world.export(&[&["-o", "b.jsonl"], &path[..]].concat()));
    for ran in &runs {
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("canary"), "{ran:?}");
    }
    assert_eq!(runs[4].code, Some(65), "{:?}", runs[4]);
    assert!(runs[4].stderr.contains("--pseudonymise \".nothing\" matches no value in 300 rows"));
    let mut folders = vec![world.folder.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false if entry.path() != secret => {
                    files += 1;
                    let bytes = fs::read(entry.path()).unwrap();
                    assert!(!bytes.windows(6).any(|part| part == b"canary"), "{entry:?}");
                }
                false => {}
            }
        }
    }
    assert!(files >= 4, "{files}");
}

#[test]
fn unusable_keys_are_refused_before_the_first_request() {
    let world = world(1);
    let short = &KEY[..42];
    fs::create_dir(world.path("folder")).unwrap();
    let mut cases = vec![
        ("missing", None, "No such file"),
        ("folder", None, "it is not a regular file"),
        (
            "short",
            Some(short.to_owned()),
            "a key has at least 43 characters; make one with: openssl",
        ),
        ("twice", Some(format!("{KEY}\n{KEY}")), "it is not one line of ASCII characters"),
        ("same", Some("canary".repeat(20)), "its characters are not random"),
    ];
    if cfg!(unix) {
        cases.push((
            "open",
            Some(KEY.to_owned()),
            "every user can access it (mode 644): run chmod 600 open",
        ));
    }
    for (name, key, why) in cases {
        if let Some(key) = key {
            write_key(&world, name, &key);
            set_mode(&world, name, if name == "open" { 0o644 } else { 0o600 });
        }
        let arguments =
            ["-o", "a.jsonl", "--pseudonymise", ".persona", "--pseudonym-key-file", name];
        let ran = world.export(&arguments);
        assert_eq!(ran.code, Some(78), "{name}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("cannot use the key file of pseudonyms {name}")),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains(why), "{name}: {}", ran.stderr);
        assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
    }
    write_key(&world, "key", KEY);
    for (arguments, why) in [
        (&["--pseudonymise", ".persona"][..], "--pseudonym-key-file"),
        (
            &["--pseudonym-key-file", "key"],
            "--pseudonym-key-file has no effect without --pseudonymise",
        ),
        (
            &[
                "--pseudonymise",
                ".tags.user.id",
                "--mask",
                ".tags.user",
                "--pseudonym-key-file",
                "key",
            ],
            "--mask replaces its values by null",
        ),
        (
            &["--pseudonymise", ".id", "--pseudonym-key-file", "key"],
            "the id of a row is never replaced",
        ),
    ] {
        let ran = world.export(&[&["-o", "a.jsonl"], arguments].concat());
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    assert_eq!(world.server.stats().requests, 0);
}

#[test]
fn run_with_another_key_is_not_resumed() {
    let faults = Faults::none().on(20, FaultAttempt::Always, Fault::status(503));
    let world = World::with_rows(Options { faults, ..Options::default() }, rows(300));
    write_key(&world, "key", KEY);
    let arguments = "-o rows/ --page-size 10 --rows-per-file 20 --max-retries 0 --concurrency 1";
    let arguments: Vec<_> = arguments.split(' ').chain(PATHS).collect();
    assert_eq!(world.export(&arguments).code, Some(69));
    world.server.set_faults(Faults::none());
    write_key(&world, "key", &KEY.replace('0', "1"));
    let other = world.export(&arguments);
    assert_eq!(other.code, Some(73), "{}", other.stderr);
    assert!(other.stderr.contains("--pseudonym-key-file has another key now"), "{}", other.stderr);
    write_key(&world, "key", KEY);
    let resumed = world.export(&arguments).ok();
    assert!(resumed.stderr.contains("resuming: "), "{}", resumed.stderr);
    Ran::of(world.command().args(["verify", "rows"])).ok();
    assert_eq!(lines_of_topics(&world), 3);
}

/// The number of different topics of an export of parts.
fn lines_of_topics(world: &World) -> usize {
    let ran = Ran::of(world.command().args(["preview", "rows", "--json", "-n", "300"])).ok();
    let topic = |line: &str| value(line)["tags"]["topic"].to_string();
    ran.stdout.lines().map(topic).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn job_reads_its_key_only_for_a_run() {
    let world = world(30);
    let config = format!(
        "[api]\nbase_url = \"{}\"\n[[job]]\nname = \"nightly\"\ndataset = \"{}\"\nroot = \"snapshots\"\n\
         pseudonymise = \".persona, .tags.topic\"\nmask = [\".input\"]\npseudonym_key_file = \"secrets/key\"\n",
        world.server.url(),
        crate::support::ID,
    );
    fs::write(world.path("jobs.toml"), config).unwrap();
    let run = |arguments: &[&str]| {
        Ran::of(world.command().args(["--config", "jobs.toml"]).args(arguments))
    };
    run(&["snapshots"]).ok();
    let missing = run(&["snapshot"]);
    assert_eq!(missing.code, Some(78), "{missing:?}");
    assert!(missing.stderr.contains("cannot use the key file of pseudonyms"), "{}", missing.stderr);
    fs::create_dir(world.path("secrets")).unwrap();
    write_key(&world, "secrets/key", KEY);
    run(&["snapshot"]).ok();
    let unchanged = run(&["snapshot", "--json"]).ok();
    assert!(unchanged.stdout.contains("\"unchanged\""), "{}", unchanged.stdout);
    // The same rows with another key are another content.
    write_key(&world, "secrets/key", &KEY.replace('0', "1"));
    let stored = run(&["snapshot", "--json"]).ok();
    assert!(stored.stdout.contains("\"stored\""), "{}", stored.stdout);
}
