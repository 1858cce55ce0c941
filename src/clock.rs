//! What time it is, so that nights can be simulated. Never measures how long something takes.

use std::fmt;

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
        Utc::now()
    }
}

/// A time as files and logs have it: RFC 3339, UTC, in whole seconds.
pub(crate) fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
