//! How far threads read ahead of the caller.

use arrow_array::{Array, RecordBatch, cast::AsArray};

use crate::tasks::cores;

/// How far threads read ahead of the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadAhead {
    pub(crate) threads: usize,
    /// Results that wait for the caller, in bytes; default 32 MiB, three row groups of common rows. A result that the
    /// caller waits for is exempt.
    pub(crate) bytes: usize,
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self { threads: cores(), bytes: 32 << 20 }
    }
}

/// Returns the memory of a batch in bytes. Texts that are views into pages count with their own bytes, because several
/// batches share a page.
pub(crate) fn bytes_of(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter().map(|array| match array.as_string_view_opt() {
        Some(views) => size_of_val(&views.views()[..]) + views.total_buffer_bytes_used(),
        None => array.get_array_memory_size(),
    });
    columns.sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringViewArray};

    use super::*;

    #[test]
    fn views_count_with_their_own_bytes() {
        let long = "x".repeat(1000);
        let all: ArrayRef = Arc::new(StringViewArray::from_iter_values([&long; 100]));
        let bytes =
            |array: ArrayRef| bytes_of(&RecordBatch::try_from_iter([("a", array)]).unwrap());
        assert_eq!(bytes(all.slice(10, 3)), 3 * (1000 + 16));
        assert_eq!(bytes(all), 100 * (1000 + 16));
    }
}
