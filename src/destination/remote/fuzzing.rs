//! The target for fuzzers of control objects: anyone who can write to a bucket can put any of them there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken invariant ends the fuzzer"
)]

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    commit::BegunCommit,
    kept::BegunParts,
    lock::{Holder, LONGEST, lock_name, number},
    names::{
        is_commit_name, is_control_name, is_ids_name, is_upload_name, journal_name, leased_token,
        uploaded_name,
    },
    pending::{PendingPart, ids_name, is_pending_name, pending_name},
    upload::BegunUpload,
};
use crate::{
    destination::{
        opened,
        sealed::{is_intact, seal, sealed},
    },
    location::Location,
    record::manifest::{MANIFEST, is_part_name},
    sink::Encoding,
};

/// A control object: a line with its name, then its content.
pub(crate) fn control(bytes: &[u8]) {
    let at = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let (name, json) = (String::from_utf8_lossy(&bytes[..at]), bytes.get(at + 1..).unwrap_or(b""));
    named(&name);
    let unsealed = json;
    let sealed_json;
    let json = match is_intact(json) {
        true => json,
        // Otherwise a fuzzer would never get beyond the check value.
        false => {
            sealed_json = seal(json.to_vec());
            &*sealed_json
        }
    };
    if let Some(pending) = PendingPart::parse(json, &name) {
        let part = &pending.kept.part;
        assert!(is_control_name(&name) && is_pending_name(&name) && is_part_name(&part.path));
        assert!((1..=part.last_page).contains(&part.first_page));
        part.last_page.checked_add(1).expect("a next page");
        let text = sealed(&pending).expect("JSON");
        let again = PendingPart::parse(&text, &name).expect("the record of a part");
        assert_eq!(sealed(&again).expect("JSON"), text);
    }
    if let Some(commit) = BegunCommit::parse(json, &name, &Location::from("out")) {
        let text = commit.to_json().expect("JSON");
        let again = BegunCommit::parse(&text, &name, &Location::from("out")).expect("a commit");
        assert_eq!(again.to_json().expect("JSON"), text);
    }
    if let Some(holder) = Holder::parse(unsealed) {
        assert!(holder.lease() <= LONGEST);
        // Any process id, any start time.
        let _ = holder.status();
    }
    same::<BegunUpload>(unsealed);
    if let Some(begun) = opened::<BegunParts>(json) {
        assert_eq!(begun.header.difference(&begun.header), None);
    }
}

/// The functions that decide by its name what an object is.
fn named(name: &str) {
    if is_control_name(name) {
        assert!(!name.contains('/') && !name.ends_with(".json"), "{name}");
        assert!(Encoding::of_path(Path::new(name)).is_none(), "{name} is data to a glob");
        assert!(!is_part_name(name) && name != MANIFEST, "{name}");
    }
    if is_commit_name(name) || is_upload_name(name) || leased_token(name).is_some() {
        assert!(is_control_name(name), "{name}");
    }
    if is_part_name(name) {
        let own = [pending_name(name), ids_name(name), journal_name(name)];
        assert!(own.iter().all(|name| is_control_name(name)), "{own:?}");
        assert!(is_pending_name(&own[0]) && is_ids_name(&own[1]) && is_upload_name(&own[2]));
        assert_eq!(uploaded_name(&own[2]).as_deref(), Some(name));
    }
    if let Some(of) = uploaded_name(name) {
        assert_eq!(journal_name(&of), name);
    }
    if let Some(number) = number(name) {
        assert_eq!(lock_name(number), name);
        assert!(is_control_name(name) && number.checked_add(1).is_some());
    }
}

/// Asserts that a value is read as it was written.
fn same<T: Serialize + DeserializeOwned>(json: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(json) else { return };
    let text = written(&value);
    let again = serde_json::from_slice::<T>(&text).expect("JSON that this version wrote");
    assert_eq!(written(&again), text);
}

fn written(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}
