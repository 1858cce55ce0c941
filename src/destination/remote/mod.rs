//! Destinations in object stores, with what such a store can and cannot do: an object appears whole,
//! nothing can be renamed, and a put can be made to depend on the name being free.

mod host;
mod kept;
mod lock;
mod names;
mod object;
mod prefix;
mod put;
mod seen;
mod upload;

use serde_json::Value;

use self::names::is_control_name;
pub(crate) use self::{
    lock::{LeaseWatch, Lock},
    object::Object,
    prefix::Prefix,
    upload::Upload,
};
use super::{CONTROL, Header, Interrupted};
use crate::{
    error::{Error, Result},
    location::{Location, Remote, UNREACHABLE},
};

/// Takes the lock of a prefix for something other than writing it.
pub(super) fn lock(target: &Remote) -> Result<Lock> {
    let control = target.hurried().child(CONTROL);
    Lock::acquire(&control, target, lock::LEASE).map_err(unusable(target))
}

/// Lets others have it, without what runs that are gone have left of their locks.
pub(super) fn unlock(lock: Lock) -> Result<()> {
    // Of one that was lost, the others' leases may be of a run that is alive.
    if lock.confirm().is_ok() {
        lock.forget_others()?;
    }
    lock.release()
}

/// What the run left that was interrupted while it wrote this prefix.
pub(super) fn interrupted(target: &Remote) -> Result<Option<Interrupted>> {
    kept::interrupted(&target.child(CONTROL))
}

/// Drops what interrupted runs have left at a prefix.
pub(super) fn discard(location: &Location, target: &Remote) -> Result<()> {
    let mut prefix = Prefix::probe(location, target, false, false, std::env::temp_dir())?;
    let nothing = Header { plan: Value::Null, count: 0, started_at: String::new() };
    let dropped = prefix.resume(&nothing, true).and_then(|_| prefix.retract());
    prefix.abandon();
    dropped
}

/// What was said about the first requests, as what it means for the run: it cannot write there.
fn unusable(target: &Remote) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Store { action, hint, source, .. } => {
            let removal = action == "remove" && hint != Some(UNREACHABLE);
            let why = match action {
                _ if removal => "can be written, but nothing can be removed there",
                "list" | "read" => "cannot be used",
                _ => "cannot be written",
            };
            let hint = if removal { Some(REMOVAL) } else { hint };
            let path = target.to_string().into();
            Error::Output { path, why: why.to_owned(), hint, source: Some(source) }
        }
        error => error,
    }
}

/// What to do where objects cannot be removed.
const REMOVAL: &str = "a run removes its lock and what it keeps for the next one: allow it to delete \
                       there (s3:DeleteObject), and use a bucket without a retention policy";

/// What the store said, with what is there and how to go on.
fn with_hint(hint: &'static str) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Store { action, url, source, .. } => {
            Error::Store { action, url, hint: Some(hint), source }
        }
        error => error,
    }
}

/// The error of a run that fails to publish: that another run has its lock, if one has.
fn or_lost(lock: &Lock, error: Error) -> Error {
    match lock.confirm() {
        Err(lost @ Error::LockLost { .. }) => lost,
        _ => error,
    }
}

/// Removes the control objects, the lock last. What is known of uploads that could not be aborted
/// stays for the next run, and so does what no run has put there.
fn clear_control(control: &Remote, lock: Lock) -> Result<()> {
    let mine = format!("lease-{}", lock.token());
    let stays = |name: &String| {
        let kind = name.starts_with("lock-") || name.starts_with("upload-");
        kind || *name == mine || !is_control_name(name)
    };
    control.remove_all(control.names()?.into_iter().filter(|name| !stays(name)))?;
    lock.release()
}
