//! Signals: requests to stop, or to read the configuration again.

#[cfg(unix)]
use std::sync::{Arc, atomic::AtomicBool};

use crate::{Error, Result};
#[cfg(unix)]
use tokio::signal::unix;

/// The request that a signal makes.
pub(super) enum Signal {
    Reload,
    Stop(Stopped),
}

/// The name and number of the signal that stopped the process.
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

/// Makes a write beyond the file size limit fail with an error. By default, SIGXFSZ ends the process without a
/// message. This function installs a handler and does not ignore the signal, because programs that this process
/// starts would inherit an ignored signal. `exec` removes handlers.
pub(super) fn outlive_file_size_limit() -> Result<()> {
    #[cfg(unix)]
    {
        let signal = rustix::process::Signal::XFSZ.as_raw();
        if is_ignored(signal) {
            return Ok(());
        }
        let registered = signal_hook::flag::register(signal, Arc::<AtomicBool>::default());
        registered.map_err(|source| Error::Io {
            action: "handle",
            path: "SIGXFSZ".into(),
            source,
        })?;
    }
    Ok(())
}

/// Waits for a signal to stop and returns it. Catches signals from the first poll on.
pub(super) async fn stopped() -> Stopped {
    match Stops::new() {
        Ok(mut stops) => stops.next().await,
        // Without handlers, the signals end the process directly.
        Err(_) => std::future::pending().await,
    }
}

/// Waits for a signal to stop and returns it as an error.
pub(super) async fn interrupted() -> Error {
    stopped().await.error(None)
}

/// Waits for a signal to stop, or for the SIGHUP of a terminal that closes, and returns it as an error.
pub(super) async fn interrupted_or_hung_up() -> Error {
    #[cfg(unix)]
    if let Ok(mut hangup) = listen(unix::SignalKind::hangup()) {
        return tokio::select! {
            error = interrupted() => error,
            () = received(&mut hangup) => Stopped { name: "SIGHUP", number: 1 }.error(None),
        };
    }
    interrupted().await
}

/// The signals to a service: SIGINT, SIGTERM and SIGHUP. They are caught from the creation of this value on.
pub(super) struct Signals {
    stops: Stops,
    #[cfg(unix)]
    hangup: Option<unix::Signal>,
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
            () = received(&mut self.hangup) => Signal::Reload,
            stopped = self.stops.next() => Signal::Stop(stopped),
        }
    }

    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) -> Signal {
        Signal::Stop(self.stops.next().await)
    }
}

/// The signals to stop.
struct Stops {
    #[cfg(unix)]
    interrupt: Option<unix::Signal>,
    #[cfg(unix)]
    terminate: Option<unix::Signal>,
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
            () = received(&mut self.interrupt) => Stopped { name: "SIGINT", number: 2 },
            () = received(&mut self.terminate) => Stopped { name: "SIGTERM", number: 15 },
        }
    }
}

/// Catches a signal from now on. A signal that this process ignores stays ignored.
#[cfg(unix)]
fn listen(kind: unix::SignalKind) -> Result<Option<unix::Signal>> {
    if is_ignored(kind.as_raw_value()) {
        return Ok(None);
    }
    let signal = unix::signal(kind);
    signal.map(Some).map_err(|error| Error::Internal(format!("listening for signals: {error}")))
}

/// Waits for a signal. Waits forever for an ignored one.
#[cfg(unix)]
async fn received(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process ignores a signal. `nohup` starts a program like this, and so does a shell that starts it in
/// the background of a script. Only Linux says it; elsewhere the answer is no.
#[cfg(unix)]
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit 0 is signal 1.
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
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
