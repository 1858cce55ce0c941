//! The transformations of an export, and how many rows each of them can have kept.

use serde::{Deserialize, Serialize};

use crate::{
    text::{counted, grouped},
    transform::{OnError, TransformRecord},
};

/// A transformation that was made before, by the export that another one was converted from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EarlierTransform {
    /// Number of rows read.
    pub rows_read: u64,
    /// Number of rows written, which the next transformation or the conversion has read.
    pub rows: u64,
    /// Name of the split whose rows these are, if they are those of one split only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// How these rows were chosen and changed.
    pub transform: TransformRecord,
}

/// Returns the number of rows of the dataset that were read, before all transformations.
pub(crate) fn rows_of_dataset(earlier: &[EarlierTransform], rows_read: u64) -> u64 {
    earlier.first().map_or(rows_read, |first| first.rows_read)
}

/// Returns why these transformations cannot have followed each other and given the rows that were read. `is_whole` says
/// that every row was read; otherwise each could read a part of the rows that the one before has kept.
pub(super) fn unexplained_earlier(
    earlier: &[EarlierTransform],
    rows_read: u64,
    is_whole: bool,
) -> Option<String> {
    let read_next = earlier.iter().skip(1).map(|next| next.rows_read).chain([rows_read]);
    earlier.iter().zip(read_next).find_map(|(one, read)| {
        let kept = || {
            let (rows, read) = (counted(one.rows, "row"), grouped(read));
            format!("an earlier transformation kept {rows}, and {read} were read")
        };
        let &EarlierTransform { rows, rows_read, .. } = one;
        let numbers = RowNumbers { rows, rows_read, failed: 0, duplicates: 0 };
        unexplained(numbers, Some(&one.transform))
            .or_else(|| (read > one.rows || is_whole && read < one.rows).then(kept))
    })
}

/// The numbers of the rows of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowNumbers {
    pub(super) rows: u64,
    pub(super) rows_read: u64,
    pub(super) failed: u64,
    pub(super) duplicates: u64,
}

/// Returns why a file cannot have these rows: without a transformation, every row that is read is written.
pub(super) fn unexplained(
    numbers: RowNumbers,
    transform: Option<&TransformRecord>,
) -> Option<String> {
    let RowNumbers { rows, rows_read, failed, duplicates } = numbers;
    let left_out = rows_read.checked_sub(rows);
    let is_at_most = |some: u64, all: Option<u64>| all.is_some_and(|all| some <= all);
    let keeps_all = transform.is_none_or(|transform| !transform.leaves_out_rows());
    let can_fail = transform.is_some_and(|it| !matches!(it.on_error, None | Some(OnError::Fail)));
    let is_explained = match transform {
        _ if failed > 0 && !can_fail => false,
        _ if keeps_all && left_out != Some(0) => false,
        // A row can have any number of lines.
        Some(transform) if transform.map.is_some() => {
            failed <= rows_read && duplicates <= rows_read
        }
        Some(transform) if transform.keeps_failed_rows() => {
            is_at_most(duplicates, left_out) && failed <= rows_read
        }
        Some(_) => is_at_most(failed.saturating_add(duplicates), left_out),
        None => left_out == Some(0) && failed == 0,
    };
    let compares = transform.is_some_and(|transform| transform.dedupe.is_some());
    let by = match transform {
        Some(_) => "",
        None => ", and no transformation is recorded",
    };
    (!is_explained || duplicates > 0 && !compares).then(|| {
        let failed = match failed {
            0 => String::new(),
            failed => format!(" and {} failed", counted(failed, "row")),
        };
        let equal = match duplicates {
            0 => String::new(),
            more => format!(" and {} equal to an earlier one", counted(more, "row")),
        };
        let read = counted(rows_read, "row");
        format!("it has {} of {read} read{failed}{equal}{by}", grouped(rows))
    })
}
