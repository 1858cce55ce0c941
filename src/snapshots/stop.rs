//! Tells runs that they are to stop; never waits for them.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// A request to stop, shared by its clones: once it is made, whoever waits gets the error to end
/// with.
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
    /// Asks for an end because of this signal; only the first request counts.
    pub fn request(&self, signal: &'static str, number: u8) {
        // A second signal changes nothing.
        let _ = self.signal.set((signal, number));
        self.token.cancel();
    }

    /// Whether an end was asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The signal that asked for an end, if any did.
    pub fn signal(&self) -> Option<(&'static str, u8)> {
        self.signal.get().copied()
    }

    /// Waits for the request, and gives the error that it means.
    pub async fn wait(&self) -> Error {
        self.token.cancelled().await;
        let (signal, number) = self.signal.get().copied().unwrap_or(("SIGTERM", 15));
        Error::Interrupted { signal, number, hint: None }
    }
}
