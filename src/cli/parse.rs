//! Values with a unit, as people type them.

use std::time::Duration;

/// `50ms`, `10s`, `2min`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    let parsed = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => humantime::parse_duration(text).ok(),
    };
    parsed.ok_or_else(|| "give a number with a unit, such as 50ms, 10s or 2min".to_owned())
}

/// `64MiB`, `500kB`; a bare number is bytes.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
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
    fn a_duration_has_a_unit_or_is_seconds() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert!(duration("-1").is_err() && duration("soon").is_err() && duration("inf").is_err());
    }

    #[test]
    fn bytes_have_a_unit_or_are_bytes() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("5 kb"), Ok(5000));
        assert_eq!(bytes("7"), Ok(7));
        assert!(bytes("0").is_err() && bytes("-1").is_err() && bytes("1XB").is_err());
        assert!(bytes("99999999999999999999GB").is_err());
    }
}
