//! How many requests may be in flight, as users give it: `auto`, or a number.

use std::{fmt, num::NonZeroU8, str::FromStr};

/// The number of requests that may be in flight at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// The number that the server sustains, learned while requests run. While 16 or more pages wait for the
    /// consumer, no request starts beyond 16 in flight.
    #[default]
    Auto,
    /// Exactly this number, from the start. If the first page takes longer than 25 ms and no rate is
    /// given, the next pages are requested before it is known whether they exist. The API answers
    /// requests for pages that do not exist with 404, which is not an error here.
    Fixed(InFlight),
}

/// A number of requests in flight, from 1 to [`InFlight::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight(NonZeroU8);

/// The error for a text or number that is not a [`Concurrency`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a concurrency: give `auto` or a number from 1 to {max}", max = InFlight::MAX)]
pub struct InvalidConcurrency(String);

impl InFlight {
    /// Maximum number of requests that one throttle keeps in flight: 64.
    pub const MAX: usize = 64;

    /// Returns the number as an integer.
    pub fn get(self) -> usize {
        self.0.get().into()
    }
}

impl TryFrom<usize> for InFlight {
    type Error = InvalidConcurrency;

    fn try_from(number: usize) -> Result<Self, Self::Error> {
        u8::try_from(number)
            .ok()
            .and_then(NonZeroU8::new)
            .map(Self)
            .filter(|it| it.get() <= Self::MAX)
            .ok_or_else(|| InvalidConcurrency(number.to_string()))
    }
}

impl FromStr for Concurrency {
    type Err = InvalidConcurrency;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let number: usize = text.parse().map_err(|_| InvalidConcurrency(text.to_owned()))?;
        InFlight::try_from(number).map(Self::Fixed)
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(number) => number.get().fmt(f),
        }
    }
}
