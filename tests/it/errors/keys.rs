//! Malformed keys, as users paste them, and the source of a key in messages.

use std::{fs, os::unix::fs::PermissionsExt};

use overmind_export::demo::Options;

use super::{session, session_with};
use crate::support::{KEY, World};

/// A world whose API accepts only [`KEY`].
fn world() -> World {
    let options = Options { api_key: Some(KEY.to_owned()), ..Options::default() };
    World::generated(options, 3)
}

fn key_file(world: &World, name: &str, text: impl AsRef<[u8]>) {
    fs::write(world.path(name), text).unwrap();
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn invisible_characters_around_key_are_dropped() {
    let world = world();
    for key in [format!("\u{feff}{KEY}\r\n"), format!("\u{200b}{KEY}\u{2060} ")] {
        let told = session_with(&world, &["datasets -q"], |it| {
            it.env("OVERMIND_LAB_API_KEY", &key);
        });
        assert!(told.contains("exit 0"), "{told}");
        key_file(&world, "a.key", format!("{key}\nsecond line\n"));
        let told = session(&world, &["datasets -q --api-key-file a.key"]);
        assert!(told.contains("exit 0"), "{told}");
    }
}

#[test]
fn malformed_key_error_names_defect_and_source() {
    let world = world();
    let told = |key: &str| {
        let told = session_with(&world, &["datasets"], |it| {
            it.env("OVERMIND_LAB_API_KEY", key);
        });
        assert!(!told.contains("canary"), "{told}");
        told
    };
    insta::assert_snapshot!(told(&format!("\"{KEY}\"")), @"
    $ overmind-export datasets
    exit 78
    error: the API key cannot be used: it is in quotation marks: give it without them
      hint: it comes from the variable OVERMIND_LAB_API_KEY
    ");
    insta::assert_snapshot!(told("ovr_…"), @"
    $ overmind-export datasets
    exit 78
    error: the API key cannot be used: it is the placeholder of an example: replace it with the key
      hint: it comes from the variable OVERMIND_LAB_API_KEY
    ");
    insta::assert_snapshot!(told(&format!("ovr_\u{200b}{KEY}")), @"
    $ overmind-export datasets
    exit 78
    error: the API key cannot be used: its character 5 is U+200B, which is invisible, and no key has that
      hint: it comes from the variable OVERMIND_LAB_API_KEY
    ");
    key_file(&world, "a.key", format!("OVERMIND_API_KEY={KEY}\n"));
    key_file(&world, "16.key", b"\xff\xfeo\0v\0r\0_\0");
    let files = ["datasets --api-key-file a.key", "datasets --api-key-file 16.key"];
    insta::assert_snapshot!(session(&world, &files), @"
    $ overmind-export datasets --api-key-file a.key
    exit 78
    error: the API key cannot be used: it is an assignment: give only the part after the =
      hint: it comes from the file a.key (--api-key-file), not from the variable OVERMIND_LAB_API_KEY

    $ overmind-export datasets --api-key-file 16.key
    exit 78
    error: cannot use the key file 16.key
      cause: it is UTF-16, as PowerShell writes it: save it as UTF-8
    ");
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn refused_key_error_names_its_source() {
    let world = world();
    key_file(&world, "wrong.key", "ovr_wrong_5f3c9b\n");
    let config = "[api]\n# Of the team.\napi_key_file = \"wrong.key\"\n";
    fs::write(world.path("snapshots.toml"), config).unwrap();
    let variable = session_with(&world, &["datasets"], |it| {
        it.env_remove("OVERMIND_LAB_API_KEY").env("OVERMIND_API_KEY", "ovr_wrong_5f3c9b");
    });
    insta::assert_snapshot!(variable, @"
    $ overmind-export datasets
    exit 77
    error: the API refuses the key
      cause: GET http://API/api/datasets/ answered 401 Unauthorized: Invalid API key. (invalid_api_key)
      hint: the key is unknown, inactive or expired; the key comes from the variable OVERMIND_API_KEY
    ");
    // The flag wins over the variable.
    insta::assert_snapshot!(session(&world, &["datasets --api-key-file wrong.key"]), @"
    $ overmind-export datasets --api-key-file wrong.key
    exit 77
    error: the API refuses the key
      cause: GET http://API/api/datasets/ answered 401 Unauthorized: Invalid API key. (invalid_api_key)
      hint: the key is unknown, inactive or expired; the key comes from the file wrong.key (--api-key-file), not from the variable OVERMIND_LAB_API_KEY
    ");
    let configured = session_with(&world, &["datasets --config snapshots.toml"], |it| {
        it.env_remove("OVERMIND_LAB_API_KEY");
    });
    insta::assert_snapshot!(configured, @"
    $ overmind-export datasets --config snapshots.toml
    exit 77
    error: the API refuses the key
      cause: GET http://API/api/datasets/ answered 401 Unauthorized: Invalid API key. (invalid_api_key)
      hint: the key is unknown, inactive or expired; the key comes from the file FOLDER/wrong.key (api_key_file in line 3 of FOLDER/snapshots.toml)
    ");
    // The variable wins over the configuration file, and the message says so: perhaps the file is newer.
    let told = session(&world, &["datasets --config snapshots.toml -q"]);
    assert!(told.contains("exit 0"), "{told}");
    let old = session_with(&world, &["datasets --config snapshots.toml"], |it| {
        it.env("OVERMIND_LAB_API_KEY", "ovr_old_5f3c9b");
    });
    insta::assert_snapshot!(old, @"
    $ overmind-export datasets --config snapshots.toml
    exit 77
    error: the API refuses the key
      cause: GET http://API/api/datasets/ answered 401 Unauthorized: Invalid API key. (invalid_api_key)
      hint: the key is unknown, inactive or expired; the key comes from the variable OVERMIND_LAB_API_KEY, not from the file FOLDER/wrong.key (api_key_file in line 3 of FOLDER/snapshots.toml)
    ");
}
