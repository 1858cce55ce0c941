//! The trial object: an empty object next to the record, written and removed before page 1. It shows that the
//! record can be written where it belongs. A run may be allowed to write only the prefix.
//!
//! A killed run can leave its trial object behind. Its lease then still exists, and the lease's name contains the
//! token.

use super::{
    lock::Lock,
    names::{leased_token, trial_name},
};
use crate::{
    error::{Error, Result},
    location::{Remote, UNREACHABLE},
};

/// The hint for a record that cannot be written.
const RECORD: &str =
    "allow it, or give a place for the record with `record`, for instance one below the prefix";

/// Checks that the record can be written.
pub(super) fn check_record(record: &Remote, lock: &Lock) -> Result<()> {
    let trial = trial(record, lock.token());
    let written = trial.write(b"").and_then(|()| trial.remove());
    written.map_err(|error| match error {
        Error::Store { hint, source, .. } => Error::Output {
            path: record.to_string().into(),
            why: "cannot be written".to_owned(),
            hint: Some(hint.filter(|hint| *hint == UNREACHABLE).unwrap_or(RECORD)),
            source: Some(source),
        },
        error => error,
    })
}

/// Removes the trial objects of ended runs, next to this record. `control` has the names of the control objects. The
/// caller holds the lock, so every other lease is of an ended run.
pub(super) fn drop_trials(record: &Remote, control: &[String], lock: &Lock) -> Result<()> {
    let tokens = control.iter().filter_map(|name| leased_token(name));
    let mut ended = tokens.filter(|token| *token != lock.token());
    ended.try_for_each(|token| trial(record, token).remove())
}

fn trial(record: &Remote, token: &str) -> Remote {
    record.sibling(&trial_name(record.name(), token))
}
