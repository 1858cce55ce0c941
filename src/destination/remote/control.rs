//! Where a run keeps its control objects: its lock, its plan, and the ids of its uploads.
//!
//! ```text
//! _rows.partial/                                 next to the object or prefix `rows`
//! ROOT/.overmind/JOB/_snapshot=STAMP.partial/    for a snapshot of a job
//! rows/_overmind/                                inside: the user chose the place of the record
//! _overmind/                                     in the root of a bucket
//! ```
//!
//! A prefix holds only parts, because many programs read each object below it as data. Inside is the exception:
//! a run that was given `record` may be allowed to write below the prefix only, and a bucket has nothing next to it.
//!
//! Two runs to one prefix with different control folders do not see each other's lock. So a run whose folder is
//! elsewhere refuses a prefix with a folder inside, also just before its commit. A run whose folder is inside
//! looks for a run next to the prefix before it begins, if it is allowed to look.

use super::{
    lock::{check_ended, check_unlocked},
    names::{PLAN, is_commit_name},
    unusable,
};
use crate::{
    destination::{CONTROL, control_name, range_record::is_planned},
    error::{Error, Result},
    location::{Location, Remote, UNREACHABLE},
};

/// The hint for a control folder next to the prefix that this run may not use.
const NEXT_TO: &str = "a run keeps its state there until it ends: allow it to list, read, write and delete there, or \
                       give a place for the record below the prefix with `record`: then the state is there, too";

/// Returns the control folder of a prefix. `record` and `staging` are those of the
/// [`OutputRequest`](crate::destination::OutputRequest).
pub(super) fn control_folder(
    target: &Remote,
    record: Option<&Location>,
    staging: Option<&Location>,
) -> Result<Remote> {
    if let Some(staging) = staging {
        let staging = staging.as_remote();
        let staging = staging.ok_or_else(|| Error::Internal("the staging is local".to_owned()))?;
        return Ok(staging.child(&control_name(target.name())));
    }
    let is_inside = record.is_some() || is_bucket(target);
    Ok(if is_inside { inside(target) } else { next_to(target) })
}

/// The control folder inside a prefix.
pub(super) fn inside(target: &Remote) -> Remote {
    target.child(CONTROL)
}

/// The control folder next to an object or a prefix. A bucket has none.
pub(super) fn next_to(target: &Remote) -> Remote {
    target.sibling(&control_name(target.name()))
}

fn is_bucket(target: &Remote) -> bool {
    target.name().is_empty()
}

/// Checks that no run is active whose control folder is next to the prefix, and that none has begun to publish.
/// Needed only if the control folder of this run is inside. Does nothing if this run may not look there.
pub(super) fn check_next_to(target: &Remote, control: &Remote, dry_run: bool) -> Result<()> {
    let other = next_to(target);
    let looks = !is_bucket(target) && control.is_same(&inside(target));
    if !looks || !other.names().is_ok_and(|names| !names.is_empty()) {
        return Ok(());
    }
    let check = if dry_run { check_unlocked } else { check_ended };
    if let Err(locked @ Error::Locked { .. }) = check(&other, target) {
        return Err(locked);
    }
    if other.names().is_ok_and(|names| names.iter().any(|name| name == PLAN)) {
        return Err(is_planned(target.to_string().into()));
    }
    // Its publication would mix two exports.
    if other.names().is_ok_and(|names| names.iter().any(|name| is_commit_name(name))) {
        return Err(Error::Output {
            path: target.to_string().into(),
            why: format!(
                "an interrupted run has begun to publish an export there, with its state in {other}"
            ),
            hint: Some("leave out `record`, as that run did"),
            source: None,
        });
    }
    Ok(())
}

/// Turns the error of a run that may not use the control folder next to its prefix into an error with a hint.
pub(super) fn not_allowed(target: &Remote, control: &Remote) -> impl Fn(Error) -> Error {
    let (is_next_to, control) = (control.is_same(&next_to(target)), control.clone());
    move |error| match error {
        Error::Store { action, url, hint: Some(hint), source }
            if is_next_to && action != "remove" && hint != UNREACHABLE =>
        {
            unusable(&control)(Error::Store { action, url, hint: Some(NEXT_TO), source })
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_folder_depends_on_record_and_staging() {
        let folder = |target: &str, record: Option<&str>, staging: Option<&str>| {
            let (record, staging) =
                (record.map(Location::in_memory), staging.map(Location::in_memory));
            let control =
                control_folder(&Remote::in_memory(target), record.as_ref(), staging.as_ref());
            control.unwrap().to_string()
        };
        assert_eq!(folder("rows", None, None), "s3://memory/_rows.partial");
        assert_eq!(folder("a/rows", None, None), "s3://memory/a/_rows.partial");
        assert_eq!(folder("a/rows", Some("b.json"), None), "s3://memory/a/rows/_overmind");
        assert_eq!(folder("", None, None), "s3://memory/_overmind");
        assert_eq!(folder("", Some("b.json"), None), "s3://memory/_overmind");
        let snapshot = "r/j/snapshot=20261123T020000Z";
        let hidden = "s3://memory/r/.overmind/j/_snapshot=20261123T020000Z.partial";
        assert_eq!(folder(snapshot, Some("b.json"), Some("r/.overmind/j")), hidden);
    }
}
