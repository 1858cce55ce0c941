//! What time it is, so that nights can be simulated. Never measures how long something takes.

use std::{fmt, io, time::SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

/// Tells the time of day.
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
    /// The time now.
    fn now(&self) -> DateTime<Utc>;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        // `Utc::now` panics when the clock is before 1970.
        SystemTime::now().into()
    }
}

/// A time as files and logs have it: RFC 3339, UTC, in whole seconds.
pub(crate) fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Whether the clock is before 1970, which several libraries answer with a panic: it was lost, or never
/// set.
pub(crate) fn is_lost() -> bool {
    SystemTime::now() < SystemTime::UNIX_EPOCH
}

/// Refuses to serve HTTP then: hyper panics when it keeps the date of its answers.
pub(crate) fn check_for_server() -> io::Result<()> {
    if is_lost() {
        let text = "the clock of this machine is before 1970";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(())
}
