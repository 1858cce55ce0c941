//! The exact value of a JSON number, as a text that all its spellings have in common.
//!
//! `1`, `1.0` and `10e-1` have one text, and `1.0000000000000000001` has another one: a number never becomes a
//! floating-point number.

use std::io::Write as _;

/// The most digits of an exponent that is a machine word. The length of the text moves it by less than 2^33.
const WORD_DIGITS: usize = 18;

/// Passes the parts of the text of a number's value to `write`. Takes time and memory that grow with the length of the
/// number, whatever its exponent. The number must be one of JSON; the result for any other text has no meaning.
pub(super) fn write_exact(number: &[u8], write: &mut dyn FnMut(&[u8])) {
    let (is_negative, rest) = without_sign(number);
    let is_mark = |byte: &u8| matches!(byte, b'e' | b'E');
    let (digits, exponent) = match rest.iter().position(is_mark) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &b""[..]),
    };
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &b""[..]),
    };
    let fraction = without_last_zeros(fraction);
    // The value is these digits times ten to the power of the exponent and this.
    let (whole, shift) = match fraction {
        [] => {
            let kept = without_last_zeros(whole);
            (kept, (whole.len() - kept.len()) as i64)
        }
        fraction => (whole, -(fraction.len() as i64)),
    };
    let whole = without_first_zeros(whole);
    let fraction = if whole.is_empty() { without_first_zeros(fraction) } else { fraction };
    if whole.is_empty() && fraction.is_empty() {
        // Zero, also with a sign or an exponent.
        return write(b"0");
    }
    if is_negative {
        write(b"-");
    }
    write(whole);
    write(fraction);
    write_exponent(exponent, shift, write);
}

/// Writes the sum of an exponent and of a number of digits. Writes nothing for zero.
fn write_exponent(exponent: &[u8], shift: i64, write: &mut dyn FnMut(&[u8])) {
    let (is_negative, digits) = without_sign(exponent);
    let digits = without_first_zeros(digits);
    if digits.len() <= WORD_DIGITS {
        let digit = |value: i64, byte: &u8| value * 10 + i64::from(byte.wrapping_sub(b'0') % 10);
        let value = digits.iter().fold(0, digit);
        let sum = if is_negative { shift - value } else { shift + value };
        if sum != 0 {
            let mut text = [0; 24];
            let mut rest = &mut text[..];
            // An `e`, a sign and at most 19 digits fit.
            let _ = write!(rest, "e{sum}");
            let left = rest.len();
            write(&text[..text.len() - left]);
        }
        return;
    }
    let mut sum = digits.to_vec();
    let mut carried = if is_negative { -shift } else { shift };
    for byte in sum.iter_mut().rev() {
        if carried == 0 {
            break;
        }
        carried += i64::from(byte.wrapping_sub(b'0'));
        *byte = b'0' + carried.rem_euclid(10) as u8;
        carried = carried.div_euclid(10);
    }
    write(if is_negative { b"e-" } else { b"e" });
    if carried > 0 {
        write(carried.to_string().as_bytes());
        write(&sum);
    } else {
        write(without_first_zeros(&sum));
    }
}

fn without_sign(number: &[u8]) -> (bool, &[u8]) {
    match number {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

fn without_first_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    &digits[zeros..]
}

fn without_last_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|byte| **byte == b'0').count();
    &digits[..digits.len() - zeros]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(number: &str) -> String {
        let mut text = Vec::new();
        write_exact(number.as_bytes(), &mut |part| text.extend_from_slice(part));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn all_spellings_of_a_number_have_one_text() {
        let long = "1".repeat(100);
        for (expected, spellings) in [
            ("0", &["0", "-0", "0.0", "-0.000", "0e5", "0E-99999999999999999999999"][..]),
            (
                "1",
                &[
                    "1",
                    "1.0",
                    "1e0",
                    "1E+0",
                    "10e-1",
                    "0.1e1",
                    "0.001e3",
                    "1e-000000000000000000000",
                ],
            ),
            ("1e2", &["100", "1e2", "1.00e+02", "0.1e3"]),
            ("-15e-1", &["-1.5", "-1.50", "-15e-1", "-0.15E1"]),
            ("1e-1", &["0.1", "0.10", "1e-1"]),
            ("10000000000000000001e-19", &["1.0000000000000000001"]),
            ("9223372036854775808", &["9223372036854775808", "9223372036854775808.0"]),
            ("1e400", &["1e400", "10e399", "0.01e402"]),
            ("1e999999999999999999", &["1e999999999999999999", "0.1e1000000000000000000"]),
            ("1e1000000000000000000", &["1e1000000000000000000", "10e999999999999999999"]),
            ("1e-1000000000000000001", &["1e-1000000000000000001", "0.01e-999999999999999999"]),
            ("5e99999999999999999999", &["5e99999999999999999999", "0.5e100000000000000000000"]),
            (
                "5e-100000000000000000001",
                &["5e-100000000000000000001", "0.005e-99999999999999999998"],
            ),
            (&long, &[&long, &format!("{long}.0"), &format!("{long}0e-1")]),
        ] {
            for spelling in spellings {
                assert_eq!(exact(spelling), expected, "{spelling}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_number_keeps_its_value(
            digits in "-?[1-9][0-9]{0,30}",
            exponent in -(10_i128.pow(30))..10_i128.pow(30),
            point in 0..40_usize,
            zeros in 0..5_usize,
        ) {
            let expected = exact(&format!("{digits}e{exponent}"));
            let (sign, digits) = digits.strip_prefix('-').map_or(("", &*digits), |rest| ("-", rest));
            // The point moves to the left of some digits, with zeros where none are left.
            let padded = format!("{}{digits}", "0".repeat((point + 1).saturating_sub(digits.len())));
            let (whole, fraction) = padded.split_at(padded.len() - point);
            let (zeros, exponent) = ("0".repeat(zeros), exponent + point as i128);
            let other = format!("{sign}{whole}.{fraction}0{zeros}E{}{zeros}{}",
                if exponent < 0 { "-" } else { "+" }, exponent.abs());
            prop_assert_eq!(exact(&other), expected.clone(), "{}", other);
            let next = format!("{sign}{whole}.{fraction}{zeros}1e{exponent}");
            prop_assert_ne!(exact(&next), expected.clone());
            let next = format!("{sign}{whole}.{fraction}e{}", exponent + 1);
            prop_assert_ne!(exact(&next), expected);
        }

        #[test]
        fn any_text_ends(any in "[-+0-9.eEx]{0,60}") {
            exact(&any);
        }
    }
}
