//! A digest of the rows' content. It does not depend on how the rows are split into parts, or on the file
//! format. It never reads a file's bytes.
//!
//! # How to compute it
//!
//! Each row has an XXH3 128-bit hash (seed 0, the default secret). The digest of rows with the hashes h₁ … hₙ is
//! the polynomial h₁·kⁿ⁻¹ + h₂·kⁿ⁻² + … + hₙ, modulo 2¹²⁸, with the odd constant k below. Without rows it is
//! zero. The hash of a row covers, for each column in the order of the schema: for null, the byte `00`; for a
//! value, the byte `01`, then its length in bytes, in 8 bytes, then its bytes.
//!
//! Numbers are unsigned and little-endian. The bytes of a string are its UTF-8 bytes. The bytes of a JSON column are
//! the UTF-8 bytes of its compact text. The bytes of an int64 are its 8 bytes, little-endian in two's complement; a
//! time is such a number of microseconds since 1970. The bytes of a floating-point number are the 8 bytes of its IEEE
//! 754 form, little-endian, and the byte of a boolean is `00` or `01`. The bytes of a list cover its elements, in order,
//! as those of a row cover its values: for null, the byte `00`; for a value, the byte `01`, its length, and its bytes.
//! The text form is `xxh3-128-poly:` and 32 lower-case hexadecimal digits, the most significant digit first. In Python:
//!
//! ```text
//! import xxhash
//!
//! K = 0x2360ED051FC65DA44385DF649FCCF645
//!
//! def digest(rows):                      # rows: lists of None or bytes
//!     total = 0
//!     for row in rows:
//!         text = b""
//!         for value in row:
//!             text += b"\0" if value is None else b"\1" + len(value).to_bytes(8, "little") + value
//!         total = (total * K + xxhash.xxh3_128_intdigest(text)) % 2**128
//!     return f"xxh3-128-poly:{total:032x}"
//! ```
//!
//! # Use and limits
//!
//! For consecutive rows A and B, D(A‖B) = D(A)·k^|B| + D(B). So the parts of an export can be written by runs
//! that know nothing of each other, not even the number of a row, and their digests still join to the digest of
//! the whole. It is the same for a resumed export, and for an export that is split into other parts.
//!
//! The power of k makes the place of a row count. The markers and lengths distinguish null, the empty string and
//! the borders between columns.
//!
//! An accidental change of a row replaces a term by a practically random one: k is odd, so a power of it is
//! invertible, and the change goes unnoticed with a probability of 2⁻¹²⁸. A lost or repeated row moves all rows
//! before it. Two swapped rows with the distance m change the digest by (hᵢ − hⱼ)·kˣ·(kᵐ − 1). The second factor
//! is even: for this k (5 modulo 8) it has 2 + v zero bits at its end, where 2ᵛ is the largest power of two that
//! divides m. So a swap goes unnoticed with a probability of 2⁻¹²⁶⁺ᵛ, which for a billion rows is at most 2⁻⁹⁶.
//!
//! The digest does not protect against an attacker who searches for rows with a chosen digest: XXH3 is not a
//! cryptographic hash, and a polynomial makes such a search even easier. The SHA-256 of a file serves that
//! purpose.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use twox_hash::XxHash3_128;

/// Number of bytes of a row to collect and hash in one call: 16 KiB. This takes three fifths of the time of
/// hashing value by value.
const AT_ONCE: usize = 16 << 10;
const PREFIX: &str = "xxh3-128-poly:";
/// The base of the polynomial: the multiplier of the PCG generators of 128 bits, which mixes well. It is odd, and
/// 5 modulo 8.
const K: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;
/// The number with k · INVERSE = 1, modulo 2¹²⁸.
const INVERSE: u128 = inverse(K);
const HEX_DIGITS: usize = 32;

/// Returns the inverse of an odd number, modulo 2¹²⁸. Each of Newton's steps doubles the number of right bits.
const fn inverse(odd: u128) -> u128 {
    // The square of an odd number is 1 modulo 8, so three bits are right.
    let (mut inverse, mut bits) = (odd, 3);
    while bits < 128 {
        inverse = inverse.wrapping_mul(2_u128.wrapping_sub(odd.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}

/// The digest of consecutive rows: one row, a part, or a whole export. Equal content has an equal digest in any
/// format. The default is the digest of no rows.
///
/// ```
/// use overmind_export::Digest;
///
/// let text = format!("{}", Digest::default());
/// assert_eq!(text, "xxh3-128-poly:00000000000000000000000000000000");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u128);

impl Digest {
    /// Adds the digest of the `rows` rows that follow.
    pub fn join(&mut self, next: Self, rows: u64) {
        self.0 = self.0.wrapping_mul(power(rows)).wrapping_add(next.0);
    }

    /// Adds the next row.
    pub(crate) fn push(&mut self, row: Self) {
        self.0 = self.0.wrapping_mul(K).wrapping_add(row.0);
    }
}

/// The digest of rows that come in another order than their own, such as split by split.
///
/// The sum of hᵢ·k⁻ⁱ does not depend on the order in which the terms are added. With k to the power of the last place, it
/// is the digest of the rows by their places.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlacedDigest {
    sum: u128,
    rows: u64,
}

impl PlacedDigest {
    /// Adds rows, each with its place, from 0. The places of one call must rise.
    pub(crate) fn add(&mut self, rows: impl IntoIterator<Item = (u64, Digest)>) {
        let (mut last, mut factor) = (0, 1_u128);
        for (place, row) in rows {
            factor = factor.wrapping_mul(power_of(INVERSE, place.saturating_sub(last)));
            last = place;
            self.sum = self.sum.wrapping_add(row.0.wrapping_mul(factor));
            self.rows += 1;
        }
    }

    /// Returns the digest of the rows by their places, if there is one row for each place from 0 on.
    pub(crate) fn digest(self) -> Digest {
        Digest(self.sum.wrapping_mul(power(self.rows.saturating_sub(1))))
    }
}

/// Returns k to this power, modulo 2¹²⁸.
fn power(exponent: u64) -> u128 {
    power_of(K, exponent)
}

/// Returns the base to this power, modulo 2¹²⁸.
fn power_of(base: u128, mut exponent: u64) -> u128 {
    let (mut result, mut square) = (1_u128, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        exponent >>= 1;
    }
    result
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:0HEX_DIGITS$x}", self.0)
    }
}

/// The error for a text that is not the text form of a [`Digest`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a content digest: expected {PREFIX} and {HEX_DIGITS} hexadecimal digits")]
pub struct ParseDigestError(String);

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix(PREFIX)
            // `from_str_radix` alone would accept a sign and fewer digits.
            .filter(|hex| hex.len() == HEX_DIGITS && hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u128::from_str_radix(hex, 16).ok())
            .map(Self)
            .ok_or_else(|| ParseDigestError(text.to_owned()))
    }
}

/// Returns the byte and the length that stand before the bytes of a value.
fn mark(bytes: &[u8]) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = (bytes.len() as u64).to_le_bytes();
    [1, a, b, c, d, e, f, g, h]
}

/// Adds an element to the bytes of a list: like a value to those of a row.
pub(crate) fn push_field(value: Option<&[u8]>, list: &mut Vec<u8>) {
    match value {
        None => list.push(0),
        Some(bytes) => {
            list.extend_from_slice(&mark(bytes));
            list.extend_from_slice(bytes);
        }
    }
}

/// Hashes rows one at a time: call `start`, a field method for every column in order, then `end`. Its memory
/// does not grow with the row: it passes bytes beyond 16 KiB directly to the hash.
#[derive(Default)]
pub(crate) struct RowHasher {
    gathered: Vec<u8>,
    /// State of the hash of a row that is too large for one call.
    state: Option<XxHash3_128>,
}

impl RowHasher {
    /// Makes a hasher for any number of rows.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Starts a row.
    pub(crate) fn start(&mut self) {
        self.gathered.clear();
        self.state = None;
    }

    fn add(&mut self, bytes: &[u8]) {
        match &mut self.state {
            Some(state) => state.write(bytes),
            None if self.gathered.len() + bytes.len() <= AT_ONCE => {
                self.gathered.extend_from_slice(bytes);
            }
            state => {
                let state = state.insert(XxHash3_128::new());
                state.write(&self.gathered);
                state.write(bytes);
            }
        }
    }

    /// Adds the next column's value.
    pub(crate) fn field(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.add(&[0]),
            Some(bytes) => {
                self.add(&mark(bytes));
                self.add(bytes);
            }
        }
    }

    /// Ends the row and returns its digest, for [`Digest::push`].
    pub(crate) fn end(&mut self) -> Digest {
        Digest(match self.state.take() {
            Some(state) => state.finish_128(),
            None => XxHash3_128::oneshot(&self.gathered),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = Vec<Option<Vec<u8>>>;

    fn row_digest(hasher: &mut RowHasher, row: &Row) -> Digest {
        hasher.start();
        for value in row {
            hasher.field(value.as_deref());
        }
        hasher.end()
    }

    fn digest_of(rows: &[Row]) -> Digest {
        let mut hasher = RowHasher::new();
        let mut digest = Digest::default();
        for row in rows {
            digest.push(row_digest(&mut hasher, row));
        }
        digest
    }

    /// Computes the digest literally as defined above.
    fn by_definition(rows: &[Row]) -> Digest {
        let mut total = 0_u128;
        for row in rows {
            let mut text = Vec::new();
            for value in row {
                match value {
                    None => text.push(0),
                    Some(bytes) => {
                        text.push(1);
                        text.extend((bytes.len() as u64).to_le_bytes());
                        text.extend(bytes);
                    }
                }
            }
            total = total.wrapping_mul(K).wrapping_add(XxHash3_128::oneshot(&text));
        }
        Digest(total)
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let short = prop::collection::vec(any::<u8>(), 0..300);
        // Rows that fit into one call, just fit, and do not fit.
        let long = (any::<u8>(), 0..AT_ONCE + 100).prop_map(|(byte, length)| vec![byte; length]);
        let value = prop::option::of(prop_oneof![30 => short, 1 => long]);
        prop::collection::vec(prop::collection::vec(value, 4), 2..30)
    }

    proptest! {
        #[test]
        fn digest_is_the_same_for_any_partition(
            (rows, cuts) in rows().prop_flat_map(|rows| {
                let cuts = prop::collection::btree_set(0..rows.len(), 0..6);
                (Just(rows), cuts)
            }),
        ) {
            let ends = cuts.iter().copied().chain([rows.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let parts: Vec<(Digest, u64)> = starts
                .zip(ends)
                .map(|(start, end)| (digest_of(&rows[start..end]), (end - start) as u64))
                .collect();
            let mut joined = Digest::default();
            for (part, rows) in &parts {
                joined.join(*part, *rows);
            }
            // Neighbours can be joined in any order: here from the last to the first.
            let (mut last, mut count) = (Digest::default(), 0);
            for (part, rows) in parts.into_iter().rev() {
                let mut first = part;
                first.join(last, count);
                (last, count) = (first, count + rows);
            }
            prop_assert_eq!(joined, last);
            prop_assert_eq!(joined, digest_of(&rows));
            prop_assert_eq!(joined, by_definition(&rows));
        }

        #[test]
        fn order_of_placed_rows_does_not_matter(
            (rows, split) in rows().prop_flat_map(|rows| {
                let split = prop::collection::vec(0..3_usize, rows.len());
                (Just(rows), split)
            }),
        ) {
            let mut hasher = RowHasher::new();
            let hashes: Vec<_> = rows.iter().map(|row| row_digest(&mut hasher, row)).collect();
            let placed = |hashes: &[Digest]| {
                let mut placed = PlacedDigest::default();
                for wanted in [2, 0, 1] {
                    let places = (0..).zip(hashes).zip(&split).filter(|(_, split)| **split == wanted);
                    placed.add(places.map(|((place, hash), _)| (place, *hash)));
                }
                placed.digest()
            };
            prop_assert_eq!(placed(&hashes), digest_of(&rows));
            let mut swapped = hashes.clone();
            swapped.swap(0, 1);
            prop_assert_eq!(placed(&swapped) == placed(&hashes), rows[0] == rows[1]);
        }

        #[test]
        fn swapped_rows_change_the_digest(
            rows in rows(), i in any::<prop::sample::Index>(), j in any::<prop::sample::Index>(),
        ) {
            let (i, j) = (i.index(rows.len()), j.index(rows.len()));
            prop_assume!(rows[i] != rows[j]);
            let mut swapped = rows.clone();
            swapped.swap(i, j);
            prop_assert_ne!(digest_of(&rows), digest_of(&swapped));
        }

        #[test]
        fn any_changed_byte_changes_the_digest(
            rows in rows(), row in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        ) {
            let row = row.index(rows.len());
            let mut changed = rows.clone();
            for value in changed[row].iter_mut().flatten().filter(|value| !value.is_empty()) {
                let at = at.index(value.len());
                value[at] ^= 1;
            }
            prop_assume!(changed != rows);
            prop_assert_ne!(digest_of(&rows), digest_of(&changed));
        }

        #[test]
        fn digest_parses_from_its_text(sum in any::<u128>()) {
            prop_assert_eq!(Digest(sum).to_string().parse(), Ok(Digest(sum)));
        }
    }

    #[test]
    fn null_empty_and_column_borders_differ() {
        let rows: [Row; 6] = [
            vec![None, None],
            vec![Some(vec![]), None],
            vec![None, Some(vec![])],
            vec![Some(b"ab".to_vec()), Some(b"c".to_vec())],
            vec![Some(b"a".to_vec()), Some(b"bc".to_vec())],
            vec![Some(b"\0".to_vec()), None],
        ];
        let digests: std::collections::BTreeSet<_> =
            rows.iter().map(|row| digest_of(std::slice::from_ref(row)).to_string()).collect();
        assert_eq!(digests.len(), rows.len());
    }

    #[test]
    fn inverse_of_the_base_is_exact() {
        assert_eq!(K.wrapping_mul(INVERSE), 1);
        assert_eq!(PlacedDigest::default().digest(), Digest::default());
    }

    #[test]
    fn equal_rows_do_not_cancel_out() {
        let row: Row = vec![Some(b"same".to_vec())];
        let counts = (0..5).map(|n| digest_of(&vec![row.clone(); n]).to_string());
        assert_eq!(counts.collect::<std::collections::BTreeSet<_>>().len(), 5);
    }

    #[test]
    fn swaps_at_a_power_of_two_change_the_digest() {
        // The factor kᵐ − 1 has the most zero bits for these distances.
        for shift in 0..32 {
            let distance = 1_u64 << shift;
            let factor = power(distance).wrapping_sub(1);
            assert_eq!(factor.trailing_zeros(), 2 + shift, "{distance}");
        }
    }

    /// The Python program above computed the expected text, with another XXH3 implementation.
    #[test]
    fn digest_of_known_rows_matches() {
        let mut hasher = RowHasher::new();
        let mut digest = Digest::default();

        hasher.start();
        hasher.field(Some(b"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"));
        hasher.field(Some(&0_i64.to_le_bytes()));
        hasher.field(Some(br#"{"q":1}"#));
        hasher.field(None);
        hasher.field(Some("pérsona".as_bytes()));
        hasher.field(Some(b"{}"));
        hasher.field(None);
        digest.push(hasher.end());
        assert_eq!(digest.to_string(), "xxh3-128-poly:9ce3c099a84d42246bb1114236726745");

        hasher.start();
        hasher.field(Some(b"00000000-0000-0000-0000-000000000001"));
        hasher.field(Some(&(-2_i64).to_le_bytes()));
        hasher.field(Some(&b"x".repeat(5000)));
        hasher.field(Some(b""));
        hasher.field(None);
        hasher.field(None);
        hasher.field(None);
        digest.push(hasher.end());

        assert_eq!(digest.to_string(), "xxh3-128-poly:9095912572bb50c13393765a3ab1591c");

        // This row is too large for one call.
        hasher.start();
        hasher.field(Some(b"00000000-0000-0000-0000-000000000002"));
        hasher.field(None);
        hasher.field(Some((0..10_000).map(|n| n.to_string()).collect::<String>().as_bytes()));
        hasher.field(Some(&b"0123456789".repeat(2000)));
        hasher.field(None);
        hasher.field(None);
        hasher.field(None);
        digest.push(hasher.end());
        assert_eq!(digest.to_string(), "xxh3-128-poly:2951959bf4d01d24851438c248441035");
    }

    #[test]
    fn digest_of_no_rows_is_zero() {
        let zero = Digest::default().to_string();
        assert_eq!(zero, "xxh3-128-poly:00000000000000000000000000000000");
    }

    #[test]
    fn other_texts_are_refused() {
        let hex = "0123456789abcdef0123456789abcdef";
        for text in [
            "".to_owned(),
            hex.to_owned(),
            format!("sha256:{hex}"),
            format!("{PREFIX}{}", &hex[1..]),
            format!("{PREFIX}{hex}0"),
            format!("{PREFIX}+{}", &hex[1..]),
            format!("{PREFIX}g{}", &hex[1..]),
        ] {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            let expected = "expected xxh3-128-poly: and 32 hexadecimal digits";
            assert_eq!(error, format!("{text:?} is not a content digest: {expected}"));
        }
    }
}
