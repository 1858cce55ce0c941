//! Snapshots of whole messages about stores. No output contains a secret of a store.

use overmind_export::demo::Options;

use super::server::{Fate, SECRET, Store};
use crate::support::{ID, KEY, Ran, World};

/// The output of a command line. `ID` in it means the dataset. Values that differ from run to run are
/// replaced.
pub(super) fn told(world: &World, store: &Store, line: &str, variables: &[(&str, &str)]) -> String {
    let mut command = store.command(world);
    command.args(line.replace("ID", &ID.to_string()).split_whitespace());
    let ran = Ran::of(command.envs(variables.iter().copied()));
    ran.told(world).replace(&store.addr().to_string(), "STORE")
}

#[test]
fn endpoint_option_wins_over_environment() {
    let world = World::generated(Options::default(), 10);
    let store = Store::start();
    for (name, variable) in
        [("endpoint", "AWS_ENDPOINT_URL"), ("aws_endpoint", "AWS_ENDPOINT_URL_S3")]
    {
        let line =
            format!("export ID -o s3://bucket/{name}/ --storage-option {name}={}", store.url());
        let told = told(&world, &store, &line, &[(variable, "http://127.0.0.1:9")]);
        assert!(told.starts_with("exit 0"), "{told}");
    }
}

#[test]
fn unusable_store_is_reported_before_page_1() {
    let world = World::generated(Options::default(), 10);
    let store = Store::start();
    let export = |url: &str, variables: &[(&str, &str)]| {
        told(&world, &store, &format!("export ID -o {url}"), variables)
    };
    insta::assert_snapshot!(export("s3://nothing/rows/", &[]), @"
    exit 73
    error: s3://nothing/rows/: cannot be used
      cause: NoSuchBucket
      hint: check the bucket's name, its region and the endpoint; it must exist already
    ");
    insta::assert_snapshot!(export("s3://nothing/rows.parquet", &[]), @"
    exit 73
    error: s3://nothing/rows.parquet: cannot be used
      cause: NoSuchBucket
      hint: check the bucket's name, its region and the endpoint; it must exist already
    ");
    insta::assert_snapshot!(export("s3://bucket/rows/", &[("AWS_SECRET_ACCESS_KEY", "wrong")]), @"
    exit 73
    error: s3://bucket/rows/: cannot be used
      cause: SignatureDoesNotMatch
      hint: check the credentials in the environment (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_*) or in the storage options, and what they allow
    ");
    insta::assert_snapshot!(export("s3://bucket/rows/", &[("AWS_ACCESS_KEY_ID", "AKIANOBODY")]), @"
    exit 73
    error: s3://bucket/rows/: cannot be used
      cause: NotSignedUp: Your account is not signed up
      hint: check the credentials in the environment (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_*) or in the storage options, and what they allow
    ");
    let nowhere = [("AWS_ENDPOINT_URL", "http://127.0.0.1:9")];
    insta::assert_snapshot!(export("s3://bucket/rows/", &nowhere), @"
    exit 73
    error: s3://bucket/rows/: cannot be used
      cause: Connection refused (os error 111)
      hint: check the endpoint (AWS_ENDPOINT_URL, or the storage option endpoint=…), the region and the network
    ");
    let mut command = store.command(&world);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    // This address replaces the metadata service, which gives credentials to machines in a cloud.
    command.env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9");
    command.args(["export", &ID.to_string(), "-o", "s3://bucket/rows/"]);
    insta::assert_snapshot!(Ran::of(&mut command).told(&world), @"
    exit 73
    error: s3://bucket/rows/: cannot be used
      cause: no credentials in the environment, and none from the machine itself: Connection refused (os error 111)
      hint: check the credentials in the environment (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_*) or in the storage options, and what they allow
    ");
    let plain = [("AWS_ENDPOINT_URL", "http://store.example.test:9000")];
    insta::assert_snapshot!(export("s3://bucket/rows/", &plain), @"
    exit 78
    error: http://store.example.test:9000 is plain http: the data would cross the network unencrypted
      hint: use https, or set the storage option allow_http=true if you trust the network in between
    ");
    insta::assert_snapshot!(export("gs://bucket/rows/", &[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")]), @"
    exit 78
    error: gs://bucket cannot be used: Unable to open service account file from /nowhere.json: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(export("az://container/rows/", &[]), @"
    exit 78
    error: az://container cannot be used: Account must be specified
    ");
    assert_eq!(world.server.stats().requests, 0, "an unnecessary request was sent");
    assert_eq!(store.keys(), Vec::<String>::new());
}

#[test]
fn missing_write_permission_is_found_before_page_1() {
    let world = World::generated(Options::default(), 10);
    let store = Store::start();
    store.rule("PUT /bucket/", Fate::Refused(403, "AccessDenied"));
    insta::assert_snapshot!(told(&world, &store, "export ID -o s3://bucket/rows/", &[]), @"
    exit 73
    error: s3://bucket/_rows.partial: cannot be written
      cause: AccessDenied: as scripted
      hint: a run keeps its state there until it ends: allow it to list, read, write and delete there, or give a place for the record below the prefix with --record: then the state is there, too
    ");
    assert_eq!(world.server.stats().requests, 0);
}

#[test]
fn invalid_location_is_refused() {
    let world = World::generated(Options::default(), 10);
    let store = Store::start();
    let tell = |line: &str| told(&world, &store, line, &[]);
    insta::assert_snapshot!(tell("export ID -o ftp://host/rows.parquet"), @r#"
    exit 2
    error: "ftp://host/rows.parquet" is not a valid location: the known schemes are s3, gs, az, abfs, abfss and file; anything without :// is a local path
    "#);
    insta::assert_snapshot!(tell("export ID -o s3://bucket/rows.tsv"), @r#"
    exit 2
    error: "s3://bucket/rows.tsv" is not a valid output: use .parquet, .arrow, .jsonl or .csv, the last two also with .gz or .zst; a path that ends in a slash is a directory of parts
    "#);
    insta::assert_snapshot!(tell("verify s3://key:hunter2@bucket/rows/"), @r#"
    exit 2
    error: "s3://…@bucket/rows/" is not a valid location: it must not hold a user name or a password: they come from the environment or from the storage options
    "#);
    insta::assert_snapshot!(tell("verify s3://bucket/rows/ --storage-option regoin=x"), @r#"
    exit 2
    error: "regoin" is not a valid storage option: S3 has no such option
    "#);
    insta::assert_snapshot!(tell("verify s3://bucket/rows/ --storage-option hunter2"), @"
    exit 2
    error: --storage-option takes KEY=VALUE, such as region=eu-north-1
    ");
    insta::assert_snapshot!(tell("verify s3://bucket/rows/"), @"
    exit 74
    error: cannot read s3://bucket/rows/
      cause: no object and no prefix with this name exists
    ");
    insta::assert_snapshot!(tell("verify s3://bucket/rows.parquet"), @"
    exit 74
    error: cannot read s3://bucket/rows.parquet
      cause: no object and no prefix with this name exists
    ");
}

#[test]
fn prefix_with_foreign_objects_is_left_alone() {
    let world = World::generated(Options::default(), 10);
    let store = Store::start();
    std::fs::create_dir_all(store.path("rows/deeper")).unwrap();
    std::fs::write(store.path("rows/deeper/letter.txt"), "Dear Sir").unwrap();
    let line = "export ID -o s3://bucket/rows/ --overwrite";
    insta::assert_snapshot!(told(&world, &store, line, &[]), @"
    exit 73
    error: s3://bucket/rows/: is not an export: it has no valid record
      hint: only an empty prefix or an earlier export is replaced; if the record is elsewhere, name it with --record
    ");
    assert_eq!(store.keys(), ["rows/deeper/letter.txt"]);
    told(&world, &store, "export ID -o s3://bucket/out/", &[]);
    std::fs::write(store.path("out/notes.txt"), "mine").unwrap();
    // This object has the name of a part, but no export wrote it.
    std::fs::write(store.path("out/part-00007-0badcafe.parquet"), "mine").unwrap();
    let before = store.objects();
    let line = "export ID -o s3://bucket/out/ --overwrite --restart";
    insta::assert_snapshot!(told(&world, &store, line, &[]), @r#"
    exit 73
    error: s3://bucket/out/: holds "notes.txt", which its record does not list
      hint: only objects of an earlier export are replaced: move the object, or give another URL
    "#);
    assert!(store.objects() == before);
}

#[test]
fn store_secrets_are_never_printed_or_written() {
    type Case<'a> = (i32, Option<(&'a str, Fate)>, &'a [&'a str]);
    let table: [Case<'_>; 6] = [
        (0, None, &[]),
        (0, None, &["--storage-option", "secret_access_key=wJalrCanarySecret5f3c9bK7MDENG"]),
        (73, Some(("GET /bucket", Fate::Refused(403, "AccessDenied"))), &[]),
        (73, Some(("PUT /bucket", Fate::Refused(403, "SignatureDoesNotMatch"))), &[]),
        (74, Some(("PUT /bucket/rows/part-", Fate::Refused(403, "AccessDenied"))), &[]),
        (78, None, &["--storage-option", "conditional_put=wJalrCanarySecret5f3c9bK7MDENG"]),
    ];
    for (code, rule, more) in table {
        for format in ["text", "json"] {
            let world = World::generated(Options::default(), 10);
            let store = Store::start();
            if let Some((request, fate)) = rule.clone() {
                store.rule(request, fate);
            }
            let mut command = store.command(&world);
            command.args(["export", &ID.to_string(), "-o", "s3://bucket/rows/"]).args(more);
            let ran = Ran::of(command.args(["-vvv", "--log-format", format]));
            assert_eq!(ran.code, Some(code), "{more:?}: {}", ran.stderr);
            assert!(code == 78 || ran.stderr.contains("TRACE"), "nothing was logged");
            for text in [&ran.stderr, &ran.stdout] {
                let line = text.lines().find(|line| line.contains(SECRET) || line.contains(KEY));
                assert_eq!(line, None, "{code} {more:?}");
            }
            for (key, bytes) in store.objects() {
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains(SECRET) && !text.contains(KEY), "{key}");
            }
        }
    }
}
