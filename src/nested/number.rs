//! Decides which Arrow type holds a JSON number exactly.

use std::fmt::{self, Write};

/// What a number needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberKind {
    /// A 64-bit integer, which a double also holds: at most 2^53 in size.
    Small,
    /// A 64-bit integer that a double may not hold.
    Large,
    /// `-0`: only a double has a negative zero.
    MinusZero,
    /// A double: its shortest digits are those of the text.
    Double,
    /// Neither holds it: a longer integer, a decimal with more digits than a double has, or `1e400`.
    Neither,
}

/// Above it, in size, two integers can be one double.
const EXACT: u64 = 1 << 53;
/// A decimal with at most this many digits and a usual exponent survives in a double.
const SAFE_DIGITS: usize = 15;
/// The shortest digits of a double are at most as many.
const MOST_DIGITS: usize = 17;
/// The usual exponents: such a double is normal and finite.
const SAFE_EXPONENTS: std::ops::RangeInclusive<i64> = -290..=290;

/// Decides what a number token needs.
pub(super) fn number_kind(token: &str) -> NumberKind {
    if is_decimal(token) {
        return if double_of(token).is_some() { NumberKind::Double } else { NumberKind::Neither };
    }
    match token.parse::<i64>() {
        Ok(0) if token.starts_with('-') => NumberKind::MinusZero,
        Ok(integer) if integer.unsigned_abs() <= EXACT => NumberKind::Small,
        Ok(_) => NumberKind::Large,
        Err(_) => NumberKind::Neither,
    }
}

fn is_decimal(token: &str) -> bool {
    token.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// Returns the integer of a number token; `None` if it is another number. An integer has no negative zero.
pub(super) fn integer_of(token: &str) -> Option<i64> {
    token.parse().ok().filter(|integer| *integer != 0 || token == "0")
}

/// Returns the double of a number token; `None` if it changes the number.
pub(super) fn float_of(token: &str) -> Option<f64> {
    if is_decimal(token) {
        return double_of(token);
    }
    let is_exact = matches!(number_kind(token), NumberKind::Small | NumberKind::MinusZero);
    token.parse().ok().filter(|_| is_exact)
}

/// Returns the double nearest to a decimal, if it has the same digits and the same exponent when it is written as short
/// as possible.
fn double_of(token: &str) -> Option<f64> {
    let double = token.parse::<f64>().ok().filter(|double| double.is_finite())?;
    // Most decimals are short, or are the shortest text of a double.
    if is_short(token) || ShortText::of(format_args!("{double:?}")).text() == token {
        return Some(double);
    }
    let (digits, exponent) = digits_of(token)?;
    let is_usual = digits.length == 0 || SAFE_EXPONENTS.contains(&exponent);
    let is_exact = digits.length <= SAFE_DIGITS && is_usual || {
        let shortest = ShortText::of(format_args!("{double:e}"));
        digits_of(shortest.text()) == Some((digits, exponent))
    };
    is_exact.then_some(double)
}

/// Whether a decimal has so few characters that it survives in a double: no exponent, and few digits.
fn is_short(token: &str) -> bool {
    token.len() <= SAFE_DIGITS && !token.bytes().any(|byte| matches!(byte, b'e' | b'E'))
}

/// The digits of a decimal without zeros at either end. None are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digits {
    digits: [u8; MOST_DIGITS],
    length: usize,
}

/// Returns the digits of a decimal, and the exponent of the first digit. `None` if it is not a number, if it has more
/// digits than a double needs, or if its exponent has more than 18 digits.
pub(super) fn digits_of(token: &str) -> Option<(Digits, i64)> {
    let token = token.strip_prefix('-').unwrap_or(token);
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
    if exponent.len() > 18 {
        return None;
    }
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = Digits::default();
    // Zeros before the first digit, and zeros that end the decimal unless another digit follows.
    let (mut zeros, mut held) = (0, 0);
    for digit in whole.bytes().chain(fraction.bytes()) {
        match digit {
            b'0' if digits.length == 0 => zeros += 1,
            b'0' => held += 1,
            b'1'..=b'9' => {
                let place = digits.length + held;
                digits.digits.get_mut(digits.length..place)?.fill(b'0');
                *digits.digits.get_mut(place)? = digit;
                (digits.length, held) = (place + 1, 0);
            }
            _ => return None,
        }
    }
    if digits.length == 0 {
        return Some((digits, 0));
    }
    let first = whole.len() as i64 - 1 - zeros;
    Some((digits, first.checked_add(exponent)?))
}

/// The shortest digits of a double, for comparison.
#[derive(Default)]
struct ShortText {
    bytes: [u8; 32],
    length: usize,
}

impl ShortText {
    /// Writes a double, which needs at most 24 characters. The text is empty if it does not fit.
    fn of(double: fmt::Arguments<'_>) -> Self {
        let mut text = Self::default();
        let written = text.write_fmt(double);
        written.map_or_else(|_| Self::default(), |()| text)
    }

    fn text(&self) -> &str {
        self.bytes
            .get(..self.length)
            .and_then(|bytes| str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_need_the_type_that_holds_them() {
        use NumberKind::{Double, Large, MinusZero, Neither, Small};
        for (token, kind) in [
            ("0", Small),
            ("-0", MinusZero),
            ("-0.0", Double),
            ("9007199254740992", Small),
            ("9007199254740993", Large),
            ("-9223372036854775808", Large),
            ("9223372036854775808", Neither),
            ("0.1", Double),
            ("0.10", Double),
            ("1e3", Double),
            ("90.33333333333333", Double),
            ("0.1234567890123456789012345", Neither),
            ("0.30000000000000001", Neither),
            ("1e400", Neither),
            ("1e-400", Neither),
            ("4.9e-324", Neither),
            ("5e-324", Double),
            ("1e9999999999999999999", Neither),
            ("0e400", Double),
            ("1.7976931348623157e308", Double),
        ] {
            assert_eq!(number_kind(token), kind, "{token}");
        }
    }

    proptest! {
        #[test]
        fn every_double_survives(double in any::<f64>().prop_filter("finite", |it| it.is_finite())) {
            let token = format!("{double:?}");
            prop_assert_eq!(number_kind(&token), NumberKind::Double, "{}", token);
            prop_assert_eq!(token.parse::<f64>().unwrap().to_bits(), double.to_bits());
        }

        /// A decimal that survives has the digits of its double.
        #[test]
        fn surviving_decimals_keep_their_digits(digits in "[0-9]{1,18}", point in 0..18_usize, exponent in -330_i64..330) {
            let point = point.min(digits.len() - 1);
            let (fraction, whole) = (&digits[point..], &digits[..point]);
            let token = format!("{}.{fraction}e{exponent}", whole.parse::<u64>().unwrap_or(0));
            if number_kind(&token) == NumberKind::Double {
                let double: f64 = token.parse().unwrap();
                prop_assert_eq!(digits_of(&format!("{double:?}")), digits_of(&token), "{}", token);
            }
        }
    }
}
