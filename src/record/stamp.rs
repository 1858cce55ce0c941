//! The time at which a snapshot was started, as in its folder's name: to the second, in UTC.

use std::{fmt, str::FromStr};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

const FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// Start of the folder's name, in the Hive convention `column=value`.
const PREFIX: &str = "snapshot=";

/// The time stamp of a snapshot, such as `20261123T020000Z`: to the second, in UTC.
///
/// ```
/// use overmind_export::Stamp;
/// let stamp: Stamp = "20261123T020000Z".parse()?;
/// assert_eq!(stamp.time().to_rfc3339(), "2026-11-23T02:00:00+00:00");
/// assert_eq!(stamp.folder(), "snapshot=20261123T020000Z");
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(DateTime<Utc>);

impl Stamp {
    /// Returns the stamp of this time, rounded down to the second.
    pub fn at(time: DateTime<Utc>) -> Self {
        Self(DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time))
    }

    /// Returns the time.
    pub fn time(self) -> DateTime<Utc> {
        self.0
    }

    /// Returns the name of the snapshot's folder.
    pub fn folder(self) -> String {
        format!("{PREFIX}{self}")
    }

    /// Returns the stamp in a folder's name, or `None` if it is not a snapshot's folder.
    pub fn of_folder(name: &str) -> Option<Self> {
        name.strip_prefix(PREFIX)?.parse().ok()
    }

    /// Returns the stamp one second later.
    pub(crate) fn next(self) -> Self {
        Self(self.0.checked_add_signed(TimeDelta::seconds(1)).unwrap_or(self.0))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.format(FORMAT).to_string())
    }
}

impl FromStr for Stamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed =
            NaiveDateTime::parse_from_str(text, FORMAT).ok().map(|it| Self::at(it.and_utc()));
        // Accept one spelling only: another spelling would be another folder.
        parsed
            .filter(|stamp| stamp.to_string() == text)
            .ok_or_else(|| Error::invalid("stamp", text, "a stamp looks like 20261123T020000Z"))
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_has_exactly_one_spelling() {
        for text in ["20261123T020000Z", "20240229T235959Z"] {
            assert_eq!(text.parse::<Stamp>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "20261123T020000",
            "20261323T020000Z",
            "2026-11-23T02:00:00Z",
            "+20261123T020000Z",
            "20261123T020060Z",
        ] {
            assert!(text.parse::<Stamp>().is_err(), "{text}");
        }
        assert_eq!(Stamp::of_folder("snapshot=x"), None);
        assert_eq!(Stamp::of_folder(".snapshot=20261123T020000Z.partial"), None);
    }
}
