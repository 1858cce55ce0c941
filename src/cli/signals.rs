//! What the system asks of a process while it runs: to end, or to read its configuration again.

#[cfg(unix)]
use std::sync::{Arc, atomic::AtomicBool};

use crate::{Error, Result};
#[cfg(unix)]
use tokio::signal::unix;

/// What a signal asks for.
pub(super) enum Signal {
    Reload,
    Stop(Stopped),
}

/// Which signal ended it: its name and number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopped {
    pub(super) name: &'static str,
    pub(super) number: u8,
}

impl Stopped {
    pub(super) fn error(self, hint: Option<&'static str>) -> Error {
        Error::Interrupted { signal: self.name, number: self.number, hint }
    }
}

/// Lets a write beyond the limit of file sizes fail with an error: by default SIGXFSZ ends the process
/// without a word. A handler does that and goes with `exec`; ignoring the signal would be inherited by
/// the programs that this process starts.
pub(super) fn outlive_file_size_limit() -> Result<()> {
    #[cfg(unix)]
    {
        let signal = rustix::process::Signal::XFSZ.as_raw();
        let registered = signal_hook::flag::register(signal, Arc::<AtomicBool>::default());
        registered.map_err(|source| Error::Io {
            action: "handle",
            path: "SIGXFSZ".into(),
            source,
        })?;
    }
    Ok(())
}

/// Ends with the signal that asks the process to end; caught from the first poll on.
pub(super) async fn stopped() -> Stopped {
    match Stops::new() {
        Ok(mut stops) => stops.next().await,
        // Without handlers the signals end the process by themselves.
        Err(_) => std::future::pending().await,
    }
}

/// Likewise, as the error to end with.
pub(super) async fn interrupted() -> Error {
    stopped().await.error(None)
}

/// All signals that mean something to a service, heard from the moment that this is made.
pub(super) struct Signals {
    stops: Stops,
    #[cfg(unix)]
    hangup: unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            stops: Stops::new()?,
            #[cfg(unix)]
            hangup: listen(unix::SignalKind::hangup())?,
        })
    }

    #[cfg(unix)]
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Reload,
            stopped = self.stops.next() => Signal::Stop(stopped),
        }
    }

    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) -> Signal {
        Signal::Stop(self.stops.next().await)
    }
}

/// The signals that ask for an end.
struct Stops {
    #[cfg(unix)]
    interrupt: unix::Signal,
    #[cfg(unix)]
    terminate: unix::Signal,
}

#[cfg(unix)]
impl Stops {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: listen(unix::SignalKind::interrupt())?,
            terminate: listen(unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Stopped {
        tokio::select! {
            _ = self.interrupt.recv() => Stopped { name: "SIGINT", number: 2 },
            _ = self.terminate.recv() => Stopped { name: "SIGTERM", number: 15 },
        }
    }
}

#[cfg(unix)]
fn listen(kind: unix::SignalKind) -> Result<unix::Signal> {
    unix::signal(kind).map_err(|error| Error::Internal(format!("listening for signals: {error}")))
}

#[cfg(not(unix))]
impl Stops {
    fn new() -> Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) -> Stopped {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Stopped { name: "Ctrl-C", number: 2 },
            Err(_) => std::future::pending().await,
        }
    }
}
