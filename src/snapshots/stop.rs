//! Asks runs to stop, and does not wait for them.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// A request to stop that all clones share. After the request, each waiting task receives the error to
/// end with.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use overmind_export::Stop;
///
/// let stop = Stop::default();
/// stop.clone().request("SIGTERM", 15);
/// assert_eq!(stop.wait().await.exit_code(), 143);
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    signal: Arc<OnceLock<(&'static str, u8)>>,
}

impl Stop {
    /// Requests a stop because of this signal. Only the first request has an effect.
    pub fn request(&self, signal: &'static str, number: u8) {
        // A second signal changes nothing.
        let _ = self.signal.set((signal, number));
        self.token.cancel();
    }

    /// Returns whether a stop was requested.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns the name and number of the signal that requested the stop, if any.
    pub fn signal(&self) -> Option<(&'static str, u8)> {
        self.signal.get().copied()
    }

    /// Waits for the request and returns [`Error::Interrupted`].
    pub async fn wait(&self) -> Error {
        self.token.cancelled().await;
        let (signal, number) = self.signal.get().copied().unwrap_or(("SIGTERM", 15));
        Error::Interrupted { signal, number, hint: None }
    }
}
