//! The clock for dates and times. Tests replace it, to simulate several nights. Never used to measure
//! durations.

use std::{fmt, io, time::SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

/// A source of the current date and time.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use overmind_export::{Clock, SystemClock, chrono};
///
/// #[derive(Debug)]
/// struct Night(DateTime<Utc>);
/// impl Clock for Night {
///     fn now(&self) -> DateTime<Utc> {
///         self.0
///     }
/// }
/// assert!(SystemClock.now() > Night(DateTime::UNIX_EPOCH).now());
/// ```
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the current time.
    fn now(&self) -> DateTime<Utc>;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        // `Utc::now` would panic if the clock is before 1970.
        SystemTime::now().into()
    }
}

/// Formats a time for files and logs: RFC 3339, UTC, whole seconds.
pub(crate) fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Whether the clock is before 1970, because it was lost or never set. Several libraries panic then.
pub(crate) fn is_lost() -> bool {
    SystemTime::now() < SystemTime::UNIX_EPOCH
}

/// Checks that an HTTP server can start: hyper would panic on a clock before 1970, when it computes the
/// `Date` of its answers.
///
/// # Errors
/// `Unsupported` when the clock is before 1970.
pub(crate) fn check_for_server() -> io::Result<()> {
    if is_lost() {
        let text = "the clock of this machine is before 1970";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(())
}
