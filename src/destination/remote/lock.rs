//! The lock of a place in a store, built from conditional puts only. One run at a time holds it.
//!
//! ```text
//! lock-00001.state    names the holder; created only if it is missing, never changed
//! lease-TOKEN         put again by the run with that token, three times per lease duration
//! ```
//!
//! The lock with the highest number is valid. Another run takes over with the next number in two cases: the
//! holder's process is known to have ended, or the holder did not renew its lease for one lease duration.
//!
//! A holder loses the lock when it sees a higher number, or when it cannot renew its lease for one lease
//! duration. Then it publishes nothing. A run deletes only locks with a lower number than its own.

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

use super::host::{ActiveRun, HolderStatus, Process};
use crate::{
    error::{Error, Result, human},
    location::{Backend, Remote, spawn, wait},
};

/// Lease duration. After a crash on another machine, the next run waits this long.
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// Longest lease duration that is accepted from a lock, so that no lock blocks forever.
pub(super) const LONGEST: Duration = Duration::from_secs(600);
/// Largest lock that is read, in bytes: 64 KiB. A lock of ours has a few hundred bytes.
const LARGEST_LOCK: u64 = 64 << 10;
/// Attempts to claim the next number. Each failed attempt means that another run claimed it.
const ATTEMPTS: usize = 10;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Holder {
    token: String,
    lease_seconds: f64,
    #[serde(flatten)]
    process: Process,
}

impl Holder {
    /// Parses a lock; `None` if no run of this version wrote it.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The lease duration, at most [`LONGEST`].
    pub(super) fn lease(&self) -> Duration {
        Duration::try_from_secs_f64(self.lease_seconds).unwrap_or(LEASE).min(LONGEST)
    }

    pub(super) fn status(&self) -> HolderStatus {
        self.process.status(&self.token)
    }
}

/// Reports that the run must stop, and why. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct LeaseWatch(Arc<LeaseState>);

impl LeaseWatch {
    /// A watch of a worker, which holds no lock and can only be stopped. The place is for errors.
    pub(super) fn without_lock(target: &Remote) -> Self {
        let (target, stop) = (target.to_string(), CancellationToken::new());
        Self(Arc::new(LeaseState { target, lost: Mutex::default(), stop }))
    }

    /// Cancels the requests in flight, because the run is stopped.
    pub(crate) fn stop(&self) {
        self.0.stop.cancel();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    pub(super) async fn stopped(&self) {
        self.0.stop.cancelled().await;
    }

    /// Makes a request, and cancels it when the lock is lost or the run is stopped: a late request could
    /// overwrite the work of another run.
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

    /// Waits until the lock is lost and returns the error. Never completes if the run was only stopped.
    pub(crate) async fn lost(&self) -> Error {
        self.0.stop.cancelled().await;
        match self.0.error() {
            Some(error) => error,
            // The run was stopped, and reports that with its own error.
            None => std::future::pending().await,
        }
    }

    /// The error of an upload that was cancelled.
    pub(super) fn error(&self) -> Error {
        let stopped = || Error::Internal("a cancelled upload was used again".to_owned());
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
    _active: ActiveRun,
}

#[derive(Debug)]
struct LeaseState {
    /// The locked place, for errors.
    target: String,
    lost: Mutex<Option<String>>,
    /// Cancels uploads when the lock is lost or the run is stopped.
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

pub(super) fn lock_name(number: u32) -> String {
    format!("lock-{number:05}.state")
}

fn lease_name(token: &str) -> String {
    format!("lease-{token}")
}

/// Parses the number of a lock. Accepts only the exact name that a run gives to this number, and only
/// numbers that leave room for the next one.
pub(super) fn number(name: &str) -> Option<u32> {
    const LARGEST: u32 = 999_999_999;
    let number = name.strip_prefix("lock-")?.strip_suffix(".state")?.parse().ok()?;
    (number <= LARGEST && lock_name(number) == name).then_some(number)
}

/// Fails if a run that is known to be alive holds the lock. Does not take the lock.
pub(super) fn check_unlocked(control: &Remote, target: &Remote) -> Result<()> {
    check_unlocked_among(control, &control.names()?, target)
}

/// Like [`check_unlocked`], with the names of the control objects.
pub(super) fn check_unlocked_among(
    control: &Remote,
    names: &[String],
    target: &Remote,
) -> Result<()> {
    match highest_of(control, names)? {
        Some((_, Some(holder))) if holder.status() == HolderStatus::Alive => Err(locked(target)),
        _ => Ok(()),
    }
}

/// Fails if a run holds the lock. If the state of the holder is unknown, this waits for at most one lease
/// duration. Does not take the lock.
pub(super) fn check_ended(control: &Remote, target: &Remote) -> Result<()> {
    match highest(control)? {
        Some((number, Some(holder))) if !is_over(control, number, &holder, target)? => {
            Err(locked(target))
        }
        _ => Ok(()),
    }
}

impl Lock {
    /// Takes the lock with a new token. If the state of the holder is unknown, this waits for at most one
    /// lease duration.
    ///
    /// # Errors
    /// [`Error::Locked`] when another run holds the lock.
    pub(in crate::destination) fn acquire(
        control: &Remote,
        target: &Remote,
        lease: Duration,
    ) -> Result<Self> {
        let token = format!("{:08x}", fastrand::u32(..));
        let active = ActiveRun::begin(&token);
        for _ in 0..ATTEMPTS {
            let before = highest(control)?;
            if let Some((number, Some(holder))) = &before
                && !is_over(control, *number, holder, target)?
            {
                return Err(locked(target));
            }
            // The lock changed since the first look: try again.
            if before.is_some() && identity(&highest(control)?) != identity(&before) {
                continue;
            }
            let number = before.map_or(0, |(number, _)| number) + 1;
            let begun = Instant::now();
            let taken = claim(control, number, &token, lease)
                .and_then(|claimed| claimed.then(|| forget_lower(control, number)).transpose());
            match taken {
                Ok(Some(())) => {
                    let lock = HeldLease { token, number, lease, begun };
                    return Self::held(control, target, lock, active);
                }
                Ok(None) => control.child(&lease_name(&token)).remove()?,
                Err(error) => {
                    // Best effort: the next run detects a lock whose run has ended.
                    drop(withdraw(control, number, &token));
                    return Err(error);
                }
            }
        }
        Err(locked(target))
    }

    fn held(control: &Remote, target: &Remote, held: HeldLease, active: ActiveRun) -> Result<Self> {
        let (stop, target) = (CancellationToken::new(), target.to_string());
        let state = Arc::new(LeaseState { target, lost: Mutex::default(), stop });
        let control = control.without_limit();
        let (store, path) = control.target()?;
        let (token, number) = (held.token.clone(), held.number);
        let renewal = spawn(renew(store, path, held, state.clone()))?;
        Ok(Self { control, token, number, state, renewal, _active: active })
    }

    /// The random token that makes the names of this run unique.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Returns a watch that reports the loss of the lock.
    pub(super) fn watch(&self) -> LeaseWatch {
        LeaseWatch(self.state.clone())
    }

    /// Fails if the lock is known to be lost. Sends no request.
    pub(super) fn check(&self) -> Result<()> {
        self.state.error().map_or(Ok(()), Err)
    }

    /// Asks the store whether this run still holds the lock, and fails if it does not.
    pub(in crate::destination) fn confirm(&self) -> Result<()> {
        self.check()?;
        match highest(&self.control)? {
            Some((number, Some(holder))) if number == self.number && holder.token == self.token => {
            }
            _ => self.state.lose(TAKEN.to_owned()),
        }
        self.check()
    }

    /// Removes the leases of all other runs. A run that is about to take the lock puts its lease again.
    pub(super) fn forget_others(&self) -> Result<()> {
        let mine = lease_name(&self.token);
        let names = self.control.names()?;
        let others = names.into_iter().filter(|name| name.starts_with("lease-") && *name != mine);
        self.control.remove_all(others)
    }

    /// Releases the lock.
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

/// Claims a number; `false` if another run was faster.
fn claim(control: &Remote, number: u32, token: &str, lease: Duration) -> Result<bool> {
    let process = Process::this();
    let holder = Holder { token: token.to_owned(), lease_seconds: lease.as_secs_f64(), process };
    let json = serde_json::to_vec_pretty(&holder)
        .map_err(|error| Error::Internal(format!("lock: {error}")))?;
    let lease = control.child(&lease_name(token));
    lease.write(b"0")?;
    // A run that cannot remove objects could not release its lock or clean up. Find that out before any
    // page is requested.
    lease.remove()?;
    lease.write(b"0")?;
    let lock = control.child(&lock_name(number));
    lock.create(&json)?;
    // The stored object decides, not the answer. A refusal may answer the retry of a put that succeeded.
    // A store without conditional puts accepts every put, and then the last one is valid.
    Ok(is_mine(lock.read_control()?.as_deref(), token))
}

/// Removes the locks with lower numbers.
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
    // If the lock was lost, another run may have this number now.
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
    lock.and_then(Holder::parse).is_some_and(|holder| holder.token == token)
}

/// Returns the valid lock. Its holder is `None` if the lock cannot be parsed, for example because another
/// version wrote it.
fn highest(control: &Remote) -> Result<Option<(u32, Option<Holder>)>> {
    highest_of(control, &control.names()?)
}

fn highest_of(control: &Remote, names: &[String]) -> Result<Option<(u32, Option<Holder>)>> {
    let Some(number) = names.iter().filter_map(|name| number(name)).max() else {
        return Ok(None);
    };
    let json = control.child(&lock_name(number)).read_control()?;
    let Some(json) = json else { return Ok(None) };
    Ok(Some((number, Holder::parse(&json))))
}

/// Identifies a lock. A number is reused after a release; a number with its token is not.
fn identity(lock: &Option<(u32, Option<Holder>)>) -> Option<(u32, Option<&str>)> {
    let (number, holder) = lock.as_ref()?;
    Some((*number, holder.as_ref().map(|holder| holder.token.as_str())))
}

/// Whether the run of a holder has ended. If its process cannot be checked, this watches its lease for at
/// most one lease duration.
fn is_over(control: &Remote, number: u32, holder: &Holder, target: &Remote) -> Result<bool> {
    match holder.status() {
        HolderStatus::Alive => return Ok(false),
        HolderStatus::Gone => return Ok(true),
        HolderStatus::Unknown => {}
    }
    let lease = holder.lease();
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
            // The run removed its lease or renewed it.
            let held = Some((number, Some(holder.token.as_str())));
            return Ok(identity(&highest(control)?) != held);
        }
    }
    Ok(true)
}

/// The data for the renewal of a lease.
struct HeldLease {
    token: String,
    number: u32,
    lease: Duration,
    /// Time just before the first put of the lease.
    begun: Instant,
}

async fn renew(store: Arc<dyn Backend>, control: Path, held: HeldLease, state: Arc<LeaseState>) {
    let HeldLease { token, number, lease, begun: mut renewed } = held;
    let path = Path::from(format!("{control}/{}", lease_name(&token)));
    for count in 1_u64.. {
        time::sleep(lease / 3).await;
        let left = lease.saturating_sub(renewed.elapsed());
        // Measure from before the request. Other runs may see the new lease before its answer arrives here.
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
            // Try again in the next round.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Whether the lock with this number is the highest and still has this token.
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
        // Another program replaced it with a larger object.
        Ok(lock) if lock.meta.size > LARGEST_LOCK => Ok(false),
        Ok(lock) => Ok(is_mine(Some(&lock.bytes().await?), token)),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
