//! A digest of the rows' content that is the same however the rows were cut into parts and
//! whatever format holds them; it never looks at a file's bytes.
//!
//! # How to compute it
//!
//! The digest is the sum, modulo 2¹²⁸, of one XXH3 128-bit hash (seed 0, the default secret) for
//! each row. No rows: zero. What is hashed for a row is this, one after the other:
//!
//! 1. the row's number, counted from 0 at the first row of the export, in 8 bytes;
//! 2. for each column in the order of the schema: for null, the byte `00`; for a value, the byte
//!    `01`, then its length in bytes, in 8 bytes, then its bytes.
//!
//! Numbers are unsigned and little-endian. A string is its UTF-8 bytes, a JSON column the UTF-8
//! bytes of its compact text, an int64 its 8 bytes, little-endian in two's complement. The digest
//! is written as `xxh3-128-sum:` and 32 lower-case hexadecimal digits, the most significant first.
//! In Python:
//!
//! ```text
//! import xxhash
//!
//! def digest(rows):                      # rows: lists of None or bytes
//!     total = 0
//!     for number, row in enumerate(rows):
//!         text = number.to_bytes(8, "little")
//!         for value in row:
//!             text += b"\0" if value is None else b"\1" + len(value).to_bytes(8, "little") + value
//!         total += xxhash.xxh3_128_intdigest(text)
//!     return f"xxh3-128-sum:{total % 2**128:032x}"
//! ```
//!
//! # What it is good for
//!
//! A sum can be taken over parts in any order and added up, which is what makes the digest of a
//! resumed export, or of one cut into other parts, the same. The number inside every hash makes
//! the order of the rows count; the markers and lengths keep null, the empty string and the
//! borders between columns apart. A row that is lost, doubled, moved or changed by accident
//! replaces a term by one that is as good as random, so it goes unnoticed with a probability of
//! about 2⁻¹²⁸. It is no defence against somebody who looks for rows with a chosen sum: XXH3 is
//! not a cryptographic hash, and sums make such a search easier still. The SHA-256 of a file is
//! there for that.

use std::fmt::{self, Display, Formatter};
use std::ops::AddAssign;
use std::str::FromStr;

use twox_hash::XxHash3_128;

/// Bytes of a row that are gathered to be hashed at once, which takes three fifths of the time that it
/// takes value by value.
const AT_ONCE: usize = 16 << 10;
const PREFIX: &str = "xxh3-128-sum:";
const HEX_DIGITS: usize = 32;

/// The digest of some rows: of one, of a part, or of a whole export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(u128);

impl AddAssign for Digest {
    /// Joins the digests of two sets of rows that have no row number in common.
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:0HEX_DIGITS$x}", self.0)
    }
}

/// The text is not one that a [`Digest`] is written as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no content digest: expected {PREFIX} and {HEX_DIGITS} hexadecimal digits")]
pub(crate) struct ParseDigestError(String);

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix(PREFIX)
            // `from_str_radix` alone takes a sign and fewer digits.
            .filter(|hex| hex.len() == HEX_DIGITS && hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u128::from_str_radix(hex, 16).ok())
            .map(Self)
            .ok_or_else(|| ParseDigestError(text.to_owned()))
    }
}

/// Hashes rows one at a time: `start`, every column in order, `end`. What it holds of a row does not
/// grow with the row: what is more than a little goes straight into the hash.
#[derive(Default)]
pub(crate) struct RowHasher {
    gathered: Vec<u8>,
    /// Of a row that is too large to be hashed at once.
    state: Option<XxHash3_128>,
}

impl RowHasher {
    /// A hasher for any number of rows.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Begins a row; `row_number` counts from 0 at the first row of the export.
    pub(crate) fn start(&mut self, row_number: u64) {
        self.gathered.clear();
        self.state = None;
        self.add(&row_number.to_le_bytes());
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
                let [a, b, c, d, e, f, g, h] = (bytes.len() as u64).to_le_bytes();
                self.add(&[1, a, b, c, d, e, f, g, h]);
                self.add(bytes);
            }
        }
    }

    /// Adds the next column's value, an int64.
    pub(crate) fn int_field(&mut self, value: Option<i64>) {
        self.field(value.map(i64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
    }

    /// The row's own digest, to be added to that of its part.
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

    fn row_digest(hasher: &mut RowHasher, number: u64, row: &Row) -> Digest {
        hasher.start(number);
        for value in row {
            hasher.field(value.as_deref());
        }
        hasher.end()
    }

    fn digest_from(first: u64, rows: &[Row]) -> Digest {
        let mut hasher = RowHasher::new();
        let mut digest = Digest::default();
        for (number, row) in (first..).zip(rows) {
            digest += row_digest(&mut hasher, number, row);
        }
        digest
    }

    /// The definition, read literally.
    fn by_definition(rows: &[Row]) -> Digest {
        let mut total = 0_u128;
        for (number, row) in (0_u64..).zip(rows) {
            let mut text = number.to_le_bytes().to_vec();
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
            total = total.wrapping_add(XxHash3_128::oneshot(&text));
        }
        Digest(total)
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let short = prop::collection::vec(any::<u8>(), 0..300);
        // Rows that are hashed at once, just so, and no longer.
        let long = (any::<u8>(), 0..AT_ONCE + 100).prop_map(|(byte, length)| vec![byte; length]);
        let value = prop::option::of(prop_oneof![30 => short, 1 => long]);
        prop::collection::vec(prop::collection::vec(value, 4), 2..30)
    }

    proptest! {
        #[test]
        fn any_partition_of_the_rows_has_the_same_digest(
            (rows, cuts) in rows().prop_flat_map(|rows| {
                let cuts = prop::collection::btree_set(0..rows.len(), 0..6);
                (Just(rows), cuts)
            }),
        ) {
            let ends = cuts.iter().copied().chain([rows.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let parts: Vec<Digest> = starts
                .zip(ends)
                .map(|(start, end)| digest_from(start as u64, &rows[start..end]))
                .collect();
            let mut joined = Digest::default();
            // Parts are finished in any order.
            for part in parts.into_iter().rev() {
                joined += part;
            }
            prop_assert_eq!(joined, digest_from(0, &rows));
            prop_assert_eq!(joined, by_definition(&rows));
        }

        #[test]
        fn two_rows_that_change_places_change_the_digest(
            rows in rows(), i in any::<prop::sample::Index>(), j in any::<prop::sample::Index>(),
        ) {
            let (i, j) = (i.index(rows.len()), j.index(rows.len()));
            prop_assume!(rows[i] != rows[j]);
            let mut swapped = rows.clone();
            swapped.swap(i, j);
            prop_assert_ne!(digest_from(0, &rows), digest_from(0, &swapped));
        }

        #[test]
        fn a_byte_that_changes_anywhere_changes_the_digest(
            rows in rows(), row in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        ) {
            let row = row.index(rows.len());
            let mut changed = rows.clone();
            for value in changed[row].iter_mut().flatten().filter(|value| !value.is_empty()) {
                let at = at.index(value.len());
                value[at] ^= 1;
            }
            prop_assume!(changed != rows);
            prop_assert_ne!(digest_from(0, &rows), digest_from(0, &changed));
        }

        #[test]
        fn a_digest_is_read_back_from_its_text(sum in any::<u128>()) {
            prop_assert_eq!(Digest(sum).to_string().parse(), Ok(Digest(sum)));
        }
    }

    #[test]
    fn null_and_empty_and_the_borders_between_columns_are_told_apart() {
        let rows: [Row; 6] = [
            vec![None, None],
            vec![Some(vec![]), None],
            vec![None, Some(vec![])],
            vec![Some(b"ab".to_vec()), Some(b"c".to_vec())],
            vec![Some(b"a".to_vec()), Some(b"bc".to_vec())],
            vec![Some(b"\0".to_vec()), None],
        ];
        let digests: std::collections::BTreeSet<_> =
            rows.iter().map(|row| digest_from(0, std::slice::from_ref(row)).to_string()).collect();
        assert_eq!(digests.len(), rows.len());
    }

    #[test]
    fn equal_rows_do_not_cancel() {
        let row: Row = vec![Some(b"same".to_vec())];
        let counts = (0..5).map(|n| digest_from(0, &vec![row.clone(); n]).to_string());
        assert_eq!(counts.collect::<std::collections::BTreeSet<_>>().len(), 5);
    }

    /// The expected text was computed by the Python program above with another XXH3.
    #[test]
    fn the_digest_of_known_rows_is_known() {
        let mut hasher = RowHasher::new();
        let mut digest = Digest::default();

        hasher.start(0);
        hasher.field(Some(b"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"));
        hasher.int_field(Some(0));
        hasher.field(Some(br#"{"q":1}"#));
        hasher.field(None);
        hasher.field(Some("pérsona".as_bytes()));
        hasher.field(Some(b"{}"));
        hasher.field(None);
        digest += hasher.end();
        assert_eq!(digest.to_string(), "xxh3-128-sum:9eb4159b29ed1550b95989ec657afb0d");

        hasher.start(1);
        hasher.field(Some(b"00000000-0000-0000-0000-000000000001"));
        hasher.int_field(Some(-2));
        hasher.field(Some(&b"x".repeat(5000)));
        hasher.field(Some(b""));
        hasher.field(None);
        hasher.field(None);
        hasher.field(None);
        digest += hasher.end();

        assert_eq!(digest.to_string(), "xxh3-128-sum:addfe0082e269aa4af414af31af4dc95");

        // Too large to be hashed at once.
        hasher.start(2);
        hasher.field(Some(b"00000000-0000-0000-0000-000000000002"));
        hasher.int_field(None);
        hasher.field(Some((0..10_000).map(|n| n.to_string()).collect::<String>().as_bytes()));
        hasher.field(Some(&b"0123456789".repeat(2000)));
        hasher.field(None);
        hasher.field(None);
        hasher.field(None);
        digest += hasher.end();
        assert_eq!(digest.to_string(), "xxh3-128-sum:65ade35c1caff78a8d1695ebe64f9151");
    }

    #[test]
    fn no_rows_have_the_digest_zero() {
        let zero = Digest::default().to_string();
        assert_eq!(zero, "xxh3-128-sum:00000000000000000000000000000000");
    }

    #[test]
    fn other_texts_are_no_digest() {
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
            let expected = "expected xxh3-128-sum: and 32 hexadecimal digits";
            assert_eq!(error, format!("{text:?} is no content digest: {expected}"));
        }
    }
}
