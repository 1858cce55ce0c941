//! The key by which rows are compared: a hash of what an expression returns for a row. Equal JSON values have equal
//! hashes. Whether a row is the first one with its hash is decided later, in the order of the rows.

use std::{ops::ControlFlow, sync::atomic::AtomicBool};

use sha2::{Digest, Sha256};

use super::{
    expression::{EvaluationFailure, Expression},
    json,
};
use crate::{
    client::Row,
    error::{Error, Result},
};

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

    /// Returns the hash for a row, which is never zero. No output counts as null.
    ///
    /// # Errors
    /// The failure of the evaluation. Several outputs, and an output that JSON does not have, are failures, too.
    pub(super) fn hash(&self, row: &Row<'_>, stop: &AtomicBool) -> Result<u128, EvaluationFailure> {
        let mut found: Option<Result<u128, String>> = None;
        self.expression.outputs(row, stop, &mut |output| {
            let hash = match found {
                None => json::sorted(&output).map(|text| hash(&text)),
                Some(_) => Err("it has several outputs: collect them with [...]".to_owned()),
            };
            let flow =
                if hash.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            found = Some(hash);
            flow
        })?;
        found.unwrap_or_else(|| Ok(null_hash())).map_err(EvaluationFailure::Row)
    }
}

/// Returns the hash of null.
pub(super) fn null_hash() -> u128 {
    hash("null")
}

/// Returns the first 128 bits of SHA-256. Nobody can make two texts with the same hash, so no row is left out that
/// differs from all others.
fn hash(text: &str) -> u128 {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
    // The file of a part's ids has zero for a row that is left out, so no hash is zero.
    u128::from_be_bytes(*first).max(1)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::ROW, *};

    fn key(text: &str) -> Result<u128, String> {
        let key = RowKey::compile(text).unwrap();
        let hash = key.hash(&ROW, &AtomicBool::new(false));
        hash.map_err(|failure| format!("{failure:?}"))
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
        assert_eq!(key("null").unwrap(), null_hash());
    }

    #[test]
    fn output_that_cannot_be_compared_fails_the_row() {
        assert!(key("1, 2").unwrap_err().contains("several outputs: collect them with [...]"));
        assert!(key("nan").unwrap_err().contains("is not JSON"));
        assert!(key(".tags | error").is_err());
    }
}
