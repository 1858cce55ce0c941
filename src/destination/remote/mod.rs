//! Destinations in object stores, with what such a store can and cannot do: an object appears whole,
//! nothing can be renamed, and a put can be made to depend on the name being free.

mod host;
mod kept;
mod lock;
mod object;
mod prefix;
mod seen;
mod upload;

use serde_json::Value;

pub(crate) use self::{
    lock::{Lock, Watch},
    object::Object,
    prefix::Prefix,
    upload::Upload,
};
use super::{CONTROL, Header, Interrupted};
use crate::{
    error::{Error, Result},
    location::{Location, Remote},
};

/// Takes the lock of a prefix for something other than writing it.
pub(super) fn lock(target: &Remote) -> Result<Lock> {
    Lock::acquire(&target.child(CONTROL), target, lock::LEASE).map_err(unusable(target))
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
            let why = match action {
                "list" => "cannot be used",
                _ => "cannot be written",
            };
            let path = target.to_string().into();
            Error::Output { path, why: why.to_owned(), hint, source: Some(source) }
        }
        error => error,
    }
}

/// Removes the control objects, the lock last. What is known of uploads that could not be aborted
/// stays for the next run.
fn clear_control(control: &Remote, lock: Lock) -> Result<()> {
    let mine = format!("lease-{}", lock.token());
    let stays =
        |name: &String| name.starts_with("lock-") || name.starts_with("upload-") || *name == mine;
    control.remove_all(control.names()?.into_iter().filter(|name| !stays(name)))?;
    lock.release()
}
