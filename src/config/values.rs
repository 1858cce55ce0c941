//! Parses values that people type, both as arguments and in the configuration file.
//!
//! In a message, the error text follows the value. The command uses these functions too. They are not part of
//! the library's public interface.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::{IntErrorKind, ParseIntError},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use uuid::Uuid;

use crate::{
    error::Error,
    location::mistake,
    throttle::{Concurrency, InFlight, Rate},
};

/// Parses a value with its `FromStr`. Keeps only the reason of an error, because the caller's message already
/// contains the value.
pub(crate) fn value<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| match error {
        Error::Invalid { why, .. } => why,
        error => error.to_string(),
    })
}

/// Parses an id. The message of the UUID parser counts characters, which does not help a user who pasted a
/// name. So this function has its own message.
pub(crate) fn id(text: &str) -> Result<Uuid, String> {
    let why = "an id is a UUID, such as 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e";
    text.trim().parse().map_err(|_| why.to_owned())
}

/// Parses the id of a dataset. A person may have typed its name.
pub(crate) fn dataset_id(text: &str) -> Result<Uuid, String> {
    id(text).map_err(|why| format!("{why}; `overmind-export datasets` lists names with their ids"))
}

/// Parses the path of a local file or folder.
pub(crate) fn path(path: PathBuf) -> Result<PathBuf, String> {
    path.to_str().and_then(mistake).map_or(Ok(path), Err)
}

/// Parses a concurrency: `auto` or a number.
pub(crate) fn concurrency(text: &str) -> Result<Concurrency, String> {
    text.parse().map_err(|_| format!("give auto or a number from 1 to {}", InFlight::MAX))
}

/// Parses a rate limit such as `20/s` or `600/min`.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    let why = "give requests per second, minute or hour, such as 20/s, 600/min or 0.5/s";
    text.parse().map_err(|_| why.to_owned())
}

/// Parses an address such as `127.0.0.1:9464` or `[::1]:9464`. A bare port means the loopback
/// address, which only this machine can reach.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse();
    let loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let why = "give an address and a port, such as 127.0.0.1:9464, or a port that only this machine can reach";
    port.map(loopback).or_else(|_| text.parse()).map_err(|_| why.to_owned())
}

/// Parses a whole number, from 0 for an unsigned type.
pub(crate) fn whole<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow => "it is too large",
            IntErrorKind::NegOverflow => "it is too small",
            _ if is_negative(text) => "it must not be negative",
            _ => "give a whole number",
        };
        why.to_owned()
    })
}

/// Parses a whole number above zero.
pub(crate) fn positive<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err = ParseIntError> + Default + PartialEq,
{
    if is_negative(text) {
        return Err("it must be positive".to_owned());
    }
    let number = whole(text)?;
    if number == T::default() { Err("it must be at least 1".to_owned()) } else { Ok(number) }
}

fn is_negative(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses a number with decimals, such as `0.05`.
pub(crate) fn decimal(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "give a number, such as 0.05".to_owned())
}

/// Parses a time limit: a [`duration`] above zero.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0 seconds".to_owned()),
        duration => Ok(duration),
    }
}

/// Parses a duration such as `50ms`, `10s`, `2min` or `1h 30m`. A bare number is in seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if is_negative(text) {
        return Err("it must not be negative".to_owned());
    }
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    let parsed = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => humantime::parse_duration(text).ok(),
    };
    parsed.ok_or_else(|| "give a number with a unit, such as 50ms, 10s or 2min".to_owned())
}

/// Parses a size such as `64MiB` or `500kB`. A bare number is in bytes.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    if is_negative(text) {
        return Err("it must be positive".to_owned());
    }
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: usize = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1000 * 1000,
        "g" | "gb" => 1000 * 1000 * 1000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("the units are B, kB, MB, GB, KiB, MiB and GiB".to_owned()),
    };
    let number = number.parse::<usize>().ok().filter(|number| *number > 0);
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "give a number of bytes above zero, such as 64MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_without_unit_is_in_seconds() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("-1").is_err() && duration("soon").is_err() && duration("inf").is_err());
    }

    #[test]
    fn number_out_of_range_differs_from_text() {
        assert_eq!(whole::<u32>("7"), Ok(7));
        assert_eq!(whole::<u32>("4294967296").unwrap_err(), "it is too large");
        assert_eq!(whole::<i64>("-9223372036854775809").unwrap_err(), "it is too small");
        assert_eq!(whole::<u32>("1.5").unwrap_err(), "give a whole number");
    }

    #[test]
    fn address_without_host_is_loopback() {
        let parsed = |text| address(text).map(|address| address.to_string());
        assert_eq!(parsed("9464"), Ok("127.0.0.1:9464".to_owned()));
        assert_eq!(parsed(":9464"), Ok("127.0.0.1:9464".to_owned()));
        assert_eq!(parsed("0.0.0.0:80"), Ok("0.0.0.0:80".to_owned()));
        assert_eq!(parsed("[::1]:9464"), Ok("[::1]:9464".to_owned()));
        for wrong in ["", ":", "localhost", "localhost:9464", "127.0.0.1", "70000", "::1:9464:"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn size_without_unit_is_in_bytes() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("5 kb"), Ok(5000));
        assert_eq!(bytes("7"), Ok(7));
        assert!(bytes("0").is_err() && bytes("-1").is_err() && bytes("1XB").is_err());
        assert!(bytes("99999999999999999999GB").is_err());
    }
}
