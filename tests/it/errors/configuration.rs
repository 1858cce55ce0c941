//! Keys, base URLs and certificates: their sources, and the messages about invalid ones.

use std::{fs, os::unix::fs::PermissionsExt};

use overmind_export::demo::{Dataset, Options};

use super::{session, session_with};
use crate::support::{ID, KEY, Ran, World};

const EXPORT: &str = "export ID -o rows.jsonl";

fn world() -> World {
    World::generated(Options::default(), 3)
}

/// Writes a key file that only its owner can read.
fn key_file(world: &World, name: &str, text: &str) {
    fs::write(world.path(name), text).unwrap();
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn missing_key_sends_nothing_and_lists_key_sources() {
    let world = world();
    let told = session_with(&world, &[EXPORT, "datasets", "preview ID"], |it| {
        it.env("OVERMIND_LAB_API_KEY", "");
    });
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl
    exit 77
    error: no API key
      hint: set OVERMIND_LAB_API_KEY (or OVERMIND_API_KEY), or give --api-key-file; `overmind-export demo` needs no key

    $ overmind-export datasets
    exit 77
    error: no API key
      hint: set OVERMIND_LAB_API_KEY (or OVERMIND_API_KEY), or give --api-key-file; `overmind-export demo` needs no key

    $ overmind-export preview ID
    exit 77
    error: no API key
      hint: set OVERMIND_LAB_API_KEY (or OVERMIND_API_KEY), or give --api-key-file; `overmind-export demo` needs no key
    ");
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn key_with_control_character_is_not_shown() {
    let told = session_with(&world(), &[EXPORT], |it| {
        it.env("OVERMIND_LAB_API_KEY", format!("{KEY}\u{7}"));
    });
    assert!(!told.contains(KEY));
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl
    exit 78
    error: the API key cannot be used: its character 18 is U+0007, and no key has that
      hint: it comes from the variable OVERMIND_LAB_API_KEY
    ");
}

#[test]
fn unusable_key_file_is_named() {
    let world = world();
    key_file(&world, "empty", "\n\novr_in_the_third_line\n");
    fs::create_dir(world.path("folder")).unwrap();
    let told = session(
        &world,
        &[
            "datasets --api-key-file missing",
            "datasets --api-key-file empty",
            "datasets --api-key-file folder",
        ],
    );
    insta::assert_snapshot!(told, @"
    $ overmind-export datasets --api-key-file missing
    exit 78
    error: cannot use the key file missing
      cause: No such file or directory (os error 2)

    $ overmind-export datasets --api-key-file empty
    exit 78
    error: cannot use the key file empty
      cause: its first line is empty

    $ overmind-export datasets --api-key-file folder
    exit 78
    error: cannot use the key file folder
      cause: Is a directory (os error 21)
    ");
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn key_file_readable_by_others_causes_a_warning() {
    let world = world();
    key_file(&world, "key", KEY);
    let quiet = "export ID -o quiet.jsonl --api-key-file key -q";
    insta::assert_snapshot!(session(&world, &["export ID -o private.jsonl --api-key-file key"]), @"
    $ overmind-export export ID -o private.jsonl --api-key-file key
    exit 0
    3 rows in 1 file (3.67 KiB) · T s · N rows/s · complete: every row once
      private.jsonl
    ");
    fs::set_permissions(world.path("key"), fs::Permissions::from_mode(0o640)).unwrap();
    insta::assert_snapshot!(
        session(&world, &["export ID -o open.jsonl --api-key-file key", quiet]),
        @"
    $ overmind-export export ID -o open.jsonl --api-key-file key
    exit 0
    TIME  WARN other users can read key: run chmod 600 key
    3 rows in 1 file (3.67 KiB) · T s · N rows/s · complete: every row once
      open.jsonl

    $ overmind-export export ID -o quiet.jsonl --api-key-file key -q
    exit 0
    "
    );
}

/// The keys that the server received, in order.
fn keys(world: &World) -> Vec<String> {
    let received = world.server.stats().received;
    received.iter().map(|request| request.header("x-api-key").unwrap().to_owned()).collect()
}

#[test]
fn key_file_wins_over_current_and_older_variable() {
    // The order is: --api-key-file, OVERMIND_LAB_API_KEY, OVERMIND_API_KEY. An empty variable is ignored.
    let world = world();
    key_file(&world, "key", "  ovr_file \nnot this line\n");
    let run = |command: &mut std::process::Command| drop(Ran::of(command).ok());
    let both = || {
        let mut command = world.command();
        command.arg("datasets");
        command.env("OVERMIND_LAB_API_KEY", "ovr_lab").env("OVERMIND_API_KEY", "ovr_older");
        command
    };
    run(both().args(["--api-key-file", "key"]));
    run(&mut both());
    run(both().env_remove("OVERMIND_LAB_API_KEY"));
    run(both().env("OVERMIND_LAB_API_KEY", ""));
    assert_eq!(keys(&world), ["ovr_file", "ovr_lab", "ovr_older", "ovr_older"]);
}

#[test]
fn base_url_flag_wins_over_both_variables() {
    // The order is: --base-url, OVERMIND_LAB_BASE_URL, OVERMIND_API_URL.
    let (flag, lab, older) = (world(), world(), world());
    let all = || {
        let mut command = flag.command();
        command.arg("datasets");
        command.env("OVERMIND_LAB_BASE_URL", lab.server.url());
        command.env("OVERMIND_API_URL", older.server.url());
        command
    };
    let requests = || [&flag, &lab, &older].map(|world| world.server.stats().requests);
    Ran::of(all().args(["--base-url", &flag.server.url()])).ok();
    assert_eq!(requests(), [1, 0, 0]);
    Ran::of(&mut all()).ok();
    assert_eq!(requests(), [1, 1, 0]);
    Ran::of(all().env_remove("OVERMIND_LAB_BASE_URL")).ok();
    assert_eq!(requests(), [1, 1, 1]);
}

#[test]
fn invalid_base_url_is_quoted_without_secrets() {
    let world = world();
    let told = session(
        &world,
        &[
            "datasets --base-url api.overmindlab.ai",
            "datasets --base-url ftp://api.overmindlab.ai",
            "datasets --base-url https://",
            "datasets --base-url https://api.overmindlab.ai/?key=hunter2",
            "datasets --base-url https://me:hunter2@api.overmindlab.ai",
            "datasets --base-url https//me:hunter2@api.overmindlab.ai",
        ],
    );
    let answers: Vec<&str> = told.lines().filter(|line| !line.starts_with('$')).collect();
    assert!(!answers.concat().contains("hunter2"), "{told}");
    insta::assert_snapshot!(told, @r#"
    $ overmind-export datasets --base-url api.overmindlab.ai
    exit 78
    error: the base URL "api.overmindlab.ai" cannot be used: it must begin with https:// (or http:// for this machine)
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai

    $ overmind-export datasets --base-url ftp://api.overmindlab.ai
    exit 78
    error: the base URL "ftp://api.overmindlab.ai" cannot be used: it must begin with https:// (or http:// for this machine)
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai

    $ overmind-export datasets --base-url https://
    exit 78
    error: the base URL "https://" cannot be used: empty host
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai

    $ overmind-export datasets --base-url https://api.overmindlab.ai/?key=hunter2
    exit 78
    error: the base URL "https://api.overmindlab.ai/?…" cannot be used: it must not have a query or a fragment
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai

    $ overmind-export datasets --base-url https://me:hunter2@api.overmindlab.ai
    exit 78
    error: the base URL "https://…@api.overmindlab.ai" cannot be used: it must not hold a user name or a password: give the key separately
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai

    $ overmind-export datasets --base-url https//me:hunter2@api.overmindlab.ai
    exit 78
    error: the base URL "https//…@api.overmindlab.ai" cannot be used: it must begin with https:// (or http:// for this machine)
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai
    "#);
}

#[test]
fn base_url_from_environment_is_checked_too() {
    let told = session_with(&world(), &["datasets"], |it| {
        it.env("OVERMIND_LAB_BASE_URL", "localhost:8080");
    });
    insta::assert_snapshot!(told, @r#"
    $ overmind-export datasets
    exit 78
    error: the base URL "localhost:8080" cannot be used: it must begin with https:// (or http:// for this machine)
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai
    "#);
}

#[test]
fn plain_http_to_another_machine_is_refused() {
    let told = session(&world(), &["export ID -o rows.jsonl --base-url http://api.overmindlab.ai"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl --base-url http://api.overmindlab.ai
    exit 78
    error: http://api.overmindlab.ai/ is plain http: the API key would cross the network unencrypted
      hint: use https, or give --allow-http if you trust the network in between
    ");
}

#[test]
fn unusable_certificate_file_is_named() {
    let world = world();
    fs::write(world.path("text.pem"), "not a certificate\n").unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nMIIB!!\n-----END CERTIFICATE-----\n";
    fs::write(world.path("broken.pem"), broken).unwrap();
    fs::write(world.path("other.pem"), broken.replace("MIIB!!", "AAAA")).unwrap();
    let told = session(
        &world,
        &[
            "datasets --ca-cert missing.pem",
            "datasets --ca-cert text.pem",
            "datasets --ca-cert broken.pem",
            "datasets --ca-cert other.pem",
        ],
    );
    insta::assert_snapshot!(told, @"
    $ overmind-export datasets --ca-cert missing.pem
    exit 78
    error: cannot use the certificate file missing.pem
      cause: No such file or directory (os error 2)

    $ overmind-export datasets --ca-cert text.pem
    exit 78
    error: cannot use the certificate file text.pem
      cause: it contains no PEM certificate

    $ overmind-export datasets --ca-cert broken.pem
    exit 78
    error: cannot use the certificate file broken.pem
      cause: its certificate 1 is not valid PEM: is the file complete?

    $ overmind-export datasets --ca-cert other.pem
    exit 78
    error: cannot use the certificate file other.pem
      cause: its certificate 1 is not an X.509 certificate
    ");
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn path_of_the_base_url_is_kept() {
    let world = World::with(Options::default(), Dataset::generated(3, 7).with_id(ID));
    let told = session_with(&world, &[EXPORT], |it| {
        it.env("OVERMIND_LAB_BASE_URL", format!("{}/gateway", world.server.url()));
    });
    insta::assert_snapshot!(told, @r#"
    $ overmind-export export ID -o rows.jsonl
    exit 78
    error: there is no datasets API at the base URL
      cause: GET http://API/gateway/api/datasets/ID/datapoints/?page=1&page_size=100 answered 404 Not Found: expected JSON, got text/html; charset=utf-8 that begins "<!doctype html> <html lang=\"en\"> <head>"
      hint: check the base URL; it comes from --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL
    "#);
}
