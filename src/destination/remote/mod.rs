//! Destinations in object stores.
//!
//! In such a store, an object appears as a whole, nothing can be renamed, and a conditional put can require
//! that a name is free.

mod commit;
mod completion;
mod content;
mod control;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod gathering;
mod host;
mod kept;
mod lock;
mod names;
mod object;
mod pending;
mod plan_prefix;
mod prefix;
mod put;
mod trial;
mod upload;

use serde_json::Value;

use self::{
    control::{control_folder, inside},
    names::{HEADER, PLAN, is_commit_name, is_control_name, is_upload_name},
    pending::{drop_pending, drop_upload, is_pending_name},
    trial::drop_trials,
};
pub(crate) use self::{
    gathering::{CheckedUploads, abort_plan, finish_begun},
    lock::{LeaseWatch, Lock},
    object::Object,
    plan_prefix::{PlanPrefix, RangeUploads},
    prefix::Prefix,
    upload::Upload,
};
use super::{Header, Interrupted, OutputRequest, PlanUse, Resumable, resumable::not_resumed};
use crate::{
    error::{Error, Result},
    location::{Location, Remote, Target, UNREACHABLE},
    record::layout::PartLayout,
};

/// Takes the lock of a job's folder.
pub(super) fn lock(folder: &Remote) -> Result<Lock> {
    lock_in(&inside(folder), folder)
}

fn lock_in(control: &Remote, target: &Remote) -> Result<Lock> {
    Lock::acquire(&control.with_short_limit(), target, lock::LEASE).map_err(unusable(target))
}

/// Releases the lock, and removes the leases of ended runs.
pub(super) fn unlock(lock: Lock) -> Result<()> {
    // If the lock was lost, another lease may belong to a live run.
    if lock.confirm().is_ok() {
        lock.forget_others()?;
    }
    lock.release()
}

/// Returns the interrupted export to this prefix, if there is one.
pub(super) fn interrupted(
    target: &Remote,
    staging: Option<&Location>,
) -> Result<Option<Interrupted>> {
    kept::interrupted(&control_folder(target, None, staging)?)
}

/// Returns what a run with this header would keep of an interrupted export.
pub(super) fn resumable(
    target: &Remote,
    wanted: &OutputRequest,
    header: &Header,
) -> Result<Option<Resumable>> {
    let control = control_folder(target, wanted.record.as_ref(), wanted.staging.as_ref())?;
    let Some(begun) = kept::begun(&control)? else { return Ok(None) };
    let names = control.names()?;
    let parts = kept::finished_parts(&control, &names, &begun.lineage, &wanted.layout)?;
    match begun.header.difference(header).filter(|_| !parts.is_empty()) {
        Some(difference) => Err(not_resumed(target.to_string().into(), &difference)),
        None => {
            let kept = parts.iter().map(|pending| &pending.kept);
            Ok(Resumable::of(kept, wanted.layout.width()))
        }
    }
}

/// Finishes the publication that an ended run has begun, if there is one. Otherwise removes the control objects of
/// ended runs if no part can be resumed: a run was killed before it wrote its plan, or after its publication.
pub(super) fn finish(
    location: &Location,
    target: &Remote,
    record: &Location,
    staging: &Location,
) -> Result<()> {
    let wanted = replacing(location, Some(record), Some(staging));
    let control = control_folder(target, Some(record), Some(staging))?;
    let names = control.names()?;
    if names.iter().any(|name| is_commit_name(name)) {
        Prefix::probe(location, target, &wanted, false)?.abandon();
    } else if !names.iter().any(|name| name == HEADER)
        && names.iter().any(|name| is_control_name(name))
    {
        return clear_leftovers(target, &control, record.as_remote());
    }
    Ok(())
}

/// Removes the control objects that a commit of a plan has left after its publication.
pub(super) fn tidy_published(target: &Remote) -> Result<()> {
    for control in plan_prefix::control_folders(target) {
        let names = control.names()?;
        let is_used = |name: &String| name == HEADER || name == PLAN || is_commit_name(name);
        if !names.iter().any(is_used) && names.iter().any(|name| is_control_name(name)) {
            clear_leftovers(target, &control, None)?;
        }
    }
    Ok(())
}

fn clear_leftovers(target: &Remote, control: &Remote, record: Option<&Remote>) -> Result<()> {
    let lock = match lock_in(control, target) {
        // A live run: these objects are not leftovers.
        Err(Error::Locked { .. }) => return Ok(()),
        lock => lock?,
    };
    let names = control.names()?;
    // The run that held the lock just before may have written its plan.
    if names.iter().any(|name| name == HEADER || name == PLAN || is_commit_name(name)) {
        return lock.release();
    }
    if let Some(record) = record {
        drop_trials(record, &names, &lock)?;
    }
    for name in names.iter().filter(|name| is_control_name(name)) {
        if is_upload_name(name) {
            drop_upload(target, control, name)?;
        } else if is_pending_name(name) {
            drop_pending(target, control, name)?;
        }
    }
    clear_and_release(control, lock)
}

/// Deletes the parts and control objects that interrupted runs left at a prefix. If a run had begun to
/// publish, this finishes the publication instead.
pub(super) fn discard(
    location: &Location,
    target: &Remote,
    record: Option<&Location>,
    staging: Option<&Location>,
) -> Result<()> {
    let wanted = replacing(location, record, staging);
    let mut prefix = Prefix::probe(location, target, &wanted, false)?;
    let nothing = Header { plan: Value::Null, count: 0, started_at: String::new() };
    let dropped = prefix.resume(&nothing, true).map(drop);
    prefix.abandon();
    dropped
}

/// The request for an output that need not be free.
fn replacing(
    location: &Location,
    record: Option<&Location>,
    staging: Option<&Location>,
) -> OutputRequest {
    OutputRequest {
        target: Target::Directory(location.clone()),
        overwrite: true,
        sidecar: false,
        record: record.cloned(),
        staging: staging.cloned(),
        success_file: false,
        layout: PartLayout::default(),
        in_drafts: false,
        plan_use: PlanUse::Allow,
        temp_dir: std::env::temp_dir(),
    }
}

/// Turns a store error of the first requests into an output error: the prefix cannot be used, cannot be written,
/// or its objects cannot be removed.
fn unusable(target: &Remote) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Store { action, hint, source, .. } => {
            let removal = action == "remove" && hint != Some(UNREACHABLE);
            let why = match action {
                _ if removal => "can be written, but objects cannot be removed there",
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

/// The hint for a store where this run cannot remove objects.
const REMOVAL: &str = "a run deletes its lock and its temporary objects: allow it to delete there \
                       (s3:DeleteObject), and use a bucket without a retention policy";

/// Replaces the hint of a store error.
fn with_hint(hint: &'static str) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Store { action, url, source, .. } => {
            Error::Store { action, url, hint: Some(hint), source }
        }
        error => error,
    }
}

/// Returns the error of a failed publication: [`Error::LockLost`] if the lock was lost, otherwise `error`.
fn or_lost(lock: &Lock, error: Error) -> Error {
    match lock.confirm() {
        Err(lost @ Error::LockLost { .. }) => lost,
        _ => error,
    }
}

/// Removes the control objects of a finished run, its commit last. Keeps the lock, the lease, journals of
/// uploads that could not be aborted, and objects that no run has created.
fn clear_control(control: &Remote, lock: &Lock) -> Result<()> {
    let mine = format!("lease-{}", lock.token());
    let stays = |name: &String| {
        let kind = name.starts_with("lock-") || name.starts_with("upload-");
        kind || *name == mine || !is_control_name(name)
    };
    let names = control.names()?.into_iter().filter(|name| !stays(name));
    let (last, first): (Vec<_>, Vec<_>) = names.partition(|name| is_commit_name(name));
    control.remove_all(first)?;
    control.remove_all(last)
}

/// Removes the control objects, then releases the lock.
fn clear_and_release(control: &Remote, lock: Lock) -> Result<()> {
    let cleared = clear_control(control, &lock);
    lock.release().and(cleared)
}
