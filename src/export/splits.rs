//! The splits of an export: their folders, and the outputs that can have them.

use crate::{
    error::{Error, Result},
    location::Target,
    record::layout::PartLayout,
    sink::Encoding,
    transform::Shaper,
};

/// Returns the names and the fractions of the splits, in their order; none without a split.
pub(crate) fn splits_of(shaper: Option<&Shaper>) -> Vec<(String, f64)> {
    let splits =
        |shaper: &Shaper| shaper.splits().map(str::to_owned).zip(shaper.fractions()).collect();
    shaper.map(splits).unwrap_or_default()
}

/// Returns the folders of the parts.
pub(crate) fn layout_of(shaper: Option<&Shaper>) -> PartLayout {
    PartLayout::of_splits(shaper.into_iter().flat_map(Shaper::splits))
}

/// Refuses splits for an output that is not a directory, and for nested columns, whose types are those of all rows.
pub(crate) fn check_splits(
    shaper: Option<&Shaper>,
    target: &Target,
    encoding: Encoding,
) -> Result<()> {
    let has_splits = shaper.is_some_and(|shaper| shaper.splits().next().is_some());
    if has_splits && encoding.is_nested() {
        let why = "`split` cannot be combined with nested JSON columns: leave out one of the two";
        return Err(Error::Usage(why.to_owned()));
    }
    if !has_splits || matches!(target, Target::Directory(_)) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "`split` needs a directory with a folder for each split, but {target} is not one: give a path that ends in a slash"
    )))
}
