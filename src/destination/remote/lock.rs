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
use tokio::{task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

use super::host::{AtWork, Fate, Process};
use crate::{
    error::{Error, Result, human},
    location::{Backend, Remote, spawn},
};

/// How long a lease lasts: what a run that died on another machine keeps others waiting.
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// What a lock may say at most, so that no lock blocks for ever.
const LONGEST: Duration = Duration::from_secs(600);
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
pub(crate) struct Watch(Arc<State>);

impl Watch {
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
    state: Arc<State>,
    renewal: JoinHandle<()>,
    _at_work: AtWork,
}

#[derive(Debug)]
struct State {
    /// What is locked, for errors.
    target: String,
    lost: Mutex<Option<String>>,
    /// Ends uploads when the lock is lost, or when the run is told to stop.
    stop: CancellationToken,
}

impl State {
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

fn number(name: &str) -> Option<u32> {
    name.strip_prefix("lock-")?.strip_suffix(".json")?.parse().ok()
}

/// Refuses if a run that is known to be alive holds the lock; takes nothing.
pub(super) fn check_unlocked(control: &Remote, target: &Remote) -> Result<()> {
    match highest(control)? {
        Some((_, Some(holder))) if holder.process.fate(&holder.token) == Fate::Alive => {
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
            let before = match highest(control)? {
                None => 0,
                Some((number, None)) => number,
                Some((number, Some(holder))) => {
                    if !is_over(control, number, &holder, target)? {
                        return Err(locked(target));
                    }
                    number
                }
            };
            // It went away while it was looked at: from the beginning.
            if before > 0 && highest(control)?.map(|(number, _)| number) != Some(before) {
                continue;
            }
            let holder = Holder {
                token: token.clone(),
                lease_seconds: lease.as_secs_f64(),
                process: Process::this(),
            };
            let json = serde_json::to_vec_pretty(&holder)
                .map_err(|error| Error::Internal(format!("lock: {error}")))?;
            control.child(&lease_name(&token)).write(b"0")?;
            let number = before + 1;
            let lock = control.child(&lock_name(number));
            // A store that does not know the condition takes the put; then the last one holds.
            if !lock.create(&json)? || !is_mine(lock.read()?.as_deref(), &token) {
                control.child(&lease_name(&token)).remove()?;
                continue;
            }
            let target = target.to_string();
            return Self::held(control.clone(), target, token, number, lease, at_work);
        }
        Err(locked(target))
    }

    fn held(
        control: Remote,
        target: String,
        token: String,
        number: u32,
        lease: Duration,
        at_work: AtWork,
    ) -> Result<Self> {
        for name in control.names()? {
            if self::number(&name).is_some_and(|other| other < number) {
                control.child(&name).remove()?;
            }
        }
        let stop = CancellationToken::new();
        let state = Arc::new(State { target, lost: Mutex::default(), stop });
        let (store, path) = control.target()?;
        let renewal = spawn(renew(store, path, token.clone(), number, lease, state.clone()))?;
        Ok(Self { control, token, number, state, renewal, _at_work: at_work })
    }

    /// What makes the names of this run its own.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Tells when there is no use in going on.
    pub(super) fn watch(&self) -> Watch {
        Watch(self.state.clone())
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
        self.control.child(&lease_name(&self.token)).remove()?;
        // One that was lost may be another's by now.
        let lock = self.control.child(&lock_name(self.number));
        if is_mine(lock.read()?.as_deref(), &self.token) {
            lock.remove()?;
        }
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
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
    let json = control.child(&lock_name(number)).read()?;
    let Some(json) = json else { return Ok(None) };
    Ok(Some((number, serde_json::from_slice(&json).ok())))
}

/// Whether a holder is gone. Watches its lease if that is all there is to go by.
fn is_over(control: &Remote, number: u32, holder: &Holder, target: &Remote) -> Result<bool> {
    match holder.process.fate(&holder.token) {
        Fate::Alive => return Ok(false),
        Fate::Gone => return Ok(true),
        Fate::Unknown => {}
    }
    let lease = Duration::try_from_secs_f64(holder.lease_seconds).unwrap_or(LEASE).min(LONGEST);
    tracing::warn!(
        "{target} is locked by a run on another machine: waiting for {} to see whether it is alive",
        human(lease)
    );
    let seen = control.child(&lease_name(&holder.token));
    let before = seen.read()?;
    let begun = Instant::now();
    while begun.elapsed() < lease {
        thread::sleep((lease / 20).min(lease.saturating_sub(begun.elapsed())));
        if seen.read()? != before {
            // It went away with its run, or was renewed.
            let held = highest(control)?.is_some_and(|(highest, _)| highest == number);
            return Ok(!held);
        }
    }
    Ok(true)
}

async fn renew(
    store: Arc<dyn Backend>,
    control: Path,
    token: String,
    number: u32,
    lease: Duration,
    state: Arc<State>,
) {
    let path = Path::from(format!("{control}/{}", lease_name(&token)));
    let mut renewed = Instant::now();
    for count in 1_u64.. {
        time::sleep(lease / 3).await;
        let left = lease.saturating_sub(renewed.elapsed());
        let round = async {
            let names = store.list(Some(&control)).map_ok(|object| object.location);
            let names: Vec<Path> = names.try_collect().await?;
            let numbers = names.iter().filter_map(|path| self::number(path.filename()?));
            let holds = numbers.max() == Some(number);
            if holds {
                store.put(&path, count.to_string().into()).await?;
            }
            Ok::<bool, object_store::Error>(holds)
        };
        match time::timeout(left, round).await {
            Ok(Ok(true)) => renewed = Instant::now(),
            Ok(Ok(false)) => return state.lose(TAKEN.to_owned()),
            Ok(Err(_)) | Err(_) if renewed.elapsed() >= lease => {
                return state.lose(format!("the store did not answer for {}", human(lease)));
            }
            // The next round, which is soon, tries again.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
