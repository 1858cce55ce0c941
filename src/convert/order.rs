//! The digest of rows that are written split by split, as if they were in the order of the source: with it, a conversion
//! proves that splits lose, repeat and change no row.

use arrow_array::RecordBatch;

use crate::{
    error::Result,
    proof::{Digest, PlacedDigest},
    record::facts::row_digests,
};

/// The places of the rows that are written, and the digest of those before.
#[derive(Debug)]
pub(super) struct SourceOrder {
    /// For each split, the places in the source of the rows that its builder has.
    places: Vec<Vec<u64>>,
    /// Number of rows so far.
    rows: u64,
    digest: PlacedDigest,
}

impl SourceOrder {
    pub(super) fn of_splits(splits: usize) -> Self {
        Self { places: vec![Vec::new(); splits], rows: 0, digest: PlacedDigest::default() }
    }

    /// Notes that the next row of the source is pushed to the builder of a split.
    pub(super) fn push(&mut self, split: usize) {
        if let Some(places) = self.places.get_mut(split) {
            places.push(self.rows);
        }
        self.rows += 1;
    }

    /// Adds the rows that the builder of a split has finished. Returns their digest.
    ///
    /// # Errors
    /// Those of [`row_digests`].
    pub(super) fn add(&mut self, split: usize, batch: &RecordBatch) -> Result<Digest> {
        let (mut rows, mut digest) = (Vec::with_capacity(batch.num_rows()), Digest::default());
        row_digests(batch, |row| {
            rows.push(row);
            digest.push(row);
        })?;
        let places = self.places.get_mut(split).map(std::mem::take).unwrap_or_default();
        self.digest.add(places.into_iter().zip(rows));
        Ok(digest)
    }

    /// Returns the digest of all rows in the order of the source.
    pub(super) fn digest(&self) -> Digest {
        self.digest.digest()
    }
}
