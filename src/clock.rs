//! The clock for dates and times. Tests replace it, to simulate several nights. Never used to measure
//! durations.

use std::{fmt, io, time::SystemTime};

use chrono::{DateTime, Datelike, SecondsFormat, Utc};

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
        read(SystemTime::now())
    }
}

/// Formats a time for files and logs: RFC 3339, UTC, whole seconds.
pub(crate) fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The clock's time; 1970 for a year without four digits, which dates in files, names and HTTP need.
fn read(time: SystemTime) -> DateTime<Utc> {
    // `Utc::now` panics before 1970, and a conversion does where chrono's calendar ends.
    let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok(),
        Err(before) => i64::try_from(before.duration().as_secs()).ok().map(|before| -before),
    };
    let year = seconds.and_then(|it| DateTime::from_timestamp(it, 0)).map(|time| time.year());
    match year {
        Some(0..=9999) => time.into(),
        _ => DateTime::UNIX_EPOCH,
    }
}

/// Why the clock must be wrong, if it must: it was lost, or never set. Several libraries panic then.
pub(crate) fn fault() -> Option<&'static str> {
    let now = SystemTime::now();
    if now < SystemTime::UNIX_EPOCH {
        Some("the clock of this machine is before 1970")
    } else if read(now) == DateTime::UNIX_EPOCH {
        Some("the clock of this machine is after the year 9999")
    } else {
        None
    }
}

/// Checks that an HTTP server can start: hyper would panic on such a clock, when it computes the `Date` of its
/// answers.
///
/// # Errors
/// `Unsupported` when the clock is before 1970 or after the year 9999.
pub(crate) fn check_for_server() -> io::Result<()> {
    fault().map_or(Ok(()), |text| Err(io::Error::new(io::ErrorKind::Unsupported, text)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clock_beyond_the_calendar_is_not_set() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let before =
            |seconds: u64| SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(seconds));
        let most = i64::MAX.unsigned_abs();
        for time in [at(most), at(253_402_300_800), before(most), before(1 << 40)] {
            assert_eq!(read(time.unwrap()), DateTime::UNIX_EPOCH, "{time:?}");
        }
        for (time, year) in
            [(at(253_402_300_799), 9999), (before(200_000_000), 1963), (at(0), 1970)]
        {
            assert_eq!(read(time.unwrap()).year(), year);
        }
    }
}
