//! Parses `Retry-After`, including common forms that do not follow the standard.

use std::time::{Duration, SystemTime};

/// Longest accepted pause: 31 days. A longer one is a mistake of the server: a date in another century, or
/// milliseconds instead of seconds.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Returns the pause from the values of `Retry-After`. `date` is the value of the answer's `Date`.
///
/// Accepts whole and decimal seconds, with or without an `s`, HTTP dates, and lists of both: a proxy may add a
/// header or merge two. The longest pause counts. Decimals round up. A date is compared with the clock of the
/// server if the answer has a `Date`, and otherwise with the local clock. Returns `None` for other texts, and for
/// pauses of more than 31 days.
pub(super) fn retry_after(values: &[impl AsRef<str>], date: Option<&str>) -> Option<Duration> {
    let now = || {
        let date = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok());
        date.unwrap_or_else(SystemTime::now)
    };
    let waits = values.iter().filter_map(|value| longest(value.as_ref(), &now));
    waits.filter(|wait| *wait <= LONGEST).max()
}

/// The longest wait of a list; `None` if a part of it says nothing.
fn longest(value: &str, now: &impl Fn() -> SystemTime) -> Option<Duration> {
    let mut parts = value.split(',').map(str::trim);
    let mut waits = Vec::new();
    while let Some(part) = parts.next() {
        waits.push(match seconds(part) {
            Some(wait) => wait,
            // A date has a comma after the day of the week, unless its form is an old one.
            None => {
                let then = httpdate::parse_http_date(part).or_else(|_| {
                    httpdate::parse_http_date(&format!("{part}, {}", parts.next().unwrap_or("")))
                });
                then.ok()?.duration_since(now()).unwrap_or_default()
            }
        });
    }
    waits.into_iter().max()
}

fn seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix(['s', 'S']).unwrap_or(text).trim_end();
    // `parse` would also take `inf`, `nan`, `1e9` and signs.
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let seconds: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(seconds.ceil()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_retry_after_are_read() {
        let table = [
            ("3", Some(3)),
            (" 3 ", Some(3)),
            ("0", Some(0)),
            ("2.5", Some(3)),
            ("3.0", Some(3)),
            ("0.2", Some(1)),
            ("3s", Some(3)),
            ("3 s", Some(3)),
            ("3, 3", Some(3)),
            ("3, 5", Some(5)),
            ("2678400", Some(2_678_400)),
            ("2678401", None),
            ("99999999999999999999999", None),
            ("-3", None),
            ("inf", None),
            ("nan", None),
            ("1e3", None),
            ("3m", None),
            ("soon", None),
            ("3, soon", None),
            ("1.2.3", None),
            (".", None),
            ("", None),
            (",", None),
        ];
        for (value, seconds) in table {
            assert_eq!(retry_after(&[value], None), seconds.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn retry_date_is_compared_with_answer_date() {
        let at = |value| retry_after(&[value], Some("Wed, 21 Oct 2015 07:28:00 GMT"));
        assert_eq!(at("Wed, 21 Oct 2015 07:28:07 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(at("Wed, 21 Oct 2015 07:27:00 GMT"), Some(Duration::ZERO));
        assert_eq!(at("Wed, 21 Oct 2099 07:28:00 GMT"), None);
        // Without a `Date`, it is compared with the local clock, where it is in the past.
        let past = "Wed, 21 Oct 2015 07:28:07 GMT";
        for date in [None, Some("yesterday")] {
            assert_eq!(retry_after(&[past], date), Some(Duration::ZERO));
        }
    }
    #[test]
    fn longest_of_several_waits_counts() {
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        let (soon, later) = ("Wed, 21 Oct 2015 07:28:07 GMT", "Wed, 21 Oct 2015 07:28:30 GMT");
        let seconds = |values: &[&str]| retry_after(values, date).map(|wait| wait.as_secs());
        assert_eq!(seconds(&[soon, later]), Some(30));
        assert_eq!(seconds(&[later, soon]), Some(30));
        assert_eq!(seconds(&[soon, "20"]), Some(20));
        assert_eq!(seconds(&["soon", "3"]), Some(3));
        assert_eq!(seconds(&["3", "99999999"]), Some(3));
        // As a proxy merges them.
        assert_eq!(seconds(&[&format!("{later}, {soon}")]), Some(30));
        assert_eq!(seconds(&[&format!("5, {soon}, 6")]), Some(7));
        assert_eq!(seconds(&[]), None);
    }
}
