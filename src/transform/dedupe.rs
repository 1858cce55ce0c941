//! The key by which rows are compared: a keyed hash of what an expression returns for a row. Equal JSON values have equal
//! hashes. Whether a row is the first one with its hash is decided later, in the order of the rows.
//!
//! The staging of an export has these hashes next to the ids of the rows, and a value can be one that a mask replaces. So
//! the hash is an HMAC: without the key, nobody can guess a value and compare. It also spreads the rows evenly over the
//! table of first rows, whatever their values are.

use std::{fmt, ops::ControlFlow, sync::atomic::AtomicBool};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    expression::{EvaluationFailure, Expression},
    json,
};
use crate::{
    client::Row,
    error::{Error, Result},
    net::random_bytes,
    text::hex,
};

/// The hash of a row that is not compared: the expression failed on it, and `on_error` keeps it.
pub(crate) const NOT_COMPARED: u128 = 0;

/// The key of the hashes. It decides nothing but the hashes: the same rows are kept with any key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashKey([u8; 32]);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

impl HashKey {
    pub(super) const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Returns a new key, which nobody can guess.
    ///
    /// # Errors
    /// [`Error::Internal`] when the system has no random numbers.
    pub(crate) fn random() -> Result<Self> {
        random_bytes().map(Self)
    }

    /// Returns the key as hexadecimal digits, for a journal.
    pub(crate) fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// Reads the key from [`to_hex`](Self::to_hex); `None` if it is another text.
    pub(crate) fn of_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        let key = pairs.iter().map(byte).collect::<Option<Vec<_>>>()?;
        rest.is_empty().then(|| key.try_into().ok().map(Self))?
    }

    /// Returns the first 128 bits of HMAC-SHA-256. Nobody can make two texts with the same hash, so no row is left out
    /// that differs from all others.
    fn hash(self, text: &str) -> u128 {
        // Keys of any length are valid.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return NOT_COMPARED };
        mac.update(text.as_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        u128::from_be_bytes(*first).max(1)
    }
}

/// The hash of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowHash {
    pub(super) hash: u128,
    /// Whether the output is null.
    pub(super) is_null: bool,
}

/// A compiled expression whose output is compared.
#[derive(Debug)]
pub(super) struct RowKey {
    pub(super) expression: Expression,
}

impl RowKey {
    /// # Errors
    /// [`Error::Expression`] for an expression that is not valid.
    pub(super) fn compile(text: &str) -> Result<Self> {
        let mut compiled = Expression::compile_values("dedupe", &[text.to_owned()])?;
        let missing = || Error::Internal("the key of rows was not compiled".to_owned());
        Ok(Self { expression: compiled.pop().ok_or_else(missing)? })
    }

    /// Returns the hash for a row, which is never [`NOT_COMPARED`]. No output counts as null.
    ///
    /// # Errors
    /// The failure of the evaluation. Several outputs, and an output that JSON does not have, are failures, too.
    pub(super) fn hash(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
        key: HashKey,
    ) -> Result<RowHash, EvaluationFailure> {
        let of = |text: &str| RowHash { hash: key.hash(text), is_null: text == "null" };
        let mut found: Option<Result<RowHash, String>> = None;
        self.expression.outputs(row, stop, &mut |output| {
            let hash = match found {
                None => json::sorted(&output).map(|text| of(&text)),
                Some(_) => Err("it has several outputs: collect them with [...]".to_owned()),
            };
            let flow =
                if hash.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            found = Some(hash);
            flow
        })?;
        found.unwrap_or_else(|| Ok(of("null"))).map_err(EvaluationFailure::Row)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::ROW, *};

    const KEY: HashKey = HashKey::new([7; 32]);

    fn key(text: &str) -> Result<u128, String> {
        let key = RowKey::compile(text).unwrap();
        let hash = key.hash(&ROW, &AtomicBool::new(false), KEY);
        hash.map(|found| found.hash).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn equal_values_have_equal_hashes() {
        for (one, other, is_equal) in [
            (r#"{a: 1, b: {x: [1], y: 2}}"#, r#"{b: {y: 2, x: [1]}, a: 1}"#, true),
            ("[1, 2]", "[2, 1]", false),
            ("null", "empty", true),
            (".missing", ".expected_output", true),
            ("\"1\"", "1", false),
            ("1.0", "1", false),
            (r#""\u0041""#, "\"A\"", true),
            (".input", ".input | tojson | fromjson", true),
            (".tags.big", "123456789012345678901234567890", true),
            (".tags.big", "123456789012345678901234567891", false),
            ("[]", "{}", false),
        ] {
            assert_eq!(key(one).unwrap() == key(other).unwrap(), is_equal, "{one} {other}");
        }
        assert_eq!(key("null").unwrap(), KEY.hash("null"));
    }

    #[test]
    fn hash_cannot_be_guessed_without_the_key() {
        // Of Python: hmac.new(bytes([7] * 32), b'"a"', "sha256").hexdigest()[:32]
        assert_eq!(format!("{:032x}", key("\"a\"").unwrap()), "9ac7560d4a94dae073c6ad767193ee00");
        let (one, other) = (HashKey::random().unwrap(), HashKey::random().unwrap());
        assert_ne!(one.hash("\"a\""), other.hash("\"a\""));
        assert_eq!(HashKey::of_hex(&one.to_hex()), Some(one));
        for wrong in ["", "07", &"07".repeat(33), &"0g".repeat(32), &format!("{}0", KEY.to_hex())] {
            assert_eq!(HashKey::of_hex(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{KEY:?}"), "HashKey(..)");
    }

    #[test]
    fn output_that_cannot_be_compared_fails_the_row() {
        assert!(key("1, 2").unwrap_err().contains("several outputs: collect them with [...]"));
        assert!(key("nan").unwrap_err().contains("is not JSON"));
        assert!(key(".tags | error").is_err());
    }
}
