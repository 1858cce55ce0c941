//! One run at a time writes a place in a store, made of conditional puts alone.
//!
//! ```text
//! lock-00001.json     made only if it is not there, and never changed: who holds it
//! lease-TOKEN         put again every third of a lease by the run of that token
//! ```
//!
//! The highest number holds. A run that finds a holder takes over with the next number if the holder is
//! known to be gone, or if its lease was not put for as long as a lease lasts. A holder that sees a
//! higher number, or cannot put its lease for that long, has lost, and publishes nothing. Deletes
//! nothing but locks below its own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};
use tokio::{select, task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

use super::host::{AtWork, HolderFate, Process};
use crate::{
    error::{Error, Result, human},
    location::{Backend, Remote, spawn, wait},
};

/// How long a lease lasts: what a run that died on another machine keeps others waiting.
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// What a lock may say at most, so that no lock blocks for ever.
const LONGEST: Duration = Duration::from_secs(600);
/// Bytes of a lock, which has a few hundred.
const LARGEST_LOCK: u64 = 64 << 10;
/// Attempts to get the next number before other runs; each that fails means that one of them has it.
const ATTEMPTS: usize = 10;

#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    token: String,
    lease_seconds: f64,
    #[serde(flatten)]
    process: Process,
}

/// Tells when there is no use in going on, and why; clones tell the same.
#[derive(Debug, Clone)]
pub(crate) struct LeaseWatch(Arc<LeaseState>);

impl LeaseWatch {
    /// Ends what is on its way: the run is told to stop.
    pub(crate) fn stop(&self) {
        self.0.stop.cancel();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    pub(super) async fn stopped(&self) {
        self.0.stop.cancelled().await;
    }

    /// Makes a request, and gives it up when there is no use in it any more: what arrives after the
    /// lock was lost could undo what another run does.
    pub(super) fn guard<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let watch = self.clone();
        let done = wait(async move {
            select! {
                biased;
                () = watch.stopped() => None,
                done = request => Some(done),
            }
        })?;
        done.ok_or_else(|| self.error())
    }

    /// Comes when the lock is lost.
    pub(crate) async fn lost(&self) -> Error {
        self.0.stop.cancelled().await;
        match self.0.error() {
            Some(error) => error,
            // It was told to stop, which has an error of its own.
            None => std::future::pending().await,
        }
    }

    /// Why an upload was given up.
    pub(super) fn error(&self) -> Error {
        let stopped = || Error::Internal("an upload that was given up went on".to_owned());
        self.0.error().unwrap_or_else(stopped)
    }
}

/// The lock, held and renewed until it is dropped or released.
#[derive(Debug)]
pub(crate) struct Lock {
    control: Remote,
    token: String,
    number: u32,
    state: Arc<LeaseState>,
    renewal: JoinHandle<()>,
    _at_work: AtWork,
}

#[derive(Debug)]
struct LeaseState {
    /// What is locked, for errors.
    target: String,
    lost: Mutex<Option<String>>,
    /// Ends uploads when the lock is lost, or when the run is told to stop.
    stop: CancellationToken,
}

impl LeaseState {
    fn lose(&self, why: String) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stop.cancel();
    }

    fn error(&self) -> Option<Error> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.clone().map(|why| Error::LockLost { path: self.target.clone().into(), why })
    }
}

fn lock_name(number: u32) -> String {
    format!("lock-{number:05}.json")
}

fn lease_name(token: &str) -> String {
    format!("lease-{token}")
}

/// The number of a lock that has the very name that this number gives. A larger one than runs can get
/// to is none of theirs: there must be room for the next.
fn number(name: &str) -> Option<u32> {
    const LARGEST: u32 = 999_999_999;
    let number = name.strip_prefix("lock-")?.strip_suffix(".json")?.parse().ok()?;
    (number <= LARGEST && lock_name(number) == name).then_some(number)
}

/// Refuses if a run that is known to be alive holds the lock; takes nothing.
pub(super) fn check_unlocked(control: &Remote, target: &Remote) -> Result<()> {
    match highest(control)? {
        Some((_, Some(holder))) if holder.process.fate(&holder.token) == HolderFate::Alive => {
            Err(locked(target))
        }
        _ => Ok(()),
    }
}

impl Lock {
    /// Takes the lock, with a fresh token; waits for at most one lease of a holder of which nothing is
    /// known.
    pub(in crate::destination) fn acquire(
        control: &Remote,
        target: &Remote,
        lease: Duration,
    ) -> Result<Self> {
        let token = format!("{:08x}", fastrand::u32(..));
        let at_work = AtWork::begin(&token);
        for _ in 0..ATTEMPTS {
            let before = highest(control)?;
            if let Some((number, Some(holder))) = &before
                && !is_over(control, *number, holder, target)?
            {
                return Err(locked(target));
            }
            // It went away while it was looked at: from the beginning.
            if before.is_some() && identity(&highest(control)?) != identity(&before) {
                continue;
            }
            let number = before.map_or(0, |(number, _)| number) + 1;
            let begun = Instant::now();
            let taken = claim(control, number, &token, lease)
                .and_then(|claimed| claimed.then(|| forget_lower(control, number)).transpose());
            match taken {
                Ok(Some(())) => {
                    let lock = Held { token, number, lease, begun };
                    return Self::held(control, target, lock, at_work);
                }
                Ok(None) => control.child(&lease_name(&token)).remove()?,
                Err(error) => {
                    // Best effort: whatever stays is found to be over by the next run.
                    drop(withdraw(control, number, &token));
                    return Err(error);
                }
            }
        }
        Err(locked(target))
    }

    fn held(control: &Remote, target: &Remote, held: Held, at_work: AtWork) -> Result<Self> {
        let (stop, target) = (CancellationToken::new(), target.to_string());
        let state = Arc::new(LeaseState { target, lost: Mutex::default(), stop });
        let control = control.unhurried();
        let (store, path) = control.target()?;
        let (token, number) = (held.token.clone(), held.number);
        let renewal = spawn(renew(store, path, held, state.clone()))?;
        Ok(Self { control, token, number, state, renewal, _at_work: at_work })
    }

    /// What makes the names of this run its own.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Tells when there is no use in going on.
    pub(super) fn watch(&self) -> LeaseWatch {
        LeaseWatch(self.state.clone())
    }

    /// Whether the lock was lost, as far as is known without asking.
    pub(super) fn check(&self) -> Result<()> {
        self.state.error().map_or(Ok(()), Err)
    }

    /// Asks the store whether this run holds the lock still.
    pub(in crate::destination) fn confirm(&self) -> Result<()> {
        self.check()?;
        match highest(&self.control)? {
            Some((number, Some(holder))) if number == self.number && holder.token == self.token => {
            }
            _ => self.state.lose(TAKEN.to_owned()),
        }
        self.check()
    }

    /// Removes the leases of runs that are gone. One that was only about to begin puts its own again.
    pub(super) fn forget_others(&self) -> Result<()> {
        let mine = lease_name(&self.token);
        let names = self.control.names()?;
        let others = names.into_iter().filter(|name| name.starts_with("lease-") && *name != mine);
        self.control.remove_all(others)
    }

    /// Lets others have it.
    pub(in crate::destination) fn release(self) -> Result<()> {
        self.renewal.abort();
        withdraw(&self.control, self.number, &self.token)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Takes a number; `false` if another run was faster.
fn claim(control: &Remote, number: u32, token: &str, lease: Duration) -> Result<bool> {
    let process = Process::this();
    let holder = Holder { token: token.to_owned(), lease_seconds: lease.as_secs_f64(), process };
    let json = serde_json::to_vec_pretty(&holder)
        .map_err(|error| Error::Internal(format!("lock: {error}")))?;
    let lease = control.child(&lease_name(token));
    lease.write(b"0")?;
    // A run that can remove nothing could neither let go of its lock nor tidy up. Known now, that costs
    // no page.
    lease.remove()?;
    lease.write(b"0")?;
    let lock = control.child(&lock_name(number));
    lock.create(&json)?;
    // What is there decides. A refusal may be the second answer to a put whose first was lost, and a
    // store that does not know the condition takes every put; then the last one holds.
    Ok(is_mine(lock.read_control()?.as_deref(), token))
}

/// Removes the locks that this number took over.
fn forget_lower(control: &Remote, number: u32) -> Result<()> {
    for name in control.names()? {
        if self::number(&name).is_some_and(|other| other < number) {
            control.child(&name).remove()?;
        }
    }
    Ok(())
}

fn withdraw(control: &Remote, number: u32, token: &str) -> Result<()> {
    control.child(&lease_name(token)).remove()?;
    // One that was lost may be another's by now.
    let lock = control.child(&lock_name(number));
    if is_mine(lock.read_control()?.as_deref(), token) {
        lock.remove()?;
    }
    Ok(())
}

const TAKEN: &str = "another run has taken it over";

fn locked(target: &Remote) -> Error {
    Error::Locked { path: target.to_string().into() }
}

fn is_mine(lock: Option<&[u8]>, token: &str) -> bool {
    let holder = lock.and_then(|json| serde_json::from_slice::<Holder>(json).ok());
    holder.is_some_and(|holder| holder.token == token)
}

/// The lock that holds; without a holder if it cannot be read, as after a crash of another version.
fn highest(control: &Remote) -> Result<Option<(u32, Option<Holder>)>> {
    let Some(number) = control.names()?.iter().filter_map(|name| number(name)).max() else {
        return Ok(None);
    };
    let json = control.child(&lock_name(number)).read_control()?;
    let Some(json) = json else { return Ok(None) };
    Ok(Some((number, serde_json::from_slice(&json).ok())))
}

/// Numbers are given again once a lock is released, a number and a token are not.
fn identity(lock: &Option<(u32, Option<Holder>)>) -> Option<(u32, Option<&str>)> {
    let (number, holder) = lock.as_ref()?;
    Some((*number, holder.as_ref().map(|holder| holder.token.as_str())))
}

/// Whether a holder is gone. Watches its lease if that is all there is to go by.
fn is_over(control: &Remote, number: u32, holder: &Holder, target: &Remote) -> Result<bool> {
    match holder.process.fate(&holder.token) {
        HolderFate::Alive => return Ok(false),
        HolderFate::Gone => return Ok(true),
        HolderFate::Unknown => {}
    }
    let lease = Duration::try_from_secs_f64(holder.lease_seconds).unwrap_or(LEASE).min(LONGEST);
    tracing::warn!(
        "{target} is locked by a run on another machine: waiting for {} to see whether it is alive",
        human(lease)
    );
    let seen = control.child(&lease_name(&holder.token));
    let before = seen.read_control()?;
    let begun = Instant::now();
    while begun.elapsed() < lease {
        thread::sleep((lease / 20).min(lease.saturating_sub(begun.elapsed())));
        if seen.read_control()? != before {
            // It went away with its run, or was renewed.
            let held = Some((number, Some(holder.token.as_str())));
            return Ok(identity(&highest(control)?) != held);
        }
    }
    Ok(true)
}

/// What there is to renew.
struct Held {
    token: String,
    number: u32,
    lease: Duration,
    /// Before its lease was put for the first time.
    begun: Instant,
}

async fn renew(store: Arc<dyn Backend>, control: Path, held: Held, state: Arc<LeaseState>) {
    let Held { token, number, lease, begun: mut renewed } = held;
    let path = Path::from(format!("{control}/{}", lease_name(&token)));
    for count in 1_u64.. {
        time::sleep(lease / 3).await;
        let left = lease.saturating_sub(renewed.elapsed());
        // Others count from when they see it: from an answer it would seem to last longer.
        let begun = Instant::now();
        let round = async {
            let holds = holds(&*store, &control, number, &token).await?;
            if holds {
                store.put(&path, count.to_string().into()).await?;
            }
            Ok::<bool, object_store::Error>(holds)
        };
        match time::timeout(left, round).await {
            Ok(Ok(true)) => renewed = begun,
            Ok(Ok(false)) => return state.lose(TAKEN.to_owned()),
            Ok(Err(_)) | Err(_) if renewed.elapsed() >= lease => {
                return state.lose(format!("the store did not answer for {}", human(lease)));
            }
            // The next round, which is soon, tries again.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Whether the lock of this number is the highest, and of this token still.
async fn holds(
    store: &dyn Backend,
    control: &Path,
    number: u32,
    token: &str,
) -> object_store::Result<bool> {
    let names = store.list(Some(control)).map_ok(|object| object.location);
    let names: Vec<Path> = names.try_collect().await?;
    let numbers = names.iter().filter_map(|path| self::number(path.filename()?));
    if numbers.max() != Some(number) {
        return Ok(false);
    }
    match store.get(&Path::from(format!("{control}/{}", lock_name(number)))).await {
        // A larger one was put in its place.
        Ok(lock) if lock.meta.size > LARGEST_LOCK => Ok(false),
        Ok(lock) => Ok(is_mine(Some(&lock.bytes().await?), token)),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
