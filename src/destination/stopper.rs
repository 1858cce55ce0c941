//! Stops a destination from another thread.

use super::remote;
use crate::error::Error;

/// Stops a destination from another thread; see [`Destination::stopper`]. Does nothing for local outputs,
/// where no call blocks for long.
#[derive(Debug)]
pub(crate) struct Stopper {
    pub(super) watch: Option<remote::LeaseWatch>,
}

impl Stopper {
    /// Cancels the requests in flight to a store, because the run is stopped.
    pub(crate) fn stop(&self) {
        if let Some(watch) = &self.watch {
            watch.stop();
        }
    }

    /// Whether the destination holds a lock that outlives this process unless it is released.
    pub(crate) fn has_lock(&self) -> bool {
        self.watch.is_some()
    }

    /// Waits until the lock is lost, and returns the error. Never completes for a local output.
    pub(crate) async fn lost(&self) -> Error {
        if let Some(watch) = &self.watch {
            return watch.lost().await;
        }
        std::future::pending().await
    }
}
