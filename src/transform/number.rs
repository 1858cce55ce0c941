//! Numbers of the expression language: a total and exact order, arithmetic as in jq, and their text.
//!
//! Integers have any size. All other numbers are 64-bit floating-point numbers; one that is only passed on keeps its
//! digits. An integer and a floating-point number are compared exactly, because rounding the integer would make three
//! numbers that have no order.

use std::cmp::Ordering;

use jaq_json::Num;

use super::budget;

/// Largest integer that a product can have, in bits: 78,914 decimal digits. Larger ones make single operations slow.
const INTEGER_BITS: u64 = 1 << 18;
/// Multiplications of machine words that take about as long as a step.
const WORDS_A_STEP: u64 = 64;

/// The exact order of numbers. NaN is below all others, and two NaN are equal: sorting needs a total order.
pub(super) fn compare(one: &Num, other: &Num) -> Ordering {
    match (one, other) {
        (Num::Int(one), Num::Int(other)) => one.cmp(other),
        (Num::Dec(digits), other) => compare(&Num::from_dec_str(digits), other),
        (one, Num::Dec(digits)) => compare(one, &Num::from_dec_str(digits)),
        (Num::Float(one), Num::Float(other)) => compare_floats(*one, *other),
        (Num::Float(float), integer) => compare_mixed(integer, *float).reverse(),
        (integer, Num::Float(float)) => compare_mixed(integer, *float),
        (one, other) => {
            budget::steps(bits(one).min(bits(other)) as usize / 4096);
            // Exact for integers.
            one.cmp(other)
        }
    }
}

/// Whether two numbers are equal. NaN is equal to nothing.
pub(super) fn is_equal(one: &Num, other: &Num) -> bool {
    match (one, other) {
        (Num::Int(one), Num::Int(other)) => one == other,
        _ => compare(one, other).is_eq() && !is_nan(one),
    }
}

pub(super) fn is_nan(number: &Num) -> bool {
    matches!(number, Num::Float(float) if float.is_nan())
}

fn compare_floats(one: f64, other: f64) -> Ordering {
    // Positive and negative zero are equal.
    one.partial_cmp(&other).unwrap_or_else(|| other.is_nan().cmp(&one.is_nan()))
}

/// Compares an integer with a floating-point number.
fn compare_mixed(integer: &Num, float: f64) -> Ordering {
    /// Below it, in either direction, the integral part fits 128 bits.
    const WIDE: f64 = (1_u128 << 126) as f64;
    if float.is_nan() {
        return Ordering::Greater;
    }
    if float.is_infinite() {
        return 0.0.partial_cmp(&float).unwrap_or(Ordering::Equal);
    }
    if float.abs() < WIDE {
        let whole = float.trunc();
        let order = match integer {
            Num::Int(integer) => (*integer as i128).cmp(&(whole as i128)),
            other => other.cmp(&Num::from_integral(whole as i128)),
        };
        // -0.0 has no fraction, so the sign of zero does not matter.
        return order.then_with(|| compare_floats(0.0, float.fract()));
    }
    let is_negative = *integer < Num::Int(0);
    if is_negative != (float < 0.0) {
        return if is_negative { Ordering::Less } else { Ordering::Greater };
    }
    // A number this large is an integer, whose length follows from the exponent.
    let float_bits = (float.abs().to_bits() >> 52) - 1022;
    let by_length = bits(integer).cmp(&float_bits);
    let by_length = if is_negative { by_length.reverse() } else { by_length };
    by_length.then_with(|| {
        let whole = Num::from_str_radix(&format!("{float:.0}"), 10);
        whole.map_or(Ordering::Equal, |whole| integer.cmp(&whole))
    })
}

/// Returns the sum.
pub(super) fn sum(left: Num, right: Num) -> Num {
    count_linear(&left, &right);
    left + right
}

/// Returns the difference.
pub(super) fn difference(left: Num, right: Num) -> Num {
    count_linear(&left, &right);
    left - right
}

/// Returns the product.
///
/// # Errors
/// The product of two integers is too large.
pub(super) fn product(left: Num, right: Num) -> Result<Num, String> {
    let is_large = matches!(left, Num::BigInt(_)) || matches!(right, Num::BigInt(_));
    if is_large && bits(&left).saturating_add(bits(&right)) > INTEGER_BITS {
        return Err("the product of the integers is too large".to_owned());
    }
    count_product(&left, &right);
    let is_negative =
        matches!(left, Num::Int(left) if left < 0) || matches!(right, Num::Int(right) if right < 0);
    Ok(match left * right {
        // As in jq, whose numbers are all floating-point numbers.
        Num::Int(0) if is_negative => Num::Float(-0.0),
        product => product,
    })
}

/// Returns the quotient, always a floating-point number.
///
/// # Errors
/// The divisor is zero.
pub(super) fn quotient(left: Num, right: Num) -> Result<Num, String> {
    if compare(&right, &Num::Int(0)).is_eq() {
        return Err(format!("cannot divide {} by zero", text(&left)));
    }
    count_linear(&left, &right);
    Ok(left / right)
}

/// Returns the remainder of two integers, with the sign of the dividend. Other numbers are truncated first, as in jq.
///
/// # Errors
/// The divisor is zero after it is truncated.
pub(super) fn remainder(left: Num, right: Num) -> Result<Num, String> {
    let is_integer = |number: &Num| matches!(number, Num::Int(_) | Num::BigInt(_));
    let (left, right) = if is_integer(&left) && is_integer(&right) {
        (left, right)
    } else {
        let (left, right) = (as_float(&left), as_float(&right));
        if left.is_nan() || right.is_nan() {
            return Ok(Num::Float(f64::NAN));
        }
        // The conversion truncates, and saturates as in jq.
        (Num::from_integral(left as i64), Num::from_integral(right as i64))
    };
    if compare(&right, &Num::Int(0)).is_eq() {
        return Err(format!("cannot divide {} by zero for the remainder", text(&left)));
    }
    count_product(&left, &right);
    Ok(left % right)
}

/// Returns the number with the other sign. The one of 0 is -0, as in jq.
pub(super) fn negated(number: Num) -> Num {
    count_linear(&number, &number);
    match number {
        Num::Int(0) => Num::Float(-0.0),
        number => -number,
    }
}

/// Returns the nearest floating-point number.
pub(super) fn as_float(number: &Num) -> f64 {
    match number {
        Num::Int(integer) => *integer as f64,
        Num::Float(float) => *float,
        // A sum with a floating-point number is one.
        other => match other.clone() + Num::Float(0.0) {
            Num::Float(float) => float,
            _ => f64::NAN,
        },
    }
}

/// Returns a number as text. A number that JSON does not have is `NaN`, `Infinity` or `-Infinity`.
pub(super) fn text(number: &Num) -> String {
    match number {
        Num::Float(float) if float.is_finite() => float_text(*float),
        other => other.to_string(),
    }
}

/// Returns the shortest digits that give the number again, in the form of jq: `2`, `0.5`, `1.5e+300`, `1e-05`.
fn float_text(float: f64) -> String {
    // Always of the form `-1.25e-7`.
    let scientific = format!("{:e}", float.abs());
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = digits.replace('.', "");
    let sign = if float.is_sign_negative() { "-" } else { "" };
    let length = digits.len() as i32;
    // Number of digits before the point.
    let whole = exponent + 1;
    if float == 0.0 {
        format!("{sign}0")
    } else if whole <= -4 || whole > length + 15 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.abs())
    } else if whole <= 0 {
        format!("{sign}0.{}{digits}", "0".repeat(whole.unsigned_abs() as usize))
    } else if whole >= length {
        format!("{sign}{digits}{}", "0".repeat((whole - length).unsigned_abs() as usize))
    } else {
        let (before, after) = digits.split_at(whole.unsigned_abs() as usize);
        format!("{sign}{before}.{after}")
    }
}

/// Counts an operation that reads each digit once, and the bytes of its result.
fn count_linear(left: &Num, right: &Num) {
    let bytes = size(left).saturating_add(size(right));
    if bytes > 0 {
        budget::copy(bytes);
        budget::steps(bytes / 512);
    }
}

/// Counts an operation that combines each word of one integer with each word of the other, and the bytes of its result.
fn count_product(left: &Num, right: &Num) {
    if matches!((left, right), (Num::Int(_), Num::Int(_))) {
        return;
    }
    count_linear(left, right);
    let words = |number: &Num| bits(number).div_ceil(64);
    let steps = words(left).saturating_mul(words(right)) / WORDS_A_STEP;
    budget::steps(usize::try_from(steps).unwrap_or(usize::MAX));
}

fn size(number: &Num) -> usize {
    match number {
        Num::BigInt(integer) => usize::try_from(integer.bits() / 8).unwrap_or(usize::MAX),
        Num::Dec(digits) => digits.len(),
        Num::Int(_) | Num::Float(_) => 0,
    }
}

fn bits(number: &Num) -> u64 {
    match number {
        Num::BigInt(integer) => integer.bits(),
        Num::Int(_) | Num::Float(_) | Num::Dec(_) => 64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transform::budget::{EvaluationBounds, bounded};

    /// Integers and floating-point numbers around the limits of both, and their neighbours.
    fn numbers() -> impl Strategy<Value = Num> {
        let around =
            prop::sample::select(vec![0_i128, 1 << 53, 1 << 63, 1 << 64, 1 << 100, 1 << 126]);
        let integer = (around.clone(), -3_i128..=3, any::<bool>()).prop_map(|(at, more, minus)| {
            let integer = at + more;
            Num::from_integral(if minus { -integer } else { integer })
        });
        let float = (around, -3_i64..=3, any::<bool>()).prop_map(|(at, more, minus)| {
            let bits = (at as f64).to_bits() as i64 + more;
            let float = f64::from_bits(bits.unsigned_abs());
            Num::Float(if minus { -float } else { float })
        });
        let huge = (0..320_usize, any::<bool>()).prop_map(|(zeros, minus)| {
            let sign = if minus { "-" } else { "" };
            Num::from_str_radix(&format!("{sign}1{}", "0".repeat(zeros)), 10).unwrap()
        });
        let special = prop::sample::select(vec![
            Num::Float(f64::NAN),
            Num::Float(f64::INFINITY),
            Num::Float(f64::NEG_INFINITY),
            Num::Float(-0.0),
            Num::Float(f64::MAX),
            Num::Float(f64::MIN_POSITIVE),
        ]);
        let decimal = (any::<f64>(), any::<bool>()).prop_filter_map("finite", |(float, whole)| {
            let float = if whole { float.trunc() } else { float };
            float.is_finite().then(|| Num::Dec(format!("{float:?}").into()))
        });
        let any_float = any::<f64>().prop_map(Num::Float);
        let any_integer = any::<i64>().prop_map(Num::from_integral);
        prop_oneof![integer, float, huge, special, decimal, any_float, any_integer]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

        #[test]
        fn order_is_total(a in numbers(), b in numbers(), c in numbers()) {
            let ends = bounded(EvaluationBounds::STANDARD, || {
                let order = [(&a, &b), (&b, &a), (&b, &c), (&a, &c), (&a, &a)]
                    .map(|(one, other)| compare(one, other));
                (order, is_equal(&a, &b))
            });
            let ([ab, ba, bc, ac, aa], equal) = ends.unwrap();
            prop_assert_eq!(ab, ba.reverse(), "{} {}", a, b);
            prop_assert_eq!(aa, Ordering::Equal);
            prop_assert_eq!(equal, ab.is_eq() && !as_float(&a).is_nan());
            if ab == bc {
                prop_assert_eq!(ac, ab, "{} {} {}", a, b, c);
            } else if ab.is_eq() || bc.is_eq() {
                prop_assert_eq!(ac, ab.then(bc), "{} {} {}", a, b, c);
            }
        }

        /// The order of floating-point numbers is that of the machine, and of integers that of the library.
        #[test]
        fn order_agrees_with_others(a in any::<f64>(), b in any::<f64>(), c in any::<i64>(), d in any::<i64>()) {
            prop_assert_eq!(Some(compare(&Num::Float(a), &Num::Float(b))), a.partial_cmp(&b));
            let [one, other] = [c, d].map(Num::from_integral);
            prop_assert_eq!(compare(&one, &other), c.cmp(&d));
            // Halves of integers are exact.
            let half = (c >> 12) as f64 / 2.0;
            let doubled = (c >> 12).cmp(&(2 * (d >> 13)));
            prop_assert_eq!(compare(&Num::Float(half), &Num::from_integral(d >> 13)), doubled);
        }

        #[test]
        fn text_gives_the_number_again(float in any::<f64>().prop_filter("finite", |it| it.is_finite())) {
            prop_assert_eq!(float_text(float).parse::<f64>().unwrap().to_bits(), float.to_bits());
        }
    }

    #[test]
    fn numbers_print_as_in_jq() {
        for (float, text) in [
            (2.0, "2"),
            (-0.0, "-0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1e15, "1000000000000000"),
            (1e16, "1e+16"),
            (1.5e16, "15000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5e+300"),
            (123_456_789_012_345_678_f64, "123456789012345680"),
            (12_345_678_901_234_567_890_f64, "12345678901234567000"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-123.5e-10, "-1.235e-08"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(float_text(float), text);
        }
    }

    #[test]
    fn integers_are_compared_exactly() {
        let integer = |text: &str| Num::from_str_radix(text, 10).unwrap();
        let above = integer("9007199254740993");
        assert!(compare(&above, &Num::Float(9_007_199_254_740_992.0)).is_gt());
        assert!(!is_equal(&above, &Num::Float(9_007_199_254_740_992.0)));
        let large = format!("{:.0}", 1e300_f64);
        assert!(compare(&integer(&large), &Num::Float(1e300)).is_eq());
        let more = format!("{}1", &large[..large.len() - 1]);
        assert!(compare(&integer(&more), &Num::Float(1e300)).is_gt());
        assert!(compare(&integer(&format!("-{more}")), &Num::Float(-1e300)).is_lt());
        assert!(compare(&integer("-1"), &Num::Float(f64::NAN)).is_gt());
    }
}
