//! The check value of a record that a later run reads: the SHA-256 of its JSON text. It is the last member, `check`.
//!
//! A later run publishes what these records say. So it does not use a record that was damaged or edited since. The value
//! needs no key: a program that can write to the staging can replace the parts and their records as well.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result},
    text::{grouped, hex},
};

/// The text before the check value.
const BEFORE: &[u8] = b",\"check\":\"";
/// The text after it.
const AFTER: &[u8] = b"\"}";
/// The hint for the record of an export that is too large.
pub(super) const FEWER_PARTS: &str = "write fewer and larger parts, with a greater `rows_per_file`";
/// Hexadecimal digits of a check value.
const DIGITS: usize = 64;

/// Returns the JSON text of a record, with its check value. The record must be an object with at least one member.
pub(crate) fn sealed(record: &impl Serialize) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(record);
    json.map(seal).map_err(|error| Error::Internal(format!("record: {error}")))
}

/// Adds the check value to the JSON text of an object.
pub(super) fn seal(mut json: Vec<u8>) -> Vec<u8> {
    if json.last() == Some(&b'}') {
        json.pop();
        let check = hex(&Sha256::digest(&json));
        json.extend([BEFORE, check.as_bytes(), AFTER].concat());
    }
    json
}

/// Whether a text has a check value, and is as it was when it got the value.
pub(super) fn is_intact(json: &[u8]) -> bool {
    let checked = json.strip_suffix(AFTER).and_then(|text| {
        let (text, check) = text.split_at_checked(text.len().checked_sub(DIGITS)?)?;
        Some((text.strip_suffix(BEFORE)?, check))
    });
    checked.is_some_and(|(text, check)| hex(&Sha256::digest(text)).as_bytes() == check)
}

/// Parses a record; `None` if it was changed, or if it is not such a record.
pub(crate) fn opened<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if is_intact(json) { serde_json::from_slice(json).ok() } else { None }
}

/// Refuses to write a record that no later run would read, because it has more than `most` bytes. `hint` says how to make
/// it shorter.
///
/// # Errors
/// [`Error::Output`] for this output.
pub(super) fn check_size(
    what: &str,
    json: &[u8],
    most: u64,
    (output, hint): (&Path, &'static str),
) -> Result<()> {
    let bytes = json.len() as u64;
    if bytes <= most {
        return Ok(());
    }
    let (bytes, most) = (grouped(bytes), grouped(most));
    let why = format!("{what} has {bytes} bytes, and at most {most} are read");
    Err(Error::Output { path: output.to_owned(), why, hint: Some(hint), source: None })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Record = BTreeMap<String, String>;

    #[test]
    fn any_changed_byte_is_found() {
        let record = Record::from([("a".to_owned(), "1".to_owned())]);
        let json = sealed(&record).unwrap();
        let mut found: Record = opened(&json).unwrap();
        assert_eq!(found.remove("check").map(|check| check.len()), Some(DIGITS));
        assert_eq!(found, record);
        for at in 0..json.len() {
            let mut changed = json.clone();
            changed[at] ^= 1;
            assert_eq!(opened::<Record>(&changed), None, "byte {at}");
            assert_eq!(opened::<Record>(&json[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn record_without_a_check_value_is_refused() {
        for json in ["", "{}", "{\"a\":\"1\"}", ",\"check\":\"\"}", "{\"check\":\"0\"}"] {
            assert_eq!(opened::<Record>(json.as_bytes()), None, "{json}");
        }
    }
}
